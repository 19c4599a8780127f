"""Reading a recipe file: `extends`, `key.sub=value` overrides, paths relative to the file, errors with their line."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from cord_distill.common.errors import CordError
from cord_distill.common.paths import bundled, expanded
from cord_distill.common.plugins import search_beside
from cord_distill.common.suggest import did_you_mean
from cord_distill.recipe.explain import Overridden, Where, explain
from cord_distill.recipe.recipe import Recipe
from cord_distill.recipe.train_keys import TRAININGS
from cord_distill.recipe.yaml_nodes import DEEPEST, compose, scalar, values

# Keys whose value is always a path. Keys of models take hub ids too, so there only ./x, ../x, ~/x and /x are paths.
ALWAYS_PATHS = {
    *("decode.integration.prompt", "output_dir", "problems.path", "models.cache_dir"),
    *(f"{stage}.{key}" for stage in TRAININGS for key in ("deepspeed", "output_dir")),
}
DEEPSPEED = {f"{stage}.deepspeed" for stage in TRAININGS}
SUITE_FILE = re.compile(r"evaluate\.data\.[^.]+(?:\.path)?")
# Lists that take modules or hub ids too: there a file's ending makes a path as well.
LISTS_OF_FILES = ("evaluate.tasks.", "data.decontaminate.")


@dataclass(frozen=True, slots=True)
class RecipeFile:
    """A recipe file as it was read, with what it extends; `resolve` makes recipes of it without reading it again.

    tree: its values, `extends` merged. where: the file and line of each key, for errors.
    """

    path: Path
    tree: dict[str, Any]
    where: Where

    @classmethod
    def read(cls, source: str | Path) -> RecipeFile:
        """Reads a file, or a bundled recipe by its name (`quickstart`). Raises CordError with file and line."""
        path = find_recipe(source)
        if path.parent != bundled("recipes"):
            search_beside(path.parent)
        where: Where = {}
        return cls(path, {"name": path.stem, **_read(path, where, ())}, where)

    def resolve(self, overrides: Sequence[str] = (), variant: str | None = None) -> Recipe:
        """Merges the overrides and checks the whole (`load_recipe`)."""
        tree, where = copy.deepcopy(self.tree), dict(self.where)
        overridden: Overridden = {}
        picked_seed = None
        for override in overrides:
            key, equals, text = override.partition("=")
            if not equals or not key:
                raise CordError(f"override {override!r} is not of the form key.sub=value")
            if "" in key.split(".") or key.count(".") > DEEPEST:
                raise CordError(
                    f"override {override[:80]!r}: {key[:60]!r} names no key; write it like decode.beam_size=2"
                )
            if re.search(r"\[\d+\]", key):
                dotted = re.sub(r"\[(\d+)\]", r".\1", key)
                raise CordError(
                    f"override {override[:80]!r}: an item of a list goes by its number: {dotted}={text[:60]}"
                )
            value = _yaml_value(text, override)
            if key == "variant":
                if not isinstance(value, str | int | float) or isinstance(value, bool):
                    raise CordError(f"override {override!r}: a variant has a name, e.g. variant=curation")
                variant = str(value)
                continue
            if key == "seed":
                picked_seed = value if isinstance(value, int) and not isinstance(value, bool) else None
                if picked_seed is not None and isinstance(tree.get("seed"), list):
                    continue
            _assign(tree, key.split("."), _anchored(key, value, Path.cwd()), override)
            overridden[tuple(key.split("."))] = override
        if variant is not None:
            tree = _with_variant(tree, variant, self.path, where, overridden)
        if picked_seed is not None and isinstance(tree.get("seed"), list):  # a variant may bring its own list
            tree["train_seed"] = picked_seed
        # A section of null is one that is left out: `variants=null` on the command line takes it away.
        tree = {key: value for key, value in tree.items() if value is not None}
        try:
            return Recipe.model_validate(tree)
        except ValidationError as error:
            raise CordError(explain(error, where, self.path, overridden)) from None


def load_recipe(source: str | Path, overrides: Sequence[str] = (), variant: str | None = None) -> Recipe:
    """Reads, merges, checks one recipe. A command that needs its variants too loads an `Experiment`.

    source: a file, or the name of a bundled recipe (`quickstart`). overrides: `key.sub=value` strings (values are YAML;
    paths in them are relative to the working directory), which win over the file; `variant=NAME` picks one of
    `variants`, `seed=N` one run of a list of seeds. Raises CordError with file, line, key path and the fix.
    """
    return RecipeFile.read(source).resolve(overrides, variant)


def _real(path: Path) -> Path:
    """`path.resolve()`, which would fail on links in a circle: whoever reads the file says that it is not there."""
    return Path(os.path.realpath(path))


def find_recipe(source: str | Path) -> Path:
    """The file of a recipe that was given as a path or as a bundled name. Raises CordError where there is none."""
    path = Path(source)
    if path.is_file():
        return _real(path)
    named = bundled("recipes") / (f"{source}.yaml" if path.suffix != ".yaml" else str(source))
    if len(path.parts) <= 2 and named.is_file():
        return _real(named)
    if path.is_dir():
        resolved = path / "recipe.yaml"
        hint = f"its recipe is {resolved}" if resolved.is_file() else "give a file in it, or a bundled recipe's name"
        raise CordError(f"recipe {str(source)!r} is a folder; {hint}")
    if len(path.parts) > 1 and not path.suffix:
        raise CordError(
            f"{str(source)!r}: no such file, and no run folder either; give a recipe, or the folder of a run that was "
            "begun (cord run RECIPE)"
        )
    names = sorted(p.stem for p in bundled("recipes").glob("*.yaml"))
    hint = did_you_mean(path.stem, names, f"the bundled ones are: {', '.join(names)}")
    raise CordError(f"recipe {str(source)!r}: no such file; {hint}")


def recipe_hash(recipe: BaseModel | dict[str, Any]) -> str:
    """First 16 hex digits of the sha256 of the resolved values, independent of key order."""
    values = recipe.model_dump(mode="json") if isinstance(recipe, BaseModel) else recipe
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML, which `load_recipe` reads back to an equal one."""
    return yaml.safe_dump(recipe.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True)


