"""Reading the trajectories of a run folder, row by row, with what tables and figures need of each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.run_folder.row_shape import NO_ROW, odd_part


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSONL file, one at a time. A torn last line (a killed run) is left out, any other a CordError, and
    so is a row whose parts are of other types than ours (row_shape.py)."""
    try:
        with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                try:
                    row = json.loads(line)
                    odd = odd_part(row)
                except (ValueError, RecursionError) as error:
                    if not line.endswith("\n"):
                        return
                    odd = "nested too deep" if isinstance(error, RecursionError) else str(error)
                if odd == NO_ROW and not line.endswith("\n"):
                    return
                if odd:
                    raise CordError(f"{path}, line {number}: not a trajectory row: {odd}")
                yield row
    except OSError as error:
        raise CordError(f"{path}: cannot be read: {error.strerror}; make it again with cord generate") from None


def row_facts(row: dict[str, Any]) -> dict[str, Any]:
    """What one row says of its problem; null or empty where the row says nothing."""
    checks, tokens = row.get("checks") or {}, row.get("num_tokens") or {}
    trace = [tokens[key] for key in ("reasoning", "answer") if key in tokens]
    return {
        "failed": row.get("error") is not None,
        "correct": row.get("correct"),
        "score": row.get("score"),
        "all_right": checks.get("all_right"),
        "steps_right": checks.get("steps_right") or [],
        "teachers": [step["teacher"] for step in row.get("steps") or []],
        "num_tokens": tokens,
        "trace_tokens": sum(trace) if trace else None,
    }
