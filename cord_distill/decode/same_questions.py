"""Questions that stand in a problem file more than once: two different answers are refused, the rest is counted."""

from __future__ import annotations

from collections.abc import Sequence

from cord_distill.common.errors import CordError
from cord_distill.common.terminal import one_line
from cord_distill.grading import load_grader
from cord_distill.grading.golds import NAMED
from cord_distill.types import THINK_CLOSE, Problem

SHOWN = 3


def refuse_two_answers(problems: Sequence[Problem], source: str, grader: str) -> None:
    """Raises CordError naming both rows (from 1) of a question with two answers that the grader holds for different.

    A plug-in or a judge may read more than the answer, so only our own graders decide.
    """
    if grader not in NAMED:
        return
    grade = None
    for first, again in _pairs(problems):
        one, other = problems[first], problems[again]
        if one.answer == other.answer:
            continue
        grade = grade or load_grader(grader)
        boxed = [f"{THINK_CLOSE}\\boxed{{{known.answer}}}" for known in (one, other)]
        # A worked solution matches nothing, itself included, and two of them may both be right.
        if grade(boxed[1], other)[1] and not grade(boxed[0], other)[1]:
            raise CordError(
                f"{source}: rows {first + 1} and {again + 1} ask the same question ({one_line(one.question, 60)!r}) "
                f"and know different answers, {one_line(one.answer, 40)!r} and {one_line(other.answer, 40)!r}: mend "
                "one of them, or drop both"
            )


def repeated_line(problems: Sequence[Problem]) -> str | None:
    """Returns a sentence that counts the repeated questions and names the first ones; None where there are none."""
    found = [problems[again].id for _, again in _pairs(problems)]
    if not found:
        return None
    named = ", ".join(found[:SHOWN]) + (", ..." if len(found) > SHOWN else "")
    return f"problems: {len(found)} of {len(problems)} ask what one before them asks: {named}; each is decoded"


def _pairs(problems: Sequence[Problem]) -> list[tuple[int, int]]:
    """Returns the (first, later) places of each question that was there before; blanks do not count."""
    seen: dict[str, int] = {}
    found = []
    for place, problem in enumerate(problems):
        first = seen.setdefault(" ".join(problem.question.split()), place)
        if first != place:
            found.append((first, place))
    return found