def _read(path: Path, where: Where, seen: tuple[Path, ...]) -> dict[str, Any]:
    if len(seen) > DEEPEST:
        raise CordError(f"{seen[0].name}: `extends` leads over more than {DEEPEST} files; put them together")
    if path in seen:
        raise CordError(f"{path.name}: `extends` goes round in a circle: {' -> '.join(p.name for p in (*seen, path))}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CordError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    node = compose(text, path.name)
    if not isinstance(node, yaml.MappingNode):
        raise CordError(f"{path}: a recipe is a mapping of sections; this file holds none")
    own_where: Where = {}
    tree = _construct(node, path, (), own_where)
    base: dict[str, Any] = {}
    if "extends" in tree:
        named = str(tree.pop("extends"))
        parent = path.parent / named
        if not parent.is_file() and named.isidentifier():
            parent = bundled("recipes") / f"{named}.yaml"
        if not parent.is_file():
            raise CordError(
                f"{path.name}: extends: {parent} is not there; the path is relative to this recipe, or a bundled name"
            )
        base = _read(_real(parent), where, (*seen, path))
    where.update(own_where)
    return _merge(base, tree)


def _construct(node: yaml.Node, path: Path, key: tuple[str, ...], where: Where) -> Any:
    where.setdefault(key, (path, node.start_mark.line + 1))
    if isinstance(node, yaml.MappingNode):
        tree: dict[str, Any] = {}
        for key_node, value_node in node.value:
            name = str(key_node.value)
            if name in tree:
                raise CordError(f"{path.name}, line {key_node.start_mark.line + 1}: {name} is given twice; keep one")
            where[(*key, name)] = (path, key_node.start_mark.line + 1)
            tree[name] = _construct(value_node, path, (*key, name), where)
        return tree
    if isinstance(node, yaml.SequenceNode):
        return [_construct(item, path, (*key, str(i)), where) for i, item in enumerate(node.value)]
    return _anchored(".".join(key), scalar(node, path.name), path.parent)


def _anchored(key: str, value: Any, folder: Path) -> Any:
    """A relative path in `value` becomes absolute, relative to `folder`; everything else stays."""
    if isinstance(value, dict):
        return {name: _anchored(f"{key}.{name}", item, folder) for name, item in value.items()}
    if isinstance(value, list):
        return [_anchored(f"{key}.{i}", item, folder) for i, item in enumerate(value)]
    if not isinstance(value, str) or not value:
        return value
    if key in DEEPSPEED and not (folder / value).is_file() and value.isidentifier():
        ours = bundled("accelerate_configs") / "deepspeed" / f"{value}.json"
        if ours.is_file():
            return str(ours)
    always = key in ALWAYS_PATHS or SUITE_FILE.fullmatch(key) is not None
    always |= key.startswith(LISTS_OF_FILES) and value.endswith((".py", ".json", ".jsonl"))
    if always or value.startswith(("./", "../", "~/")):
        return str(_real(folder / (expanded(value) if value.startswith("~") else value)))
    return value


# Of these two keys of one section, the one that is said later takes the other's place.
RIVALS = {"same_as": "model", "model": "same_as"}


def _merge(base: Any, top: Any) -> Any:
    if isinstance(base, dict) and isinstance(top, dict):
        base = {key: value for key, value in base.items() if RIVALS.get(key) not in top or key in top}
        return {**base, **{key: _merge(base.get(key), value) for key, value in top.items()}}
    return top


def _assign(tree: dict[str, Any], keys: list[str], value: Any, override: str) -> None:
    here: Any = tree
    for i, key in enumerate(keys[:-1]):
        if isinstance(here, list):
            here = _item(here, key, override)
        else:
            if here.get(key) is None:
                here[key] = {}
            here = here[key]
        if not isinstance(here, (dict, list)):
            raise CordError(
                f"override {override!r}: {'.'.join(keys[: i + 1])} is a plain value, it has no key {keys[i + 1]!r}"
            )
    if isinstance(here, list):
        _item(here, keys[-1], override)
        here[int(keys[-1])] = value
    else:
        here[keys[-1]] = _merge(here.get(keys[-1]), value) if isinstance(value, dict) else value
        here.pop(RIVALS.get(keys[-1], ""), None)


def _item(items: list[Any], key: str, override: str) -> Any:
    if not re.fullmatch(r"[0-9]{1,6}", key) or int(key) >= len(items):
        raise CordError(f"override {override!r}: {key!r} is no index into a list of {len(items)}")
    return items[int(key)]


def _yaml_value(text: str, override: str) -> Any:
    shown = override if len(override) <= 80 else f"{override[:76]} ..."
    try:
        return values(compose(text, f"override {shown!r}"), f"override {shown!r}")
    except CordError as error:
        if ": not readable as YAML" not in str(error):
            raise
        lacking = [f"{a} and {b}" for a, b in ("{}", "[]") if text.count(a) != text.count(b)]
        fix = f"it has not as many {lacking[0]}, close what is open" if lacking else "quote it"
        raise CordError(f"override {shown!r}: the value is not readable as YAML; {fix}") from None


def _with_variant(
    tree: dict[str, Any], variant: str, path: Path, where: Where, overridden: Overridden
) -> dict[str, Any]:
    variants = tree.get("variants") or {}
    if not isinstance(variants, dict) or not isinstance(variants.get(variant) or {}, dict):
        raise CordError(f"{path.name}: variants: each is a name with a mapping of overrides: {{a: {{seed: 1}}}}")
    if variant not in variants:
        raise CordError(f"{path.name}: variant {variant!r} is not among its variants: {', '.join(variants) or 'none'}")
    for key, value in (variants[variant] or {}).items():
        own, named = ("variants", variant, str(key)), tuple(str(key).split("."))
        file, line = where.get(own, (path, 1))
        where[named] = (file, line)
        overridden.pop(named, None)  # the variant's value counts
        around = (text for at, text in overridden.items() if at == own[: len(at)] or own == at[: len(own)])
        brought = next(around, None)
        if brought is not None:
            overridden[named] = brought
        _assign(tree, str(key).split("."), _anchored(str(key), value, file.parent), f"variants.{variant}.{key}")
    tree["variants"] = {}
    tree["variant"] = variant
    return tree
