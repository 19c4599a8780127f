"""`data.preferences`: pairs of a better and a worse continuation of one prefix, as a data set of TRL's form.

The columns `prompt`, `chosen` and `rejected` are messages, as TRL's DPOTrainer reads them. A pair of steps holds the
prefix in both completions, so that each can be read alone; `shared` says how many characters that is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

from cord_distill.data.beam_tree import Node, columns
from cord_distill.data.rows import without_marker
from cord_distill.recipe.data import PreferencesConfig
from cord_distill.types import THINK_CLOSE, THINK_OPEN, Candidate, Stop, Trajectory

Pair = dict[str, Any]
# 0.9 - 0.8 is a little less than 0.1.
ROUNDING = 1e-9


def preference_pairs(
    trajectory: Trajectory, config: PreferencesConfig, markers: re.Pattern[str] | None = None
) -> list[Pair]:
    """The pairs of one problem, of each kind those of the largest margins. markers: cut off each step where given.

    A pair of steps: what lived on behind a prefix against a sibling that was pruned. A pair of traces: the winner
    against a complete one of a lower score; CoRD's other traces were never asked for an answer, so both end with
    `</think>`, Curation's hold theirs.
    """
    if trajectory.error is not None:
        return []
    makers = {"steps": _steps, "traces": _traces}
    out = []
    for kind in config.kinds:
        pairs = [pair for pair in makers[kind](trajectory, markers) if pair["margin"] >= config.min_margin - ROUNDING]
        pairs.sort(key=lambda pair: -pair["margin"])
        out += pairs[: config.per_problem]
    return [{"id": f"{trajectory.id}/{pair['kind']}-{n}", **pair} for n, pair in enumerate(out, start=1)]


def _steps(trajectory: Trajectory, markers: re.Pattern[str] | None) -> Iterator[Pair]:
    if trajectory.pipeline != "cord":
        return
    for column in columns(trajectory):
        lived: dict[int, Node] = {}
        for node in column:
            if node.rated and node.candidate.kept:
                lived.setdefault(id(node.parent), node)
        for node in column:
            best = lived.get(id(node.parent))
            if best is None or not node.rated or node.candidate.kept or node.candidate.text == best.candidate.text:
                continue
            prefix = _joined(best.chain[:-1], markers)
            yield _pair(
                trajectory, "step", best.step, len(THINK_OPEN + prefix), best.candidate, node.candidate,
                THINK_OPEN + prefix + _joined([best.candidate], markers),
                THINK_OPEN + prefix + _joined([node.candidate], markers),
            )  # fmt: skip


def _traces(trajectory: Trajectory, markers: re.Pattern[str] | None) -> Iterator[Pair]:
    if trajectory.pipeline == "curation":
        whole = [one for one in trajectory.candidates[0] if one.text.count(THINK_CLOSE) == 1 and one.score is not None]
        best = next((one for one in whole if one.kept), None)
        for one in whole:
            if best is not None and one is not best and one.text != best.text:
                chosen, rejected = THINK_OPEN + best.text, THINK_OPEN + one.text
                yield _pair(trajectory, "trace", 0, len(THINK_OPEN), best, one, chosen, rejected)
    elif trajectory.pipeline == "cord":
        rated = [node for column in columns(trajectory) for node in column if node.rated]
        ended = [node for node in rated if node.candidate.stop is Stop.THINK_END]
        thought = trajectory.reasoning
        winner = next((node for node in ended if "".join(c.text for c in node.chain) == thought), None)
        if winner is None:
            return
        for node in ended:
            chosen, rejected = (THINK_OPEN + _joined(one.chain, markers) for one in (winner, node))
            if chosen != rejected:
                both = takewhile(lambda pair: pair[0] is pair[1], zip(winner.chain, node.chain, strict=False))
                shared = len(THINK_OPEN + _joined([one for one, _ in both], markers))
                yield _pair(trajectory, "trace", 0, shared, winner.candidate, node.candidate, chosen, rejected)


def _joined(candidates: Sequence[Candidate], markers: re.Pattern[str] | None) -> str:
    return "".join(without_marker(one.text, markers) for one in candidates)


def _pair(
    trajectory: Trajectory, kind: str, step: int, shared: int, better: Candidate, worse: Candidate, chosen: str,
    rejected: str,
) -> Pair:  # fmt: skip
    assert better.score is not None and worse.score is not None
    return {
        "prompt": [{"role": "user", "content": trajectory.problem.question}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
        "score_chosen": better.score,
        "score_rejected": worse.score,
        "margin": better.score - worse.score,
        "kind": kind,
        "step": step,
        "shared": shared,
        "teachers": [better.teacher, worse.teacher],
    }
