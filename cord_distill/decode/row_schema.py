"""The check of a trajectory row against the dataclasses in `types.py`, and their JSON Schema for other tools.

`python -m cord_distill.decode.row_schema` writes `trajectory.schema.json` anew; a test compares it with the types.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cord_distill.common.errors import CordError
from cord_distill.run_folder.shapes import first_fault
from cord_distill.types import SCHEMA_VERSION, Trajectory

FILE = Path(__file__).with_name("trajectory.schema.json")
SCHEMA = f"{FILE.name}, schema {SCHEMA_VERSION}"
TOKEN_COUNTS = ("reasoning", "answer", "generated_total", "scored_total")


@cache
def _adapter() -> TypeAdapter[Trajectory]:
    return TypeAdapter(Trajectory)


def validate_row(row: dict[str, Any]) -> None:
    """Checks one row (of `Trajectory.to_row`, or read back from JSON). Raises CordError naming row and field."""
    try:
        made = _adapter().validate_json(json.dumps(row))
    except ValidationError as error:
        name = row.get("id") if isinstance(row, dict) else None
        raise CordError(f"trajectory row {name!r}: {first_fault(error)} ({SCHEMA})") from None
    missing = [name for name in TOKEN_COUNTS if name not in made.num_tokens]
    if missing and made.error is None:
        raise CordError(f"trajectory row {made.id!r}: num_tokens has no {', '.join(missing)} ({SCHEMA})")


def schema_text() -> str:
    """Returns the JSON Schema (2020-12) of a row, as `trajectory.schema.json` holds it."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **_adapter().json_schema()}
    return json.dumps({**schema, "title": "A row of trajectories.jsonl"}, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(schema_text(), encoding="utf-8")
