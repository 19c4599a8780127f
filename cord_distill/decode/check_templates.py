"""The chat templates of a recipe's local models, looked at before an engine starts (`cord check`, `cord generate`)."""

from __future__ import annotations

from pathlib import Path

from cord_distill.common.errors import CordError
from cord_distill.decode.engine_pool import decoding_sections
from cord_distill.model_files.locate import PREFIX, model_path
from cord_distill.prompts.cards import recommended_system_prompt
from cord_distill.prompts.template_check import template_fault
from cord_distill.recipe.recipe import Recipe


def template_faults(recipe: Recipe) -> list[str]:
    """One sentence per local model whose chat template cannot be used, with its key; hub ids are not looked up."""
    found = []
    for key, section in decoding_sections(recipe).items():
        if not section.model or section.model.startswith(PREFIX):
            continue
        try:
            folder = Path(model_path(recipe, section.model, f"{key}.model"))
        except CordError:
            continue  # A model that is not there has a fault of its own, which both callers name.
        if not folder.is_dir():
            continue
        given = section.system_prompt
        system = (recommended_system_prompt(str(folder)) if given is None else given) or ""
        fault = template_fault(folder, chat_template=section.chat_template, system_prompt=system)
        if fault:
            found.append(f"{key}: {section.label}: {fault}")
    return found


def check_templates(recipe: Recipe) -> None:
    """Raises CordError with the first of them."""
    faults = template_faults(recipe)
    if faults:
        raise CordError(faults[0])
