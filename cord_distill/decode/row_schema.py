"""The JSON Schema (2020-12) of a trajectory row, written from the dataclasses in `types.py`, and the check of a row.

`python -m cord_distill.decode.row_schema` writes `trajectory.schema.json` anew; a test compares it with the types.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from cord_distill.common.errors import CordError
from cord_distill.types import SCHEMA_VERSION, Trajectory

FILE = Path(__file__).with_name("trajectory.schema.json")
TOKEN_COUNTS = ("reasoning", "answer", "generated_total", "scored_total")

# What a Python type cannot say, by field name. sample -1 marks a finished beam that keeps its slot. A trajectory's
# score is S; a step's or a candidate's is what its selector said, and a reward or a length may be any number.
LIMITS: dict[str, dict[str, Any]] = {
    "Trajectory.score": {"minimum": 0, "maximum": 1},
    "n": {"minimum": 1},
    "ids": {"minimum": 0},
    "num_tokens": {"minimum": 0},
    "parent": {"minimum": 0},
    "sample": {"minimum": -1},
    "schema": {"const": SCHEMA_VERSION},
}

# Fields that a row leaves out where they are None.
OPTIONAL = {"category", "answer_rule"}


def trajectory_schema() -> dict[str, Any]:
    """The schema as a dict: every field of the types is required but OPTIONAL ones, and no other is allowed."""
    defs: dict[str, Any] = {}
    _schema_of(Trajectory, {}, defs)
    row = defs.pop("Trajectory")
    finished = {"properties": {"error": {"type": "null"}}, "required": ["error"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A row of trajectories.jsonl",
        **row,
        "if": finished,
        "then": {"properties": {"num_tokens": {"required": list(TOKEN_COUNTS)}}},
        "$defs": dict(sorted(defs.items())),
    }


def validate_row(row: dict[str, Any]) -> None:
    """Checks one row (of `Trajectory.to_row`, or read back from JSON). Raises CordError naming row and field."""
    error = next(iter(_validator().iter_errors(row)), None)
    if error is None:
        return
    name = row.get("id") if isinstance(row, dict) else None
    field = error.json_path.removeprefix("$").removeprefix(".") or "row"
    message = error.message if len(error.message) <= 200 else f"{error.message[:120]} ... {error.message[-70:]}"
    raise CordError(f"trajectory row {name!r}: {field}: {message} (trajectory.schema.json, schema {SCHEMA_VERSION})")


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator, validators

    # to_row() gives tuples, JSON gives lists. NaN passes every minimum and maximum, so it is no number here.
    checker = Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "array": lambda _, value: isinstance(value, (list, tuple)),
            "number": lambda _, value: (
                isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            ),
        }
    )
    return validators.extend(Draft202012Validator, type_checker=checker)(json.loads(FILE.read_text()))


def _schema_of(kind: Any, limits: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    """The schema of one annotation; `limits` apply to its number, or to the numbers that it holds."""
    if kind is Any:
        return {}
    if kind is type(None):
        return {"type": "null"}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _reference(kind, defs)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [member.value for member in kind]}
    simple = {str: "string", bool: "boolean", int: "integer", float: "number"}
    if kind in simple:
        return {"type": simple[kind], **limits}
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        options = [_schema_of(arg, {}, defs) for arg in args]
        if all(list(option) == ["type"] for option in options):
            # One list of types, not anyOf: then an error says what is wrong with the value itself.
            return {"type": [option["type"] for option in options], **limits}
        return {"anyOf": options}
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        return {"type": "array", "items": _schema_of(args[0], limits, defs)}
    if origin is dict and args[0] is str:
        values = _schema_of(args[1], limits, defs)
        return {"type": "object", **({"additionalProperties": values} if values else {})}
    raise TypeError(f"row_schema.py does not know how to write {kind!r}")


def _reference(kind: type, defs: dict[str, Any]) -> dict[str, Any]:
    if kind.__name__ not in defs:
        hints = get_type_hints(kind)
        names = [f.name for f in dataclasses.fields(kind)]
        defs[kind.__name__] = {
            "description": (kind.__doc__ or "").split("\n\n")[0].strip(),
            "type": "object",
            "properties": {name: _schema_of(hints[name], _limits(kind, name), defs) for name in names},
            "required": [name for name in names if name not in OPTIONAL],
            "additionalProperties": False,
        }
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _limits(kind: type, name: str) -> dict[str, Any]:
    return LIMITS.get(f"{kind.__name__}.{name}", LIMITS.get(name, {}))


def schema_text() -> str:
    return json.dumps(trajectory_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(schema_text(), encoding="utf-8")
