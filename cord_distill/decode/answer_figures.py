"""Counts for `cord report` what the traces of one method show about answers: how the final ones came about, where S
rose, and how far the known answer stands above others.

Everything is read off the rows of `trajectories.jsonl`; no model is asked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

DIGITS = 6
AT_ONCE = "at_once"
Group = Literal["right", "lucky", "wrong"]
GROUPS: tuple[Group, ...] = ("right", "lucky", "wrong")
# The comma of 1,234 is no part of the number, and a known answer may be written without it.
THOUSANDS = re.compile(r"(?<=\d)(?:,|\{,\})(?=\d{3}(?!\d))")


@dataclass(frozen=True, slots=True)
class AnswerFacts:
    """What one trace shows. rule: how its final answer came about. gradable: the grader found an answer.

    leap: the step that gained most in S is the first that holds the known answer's text; None where steps have no S.
    inside: it holds it only as a part of something longer, as 180 holds 18. margin: S of the known answer, less that of
    the best rival; None without a rival. group: lucky is a right answer by a wrong step, as everywhere.
    """

    rule: str
    gradable: bool
    leap: bool | None
    inside: bool | None
    margin: float | None
    group: Group | None


@dataclass(frozen=True, slots=True)
class MarginFigures:
    """The margins of one group. traces: those that have a rival. mean: of their margins. below: share of them where a
    rival stands above the known answer."""

    traces: int
    mean: float
    below: float


@dataclass(frozen=True, slots=True)
class AnswerFigures:
    """The figures of all finished traces; failed and given-up ones are left out. rules: traces per `answer_rule`.

    leaps, inside: shares of the `traced` traces, those whose steps have S. margins: per group that has any.
    """

    traces: int
    gradable: float
    rules: dict[str, int]
    traced: int
    leaps: float | None
    inside: float | None
    margins: dict[str, MarginFigures]


def answer_facts(row: dict[str, Any]) -> AnswerFacts | None:
    """The `AnswerFacts` of one row; None where there is no finished trace in it."""
    steps = row.get("steps") or []
    if row.get("error") is not None or not steps:
        return None
    leap, inside = _leap(steps, str((row.get("problem") or {}).get("answer") or ""))
    rivals = row.get("rivals") or []
    score = row.get("score")
    margin = None if score is None or not rivals else score - max(rival["score"] for rival in rivals)
    by_a_wrong_step = (row.get("checks") or {}).get("all_right") is False
    group: Group | None = None
    if row.get("correct") is not None:
        group = "wrong" if not row["correct"] else "lucky" if by_a_wrong_step else "right"
    return AnswerFacts(
        rule=row.get("answer_rule") or AT_ONCE,
        gradable=row.get("prediction") is not None,
        leap=leap,
        inside=inside,
        margin=margin,
        group=group,
    )


def answer_figures(found: Iterable[AnswerFacts | None]) -> AnswerFigures | None:
    """`AnswerFigures` of a method; None without a finished trace."""
    facts = [one for one in found if one is not None]
    if not facts:
        return None
    traced = [one for one in facts if one.leap is not None]
    margins: dict[str, MarginFigures] = {}
    for group in GROUPS:
        values = [one.margin for one in facts if one.group == group and one.margin is not None]
        if values:
            below = sum(value < 0 for value in values) / len(values)
            margins[group] = MarginFigures(len(values), round(sum(values) / len(values), DIGITS), round(below, DIGITS))
    return AnswerFigures(
        traces=len(facts),
        gradable=_share(one.gradable for one in facts) or 0.0,
        rules=dict(Counter(one.rule for one in facts)),
        traced=len(traced),
        leaps=_share(bool(one.leap) for one in traced),
        inside=_share(bool(one.inside) for one in traced),
        margins=margins,
    )


def holds(text: str, answer: str) -> tuple[bool, bool]:
    """(whether `answer` stands in `text`, whether it does so as a whole: not 18 in 180, in 18.5 or in x18)."""
    text, answer = THOUSANDS.sub("", text), THOUSANDS.sub("", answer.strip())
    whole = re.search(rf"(?<![\w.]){re.escape(answer)}(?!\w)(?!\.\d*[1-9])", text)
    return answer in text, whole is not None


def _leap(steps: list[dict[str, Any]], answer: str) -> tuple[bool | None, bool | None]:
    """Whether S rose most at the first step that holds the answer, and whether only within something longer.

    S before the first step counts as 0. (None, None) where not every step has an S, or where there is but one.
    """
    given = [step.get("score") for step in steps]
    scores = [score for score in given if isinstance(score, float) and 0 <= score <= 1]
    if len(steps) < 2 or not answer.strip() or len(scores) < len(steps):
        return None, None
    gains = [after - before for before, after in zip([0.0, *scores], scores, strict=False)]
    top = gains.index(max(gains))
    standing = [holds(step["text"], answer) for step in steps]
    first = next((place for place, (there, _) in enumerate(standing) if there), None)
    return first == top, first == top and not standing[top][1]


def _share(values: Iterable[bool]) -> float | None:
    kept = list(values)
    return round(sum(kept) / len(kept), DIGITS) if kept else None
