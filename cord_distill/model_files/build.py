"""Models that a recipe builds itself (`models.builder`), cached by the hash of builder and args; and where a model
is."""

from __future__ import annotations

from pathlib import Path

from cord_distill.common.plugins import load_plugin, plugin_call
from cord_distill.model_files.locate import DONE, models_folder
from cord_distill.recipe.recipe import Recipe


def build_models(recipe: Recipe) -> Path | None:
    """Builds what is missing; returns the folder, or None when the recipe builds no models."""
    if recipe.models is None:
        return None
    folder = models_folder(recipe.models)
    if not (folder / DONE).exists():
        folder.mkdir(parents=True, exist_ok=True)
        builder = load_plugin(recipe.models.builder, "models.builder")
        with plugin_call(f"models.builder: {recipe.models.builder!r}"):
            builder(folder, **recipe.models.args)
        from cord_distill.common.files import write_atomic

        write_atomic(folder / DONE, '{"done": true}\n')
    return folder
