"""Reading the trajectories of a run folder, row by row, with what tables and figures need of each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.run_folder.shapes import NO_ROW, odd_part


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the rows of a trajectories.jsonl, one at a time, for tables, figures and pages.

    A torn last line (a killed run) is left out; any other damage is a CordError, and so is a row whose parts are of
    other types than ours (shapes.py).
    """
    return (row for _, row in numbered_rows(path))


def numbered_rows(path: Path, torn: Counter[str] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the rows as `read_rows` does, each with its place (`FILE, line 3`) for errors. torn: counts a torn last
    line."""
    try:
        with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                    odd = odd_part(row)
                except (ValueError, RecursionError) as error:
                    row, odd = None, "nested too deep" if isinstance(error, RecursionError) else str(error)
                if (row is None or odd == NO_ROW) and not line.endswith("\n"):
                    if torn is not None:
                        torn["torn_line"] += 1
                    return
                if odd:
                    raise CordError(f"{path}, line {number}: not a trajectory row: {odd}")
                yield f"{path}, line {number}", row
    except OSError as error:
        raise CordError(f"{path}: cannot be read: {error.strerror}; make it again with cord generate") from None


def row_facts(row: dict[str, Any]) -> dict[str, Any]:
    """Returns what one row says of its problem; null or empty where the row says nothing."""
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
