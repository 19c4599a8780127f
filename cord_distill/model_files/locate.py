"""Finds where the files of a model lie: in a local folder, one that the recipe builds, or the hub's snapshot."""

from __future__ import annotations

import importlib
from pathlib import Path

from cord_distill.common.errors import CordError
from cord_distill.common.paths import expanded
from cord_distill.common.suggest import nearest
from cord_distill.common.terminal import first_line
from cord_distill.recipe.file import recipe_hash
from cord_distill.recipe.models import ModelsConfig
from cord_distill.recipe.recipe import Recipe

PREFIX = "built:"
DONE = "built.json"


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
            near = nearest(name, made)
            hint = f"did you mean {PREFIX}{near}?" if near else f"it made: {', '.join(made)}"
            raise CordError(f"{key}: the builder made no model {name!r}; {hint}")
        return str(path)
    if model.startswith(("/", "./", "../", "~", "$")):
        path = expanded(model)
        if not is_file(path / "config.json"):
            raise CordError(f"{key}: {path} holds no model (no config.json there); check the path")
        return str(path)
    refuse_no_hub_id(model, key)
    return model


def yet_to_build(recipe: Recipe, model: str) -> bool:
    """Whether `model` is one that the recipe builds and that is not there so far: nothing can be looked at in it."""
    if recipe.models is None or not model.startswith(PREFIX):
        return False
    try:
        return not (models_folder(recipe.models) / DONE).exists()
    except Exception:  # a builder that cannot be imported is a fault of its own
        return True


def refuse_no_hub_id(model: str, key: str) -> None:
    """Raises CordError for a web address, and for a path that is not there and is written like no path."""
    if "://" in model:
        name = "/".join(model.partition("://")[2].partition("/")[2].split("/")[:2])
        raise CordError(f"{key}: {model} is an address; name the model by its hub id, e.g. {name or 'ORG/NAME'}")
    if is_on_the_hub(model) and model.count("/") > 1:
        raise CordError(f"{key}: {model} is no folder here, and a hub id has one slash; check the path or the id")


def is_file(path: Path) -> bool:
    """`path.is_file()`, False too for a name that no file can have (too long, links in a circle)."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_on_the_hub(name: str) -> bool:
    """Whether a recipe's model or data set is a hub id: not built here, no path, no folder that is there."""
    return bool(name) and not name.startswith((PREFIX, ".", "/", "~", "$")) and not Path(name).is_dir()


def local_folder(path: str, revision: str | None) -> Path:
    """The folder that holds a model: `path` itself, or the hub's snapshot of it (fetched when it is not there)."""
    if Path(path).is_dir():
        return Path(path)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        patterns = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]
        return Path(snapshot_download(path, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise CordError(
            f"{path}: neither a folder nor a model that the hub gives ({first_line(error)}); check the name and the "
            "network"
        ) from None


def models_folder(models: ModelsConfig) -> Path:
    """`outputs/models/<hash of builder, args and the builder module's VERSION>`."""
    module = models.builder.partition(":")[0]
    try:
        version = getattr(importlib.import_module(module), "VERSION", 1)
    except ModuleNotFoundError:
        version = 1
    key = recipe_hash({"builder": models.builder, "args": models.args, "version": version})
    root = Path(models.cache_dir) if models.cache_dir else Path("outputs/models")
    named = [part for part in module.split(".") if part not in ("build", "builder", "models")]
    label = named[-1] if named else module
    return (root / f"{label}-{key[:12]}").absolute()
