"""`cord grade FILE.jsonl`: the math grader on pairs of answers, and how far it agrees with their labels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.files import write_atomic
from cord_distill.common.jsonl import read_jsonl
from cord_distill.grading.compare import Rules
from cord_distill.grading.extract import gold_answer, loose_answer
from cord_distill.grading.latex import LONGEST_FORMULA, spelling
from cord_distill.grading.worker import shared_worker

LONGEST_TEXT = 1_000_000
PARAMS = {"strict": "strict", "allow_set_relation_comp": "set_for_relation", "precision": "decimals"}


def grade_file(path: str | Path, json_out: str | Path | None = None) -> dict[str, Any]:
    """Judges each row of a JSONL file with columns `gold`, `prediction`, optional `id`, `equal` and `params`.

    params: `strict`, `precision`, `allow_set_relation_comp` as math-verify names them; others do not change a verdict.
    json_out: one {"id", "accepted"} per row. Returns {"rows", "accepted"} and, where rows have `equal`, {"labelled",
    "agree", "equal_rows", "equal_accepted", "false_accepts": [ids], "missed": [ids]}, and prints it. Raises CordError
    on a bad row.
    """
    rows = list(_rows(Path(path)))
    verdicts = [accepts(row["gold"], row["prediction"], row.get("params")) for row in rows]
    if json_out is not None:
        judged = [{"id": row["id"], "accepted": verdict} for row, verdict in zip(rows, verdicts, strict=True)]
        write_atomic(Path(json_out), "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in judged))
    summary: dict[str, Any] = {"rows": len(rows), "accepted": sum(verdicts)}
    labelled = [(row, v) for row, v in zip(rows, verdicts, strict=True) if isinstance(row.get("equal"), bool)]
    if labelled:
        summary |= {
            "labelled": len(labelled),
            "agree": sum(row["equal"] == v for row, v in labelled),
            "equal_rows": sum(row["equal"] for row, _ in labelled),
            "equal_accepted": sum(row["equal"] and v for row, v in labelled),
            "false_accepts": [row["id"] for row, v in labelled if v and not row["equal"]],
            "missed": [row["id"] for row, v in labelled if row["equal"] and not v],
        }
    print(_summary_text(summary))
    return summary


def _summary_text(summary: dict[str, Any]) -> str:
    lines = [f"{summary['accepted']} of {summary['rows']} rows accepted"]
    if "labelled" in summary:
        lines.append(f"agreement with `equal`: {summary['agree']} of {summary['labelled']} rows")
        lines.append(f"equal rows accepted: {summary['equal_accepted']} of {summary['equal_rows']}")
        lines += [f"false accept: {id}" for id in summary["false_accepts"]]
        lines += [f"missed: {id}" for id in summary["missed"]]
    return "\n".join(lines)


def accepts(gold: Any, prediction: Any, params: dict[str, Any] | None = None) -> bool:
    """Whether two texts give the same answer; each may be a formula alone or prose that ends in one, or a number."""
    if gold is None or prediction is None:
        return False
    if len(str(gold)) > LONGEST_TEXT or len(str(prediction)) > LONGEST_TEXT:
        return False
    a, b = gold_answer(str(gold)), loose_answer(str(prediction))
    if not a or not b or len(a) > LONGEST_FORMULA or len(b) > LONGEST_FORMULA:
        return False
    if spelling(a) == spelling(b):
        return True
    rules = {ours: (params or {})[theirs] for theirs, ours in PARAMS.items() if (params or {}).get(theirs) is not None}
    return shared_worker().equivalent(a, b, Rules(**rules))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    columns = "gold and prediction"
    for number, (where, row) in enumerate(read_jsonl(path, key="cord grade", columns=columns), start=1):
        missing = [c for c in ("gold", "prediction") if c not in row]
        if missing:
            raise CordError(f"{where}: no column {missing[0]!r}; rows need {columns}")
        yield {"id": number, **row}
