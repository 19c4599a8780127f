"""Known answers that nothing could match: each is graded against itself, boxed, when it is read."""

from __future__ import annotations

from collections.abc import Sequence

from cord_distill.common.errors import CordError
from cord_distill.grading import Grader, load_grader
from cord_distill.types import THINK_CLOSE, Problem

# Graders of ours read a box; what a plug-in reads is its own affair.
NAMED = ("math", "integer", "exact")
SHOWN, LONGEST = 3, 60


def unmatched(problems: Sequence[Problem], grade: Grader) -> list[Problem]:
    """The problems whose known answer `grade` does not accept when it is boxed. Those without a known answer are left
    out."""
    return [p for p in problems if p.answer and not grade(f"{THINK_CLOSE}\\boxed{{{p.answer}}}", p)[1]]


def unmatched_line(found: Sequence[Problem], total: int, what: str) -> str:
    """One sentence that counts and names them."""
    named = ", ".join(problem.id for problem in found[:SHOWN]) + (", ..." if len(found) > SHOWN else "")
    return f"{what}: {len(found)} of {total} known answers match nothing, themselves in a box included: {named}"


def refuse_unmatched(found: Sequence[Problem], source: str, grader: str, key: str) -> None:
    """Raises CordError where there are any. key: of the columns, for the way out."""
    if not found:
        return
    first = found[0]
    answer = first.answer if len(first.answer) <= LONGEST else f"...{first.answer[-LONGEST:]}"
    more = f" ({len(found)} such rows)" if len(found) > 1 else ""
    raise CordError(
        f"{source}: the answer {answer!r} of {first.id!r} is one that the grader {grader!r} accepts from nobody{more}; "
        f"mend or drop it, or set {key}.answer_pattern to find the answer in it"
    )


def check_known_answers(problems: Sequence[Problem], source: str, grader: str) -> str | None:
    """Checks the known answers of a recipe's problems. Under `integer` one that is no integer is a CordError. Under
    `math` a known answer may be a text that nothing has to match (its perplexity is what counts): the sentence that
    counts those is returned, None where there are none."""
    if grader not in NAMED:
        return None
    found = unmatched(problems, load_grader(grader))
    if grader == "integer":
        refuse_unmatched(found, source, grader, "problems")
    return unmatched_line(found, len(problems), "problems") if found else None
