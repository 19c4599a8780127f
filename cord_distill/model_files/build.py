"""Builds the models that a recipe makes itself (`models.builder`), cached by the hash of builder and arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cord_distill.common.files import write_atomic
from cord_distill.common.plugins import load_plugin, plugin_call, takes
from cord_distill.model_files.locate import DONE, models_folder
from cord_distill.recipe.models import ModelsConfig
from cord_distill.recipe.recipe import Recipe


def model_builder(models: ModelsConfig) -> Any:
    """The builder's function. Raises CordError where it cannot be loaded, or does not take `models.args`."""
    builder = load_plugin(models.builder, "models.builder")
    takes(builder, 1, models.args, "models.builder", models.builder, "models.args")
    return builder


def build_models(recipe: Recipe) -> Path | None:
    """Builds what is missing; returns the folder, or None when the recipe builds no models."""
    if recipe.models is None:
        return None
    folder = models_folder(recipe.models)
    if not (folder / DONE).exists():
        builder = model_builder(recipe.models)
        folder.mkdir(parents=True, exist_ok=True)
        with plugin_call(f"models.builder: {recipe.models.builder!r}"):
            builder(folder, **recipe.models.args)
        write_atomic(folder / DONE, '{"done": true}\n')
    return folder
