"""The recipe's JSON Schema (`cord schema`): editors complete keys and show what each means.

In VS Code's YAML extension, the first line of a recipe: `# yaml-language-server: $schema=recipe.schema.json`, behind
`cord schema > recipe.schema.json`.
"""

from __future__ import annotations

from typing import Any

from cord_distill.recipe.recipe import Recipe
from cord_distill.recipe.train_keys import OURS, train_key_types


def recipe_schema() -> dict[str, Any]:
    """The schema that pydantic makes, with TRL's keys under `train`, with `extends`, and `name` left out at will."""
    schema = Recipe.model_json_schema(mode="validation")
    properties = schema["properties"]
    known = {key: _of(kind) for key, kind in train_key_types().items()} | {key: {} for key in OURS["train"]}
    properties["train"] |= {"properties": known, "additionalProperties": False}
    properties["extends"] = {
        "type": "string",
        "description": "A recipe that this one changes: a path, or a bundled name.",
    }
    schema["required"] = [key for key in schema.get("required", []) if key != "name"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "cord-distill recipe"}


def _of(kind: Any) -> dict[str, Any]:
    if isinstance(kind, list):
        return {"enum": kind}
    names = {"int": "integer", "float": "number", "str": "string", "bool": "boolean", "None": "null"}
    types = [names.get(part) for part in kind.split(" | ")]
    # Numbers may be written as text (`5e-6` is text in YAML 1.1).
    return {} if None in types else {"type": sorted({*types, *(["string"] if "number" in types else [])})}
