"""Models that a recipe builds itself (`models.builder`), cached by the hash of builder and args; and where a model
is."""

from __future__ import annotations

import importlib
from pathlib import Path

from cord_distill.errors import CordError
from cord_distill.plugins import load_plugin
from cord_distill.recipe import Models, Recipe
from cord_distill.recipe_file import recipe_hash

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
        from cord_distill.run_folder import write_atomic

        write_atomic(folder / DONE, '{"done": true}\n')
    return folder


def model_path(recipe: Recipe, model: str, key: str) -> str:
    """Local path or hub id of `model`. Raises CordError when a local or built one is not there. key: for the error."""
    if model.startswith(PREFIX):
        name = model.removeprefix(PREFIX)
        if recipe.models is None:
            raise CordError(f"{key}: {model!r} needs a `models:` section with a builder")
        folder = models_folder(recipe.models)
        path = folder / name
        if not (folder / DONE).exists():
            raise CordError(f"{key}: {model!r} is not built yet; make it with: cord models RECIPE")
        if not (path / "config.json").exists():
            made = sorted(p.name for p in folder.iterdir() if (p / "config.json").exists())
            raise CordError(f"{key}: the builder made no model {name!r}; it made: {', '.join(made)}")
        return str(path)
    if model.startswith(("/", "./", "../", "~")):
        path = Path(model).expanduser()
        if not (path / "config.json").exists():
            raise CordError(f"{key}: {path} holds no model (no config.json there); check the path")
        return str(path)
    return model


def is_on_the_hub(name: str) -> bool:
    """Whether a recipe's model or data set is a hub id: not built here, no path, no folder that is there."""
    return bool(name) and not name.startswith((PREFIX, ".", "/", "~")) and not Path(name).is_dir()
