"""Graders: what answer a completion gives, and whether it is right. `load_grader` is all that other modules need.

A grader is `grade(text, problem) -> (prediction | None, bool)`; text: the completion, all that follows `<think>\\n`:
reasoning, `</think>`, final answer. Heavy imports (sympy) happen in a worker process only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from cord_distill.common.errors import CordError
from cord_distill.common.plugins import load_plugin
from cord_distill.grading.extract import after_thought, answer_of
from cord_distill.grading.latex import LONGEST_FORMULA, spelled, spelling, split_top, squeezed, written
from cord_distill.grading.pairs import grade_file
from cord_distill.grading.worker import shared_worker
from cord_distill.types import Problem

__all__ = ["GRADER_VERSION", "Grader", "grade_file", "load_grader", "ungraded"]

GRADER_VERSION = 5
# None: a judge gave no verdict.
Grader = Callable[[str, Problem], tuple[str | None, bool | None]]
INTEGER = re.compile(r"[+-]?\d{1,30}(?:\.0+)?", re.ASCII)
JOINED = re.compile(r"(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])")


def load_grader(name: str, *, answer_in_thought: bool = False, key: str = "problems.grader") -> Grader:
    """`math`, `integer` (AIME), `exact`, or a plug-in `package.module:function` of the same signature.

    answer_in_thought: where no answer follows `</think>`, the last one inside the thought counts (built-in graders).
    key: recipe key for errors. Raises CordError on an unknown name.
    """
    if ":" in name:
        return load_plugin(name, key)
    if name == "judge":
        raise CordError(f"{key}: a judge cannot grade here, where every answer is needed at once; use another grader")
    rules: dict[str, Callable[[str, str], bool]] = {"math": same_math, "integer": same_integer, "exact": same_text}
    if name not in rules:
        raise CordError(f"{key}: {name!r} is no grader; use math, integer, exact or package.module:function")
    same = rules[name]

    def grade(text: str, problem: Problem) -> tuple[str | None, bool]:
        prediction = answer_of(text, in_thought=answer_in_thought)
        if prediction is None and name == "exact":
            prediction = after_thought(text).strip() or None
        if prediction is None or len(prediction) > LONGEST_FORMULA:
            return None, False
        return prediction, same(problem.answer, prediction)

    return grade


def ungraded(text: str, problem: Problem) -> tuple[str | None, None]:
    """An open-ended answer as it stands behind the thought: only a judge could say whether it is right."""
    return after_thought(text).strip() or None, None


def same_text(gold: str, prediction: str) -> bool:
    """Equal but for runs of blanks."""
    return gold.split() == prediction.split()


def integer(text: str) -> int | None:
    """The integer that an answer is: 073, $73$, 73^\\circ, m+n = 73, \\text{73}; None for all else.

    73 % is none, nor is `x = 5, y = 73`.
    """
    answer = written(text)
    several = len(split_top(answer.core, ",;")) > 1 or JOINED.search(answer.core)
    if answer.percent or several or not re.search(r"\d", text):
        return None
    core = squeezed(answer.core).rpartition("=")[2]
    return int(core.partition(".")[0]) if INTEGER.fullmatch(core) else None


def same_integer(gold: str, prediction: str) -> bool:
    """AIME: both are integers and the same one. No mathematics: 408/2 is not an answer there."""
    found = integer(prediction)
    return found is not None and found == integer(gold)


@lru_cache(maxsize=65536)
def same_math(gold: str, prediction: str) -> bool:
    """Mathematically the same answer (compare.py), decided in the worker unless both are spelled alike or integers."""
    if spelling(gold) == spelling(prediction):
        return bool(spelled(gold))
    if max(len(gold), len(prediction)) > LONGEST_FORMULA:
        return False
    if INTEGER.fullmatch(gold.strip()) and INTEGER.fullmatch(prediction.strip()):
        return integer(gold) == integer(prediction)
    return shared_worker().equivalent(gold, prediction)
