"""Models that a recipe builds itself (`models.builder`), cached by the hash of builder and args; and where a model
is."""

from __future__ import annotations

import importlib
from pathlib import Path

from cord_distill.common.plugins import load_plugin
from cord_distill.recipe.file import recipe_hash
from cord_distill.recipe.models import Models
from cord_distill.recipe.recipe import Recipe

PREFIX = "built:"
DONE = "built.json"


def models_folder(models: Models) -> Path:
    """`outputs/models/<hash of builder, args and the builder module's VERSION>`."""
    module = models.builder.partition(":")[0]
    try:
        version = getattr(importlib.import_module(module), "VERSION", 1)
    except ModuleNotFoundError:
        version = 1
    key = recipe_hash({"builder": models.builder, "args": models.args, "version": version})
    root = Path(models.cache_dir) if models.cache_dir else Path("outputs/models")
    label = next(part for part in reversed(module.split(".")) if part not in ("build", "builder", "models"))
    return (root / f"{label}-{key[:12]}").absolute()


def build_models(recipe: Recipe) -> Path | None:
    """Builds what is missing; returns the folder, or None when the recipe builds no models."""
    if recipe.models is None:
        return None
    folder = models_folder(recipe.models)
    if not (folder / DONE).exists():
        folder.mkdir(parents=True, exist_ok=True)
        load_plugin(recipe.models.builder, "models.builder")(folder, **recipe.models.args)
        from cord_distill.common.files import write_atomic

        write_atomic(folder / DONE, '{"done": true}\n')
    return folder
