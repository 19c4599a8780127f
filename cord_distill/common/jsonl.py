"""JSON from disk. Users' JSONL files: one object per line, blank lines passed over, every fault named with its row. Our
own files of one object: a missing or half-written one is none."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError


def read_jsonl(path: Path, *, key: str, columns: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, row) of each line; where: `file.jsonl, row 3`, for errors about the row.

    key: what named the file (a recipe key), columns: what its rows must hold; both go into the error. Raises CordError:
    no such file, a line that is no JSON object.
    """
    if not path.is_file():
        raise CordError(f"{key}: {path} is not there; give a JSONL file with {columns}")
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            where = f"{path.name}, row {number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise CordError(f"{where}: not JSON ({error}); each line must be one object with {columns}") from None
            if not isinstance(row, dict):
                raise CordError(f"{where}: not an object; each line must be one object with {columns}")
            yield where, row


def refuse_duplicates(ids: Iterable[str], source: str, what: str = "id", fix: str = "make ids unique") -> None:
    """Raises CordError naming both rows (from 1) of an id that occurs twice. source: where the rows are from."""
    seen: dict[str, int] = {}
    for number, one in enumerate(ids, start=1):
        if one in seen:
            raise CordError(f"{source}: {what} {one!r} occurs twice (rows {seen[one]} and {number}); {fix}")
        seen[one] = number


def read_object(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file of our own; None where there is no such file, or nothing whole in it."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, {} where there is no file. Raises CordError when it holds something else."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CordError(f"{path}: not readable as JSON: {error}; remove it and run the stage again") from None
    if not isinstance(value, dict):
        raise CordError(f"{path}: holds no JSON object; remove it and run the stage again")
    return value
