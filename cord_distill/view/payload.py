"""Trajectory rows as the compact JSON that beam_tree.js draws: columns of candidates, the path of the chosen trace."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable
from itertools import takewhile, zip_longest
from typing import Any

MAX_TEXT = 6000  # characters of one candidate; the whole text is in trajectories.jsonl
KINDS = ("right", "wrong", "lucky", "failed", "ungraded")


def kind_of(row: dict[str, Any]) -> str:
    """`failed`, `wrong`, `lucky` (right answer, a wrong step), `right`, or `ungraded`."""
    if row.get("error") is not None:
        return "failed"
    if row.get("correct") is None:
        return "ungraded"
    if not row["correct"]:
        return "wrong"
    return "lucky" if (row.get("checks") or {}).get("all_right") is False else "right"


def pick_problems(rows: Iterable[dict[str, Any]], count: int) -> list[str]:
    """Ids of up to `count` problems, in file order: right, wrong, lucky and the other kinds in turn."""
    kinds = {row["id"]: kind_of(row) for row in rows}
    queues = [[name for name, of in kinds.items() if of == kind] for kind in KINDS]
    in_turn = [name for turn in zip_longest(*queues) for name in turn if name is not None]
    picked = set(in_turn[:count])
    return [name for name in kinds if name in picked]


def tree_of(row: dict[str, Any], teachers: list[str], max_text: int | None = MAX_TEXT) -> dict[str, Any]:
    """One row for the viewer; texts longer than max_text characters (None: any) are cut and say so.

    `columns`: per step, candidates as [parent, teacher, sample, score, kept, stop, text, error]; parent is the index in
    the column before (-1: the start), teacher an index into `teachers` (which grows by names that it lacks).
    `path`: index of the chosen trace's candidate per column. `steps`: [teacher, score, text, right or null].
    """

    def index(name: str) -> int:
        if name not in teachers:
            teachers.append(name)
        return teachers.index(name)

    candidates = row.get("candidates") or []
    parents = [parents_in_column(candidates, t) for t in range(len(candidates))]
    right = (row.get("checks") or {}).get("steps_right") or []
    steps = row.get("steps") or []
    return {
        "kind": kind_of(row),
        "pipeline": row.get("pipeline"),
        "prediction": row.get("prediction"),
        "score": row.get("score"),
        "stop": row.get("stop"),
        "error": row.get("error"),
        "tokens": row.get("num_tokens") or {},
        "final": cut(row.get("final_answer_text") or "", max_text),
        "columns": [
            [[parents[t][i], index(c["teacher"]), *_own(c, max_text)] for i, c in enumerate(column)]
            for t, column in enumerate(candidates)
        ],
        "path": chosen_path(candidates, parents, steps, steps[-1]["score"] if steps else row.get("score")),
        "steps": [
            [index(s["teacher"]), s["score"], cut(s["text"], max_text), right[i] if i < len(right) else None]
            for i, s in enumerate(steps)
        ],
    }


def parents_in_column(candidates: list[list[dict[str, Any]]], t: int) -> list[int]:
    """Per candidate of step t (from 0) the index of its parent among all candidates of step t-1; -1 for none.

    On disk `parent` counts the kept candidates of the step before, in list order.
    """
    if t == 0:
        return [-1] * len(candidates[0])
    kept = [i for i, c in enumerate(candidates[t - 1]) if c["kept"]]
    return [kept[c["parent"]] if 0 <= c["parent"] < len(kept) else -1 for c in candidates[t]]


def chosen_path(
    candidates: list[list[dict[str, Any]]], parents: list[list[int]], steps: list[dict[str, Any]], score: float | None
) -> list[int]:
    """The chain of candidates that became the trajectory: of all that survived, the one whose texts are its steps.

    Where no text decides (complete traces as candidates), the chain that ends with `score`, the last step's.
    """
    chains: list[dict[int, list[int]]] = []  # per column: the chain that leads to each of its candidates
    for column in parents:
        before = chains[-1] if chains else {-1: []}
        chains.append({i: [*before[parent], i] for i, parent in enumerate(column) if parent in before})
    used = {(t - 1, p) for t, column in enumerate(parents) for i, p in enumerate(column) if candidates[t][i]["kept"]}

    def likeness(chain: list[int]) -> tuple[int, bool, int]:
        own = [one for t, i in enumerate(chain) if not carried(one := candidates[t][i])]
        same = sum(1 for _ in takewhile(_is_one_step, zip(steps, own, strict=False)))
        ends_so = score is not None and candidates[len(chain) - 1][chain[-1]]["score"] == score
        return same, ends_so, -abs(len(own) - len(steps))

    survived = [
        chain
        for t, column in enumerate(chains)
        for i, chain in column.items()
        if candidates[t][i]["kept"] and (t, i) not in used
    ]
    return max(survived, key=likeness, default=[])


def _is_one_step(pair: tuple[dict[str, Any], dict[str, Any]]) -> bool:
    step, candidate = pair
    # The last step may have got `</think>` when its budget was spent.
    return step["teacher"] == candidate["teacher"] and step["text"].strip().startswith(candidate["text"].strip())


def carried(candidate: dict[str, Any]) -> bool:
    """A finished beam that only keeps its slot: no new proposal."""
    return candidate["sample"] < 0


def embedded_json(value: Any) -> str:
    """JSON that may stand inside <script type="application/json">: no `<`, `>` or `&`, so no text can close it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def packed(value: Any) -> str:
    """JSON made small: deflated, then base64, so that no text of it can mean anything to HTML. In the page,
    `DecompressionStream("deflate")` and JSON.parse turn it back into `value`, lone surrogates included."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode("ascii"), 6)).decode("ascii")


def cut(text: str, max_text: int | None) -> str:
    if max_text is None or len(text) <= max_text:
        return text
    return f"{text[:max_text]}… ({len(text) - max_text} more characters)"


def _own(c: dict[str, Any], max_text: int | None) -> list[Any]:
    return [c["sample"], c["score"], int(c["kept"]), c["stop"], cut(c["text"], max_text), c.get("error")]
