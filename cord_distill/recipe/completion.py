"""What the Tab key offers behind `cord COMMAND`: bundled recipes, and the recipe's dotted keys."""

from __future__ import annotations

from typing import Any, get_args, get_origin

from pydantic import BaseModel

from cord_distill.common.paths import bundled
from cord_distill.recipe.recipe import Recipe
from cord_distill.recipe.train_keys import TRAININGS, known_keys


def recipe_names(prefix: str = "", **_: Any) -> list[str]:
    """Bundled recipes; files are offered by the shell's own completion beside them."""
    names = [path.relative_to(bundled("recipes")).with_suffix("") for path in bundled("recipes").rglob("*.yaml")]
    return sorted(str(name) for name in names if str(name).startswith(prefix))


def override_keys(prefix: str = "", **_: Any) -> list[str]:
    """`decode.beam_size=`: keys of the sections, and those of each training. Entries of a list go by their numbers, and
    are not offered."""
    trainings = [f"{stage}.{key}=" for stage in TRAININGS for key in known_keys(stage)]
    return sorted(key for key in [*_keys_of(Recipe, ""), *trainings] if key.startswith(prefix))


def _keys_of(section: type[BaseModel], before: str) -> list[str]:
    found = []
    for name, field in section.model_fields.items():
        kinds = () if get_origin(field.annotation) is list else (field.annotation, *get_args(field.annotation))
        below = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        found += _keys_of(below, f"{before}{name}.") if below else [f"{before}{name}="]
    return found
