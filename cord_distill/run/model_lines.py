"""One line per model of a recipe about what it is sent, for `cord check`; from files alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cord_distill.decode.check_templates import facts_of, local_folder_of, rendering_sections
from cord_distill.decode.model_facts import facts_line
from cord_distill.recipe.recipe import Recipe


def model_lines(variants: Sequence[Recipe]) -> list[str]:
    """Of the local models of all variants, each once; a model of several keys names all of them."""
    keys: dict[str, list[str]] = {}
    for recipe in variants:
        for key, section in rendering_sections(recipe).items():
            folder = local_folder_of(recipe, key, section)
            if folder is None or (section.chat_template and not Path(section.chat_template).is_file()):
                continue
            line = f"{section.label}: {facts_line(facts_of(section, folder))}"
            if key not in keys.setdefault(line, []):
                keys[line].append(key)
    return [f"  {', '.join(found)}: {line}" for line, found in keys.items()]
