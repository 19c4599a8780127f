"""One training row and why it would be dropped: from a trajectory, or from a text that somebody else wrote."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cord_distill.recipe.data import FiltersConfig
from cord_distill.types import THINK_CLOSE, THINK_OPEN, Stop, Trajectory


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """A row that may be trained, or the reason why not. tokens: reasoning and answer, where somebody counted them.

    problem: id that all rows of one problem share, where it has several; "" = the row's own.
    """

    id: str
    question: str
    completion: str
    row: dict[str, Any]
    reason: str | None = None
    correct: bool | None = None
    score: float | None = None
    teachers: tuple[str, ...] = ()
    tokens: dict[str, int] = field(default_factory=dict)
    problem: str = ""


def from_trajectory(t: Trajectory, filters: FiltersConfig, markers: re.Pattern[str] | None) -> CandidateRow:
    """Makes a row of a trajectory. markers: what to cut off the start of each step, None = keep the steps."""
    reason = next((reason for reason, drops in FILTERS.items() if drops(t, filters)), None)
    # Another tool's row may say null, or a share of a token.
    tokens = {key: n for key in ("reasoning", "answer") if isinstance(n := t.num_tokens.get(key), int)}
    return CandidateRow(
        id=t.id,
        question=t.problem.question,
        completion=t.completion,
        row={} if reason else sft_row(t, markers),
        reason=reason,
        correct=t.correct,
        score=t.score,
        teachers=tuple(step.teacher for step in t.steps),
        tokens=tokens,
    )


def from_text(
    id: str,
    source: str,
    question: str,
    completion: str,
    filters: FiltersConfig,
    system: str = "",
    correct: bool | None = None,
) -> CandidateRow:
    """A row of somebody else. completion: `<think>` ... `</think>` answer. correct None: nobody graded it.

    The filters that need a grade or a search (`finished`, `steps_right`, a missing grade) do not apply.
    """
    head = [{"role": "system", "content": system}] if system else []
    body = THINK_OPEN + completion.strip().removeprefix(THINK_OPEN.strip()).lstrip("\n")
    row = {
        "id": id,
        "prompt": [*head, {"role": "user", "content": question}],
        "completion": [{"role": "assistant", "content": body}],
        "pipeline": source,
        "score": None,
        "correct": correct,
        "teachers": [],
    }
    reason = _text_reason(question, body, filters, correct)
    return CandidateRow(id, question, body, row, reason, correct=correct)


def _text_reason(question: str, body: str, filters: FiltersConfig, correct: bool | None) -> str | None:
    reasoning, _, answer = body.partition(THINK_CLOSE)
    checks = {
        "no_question": not question.strip(),
        "thought_not_closed_once": body.count(THINK_CLOSE) != 1 or body.count(THINK_OPEN.strip()) != 1,
        "no_thought": not reasoning.removeprefix(THINK_OPEN).strip(),
        "no_final_answer": not answer.strip(),
        "wrong_answer": filters.correct and correct is False,
        "no_box": filters.boxed and "\\boxed{" not in answer,
        "repetition": filters.max_repetition is not None and _repetition(reasoning) > filters.max_repetition,
    }
    return next((reason for reason, drops in checks.items() if drops), None)


def sft_row(trajectory: Trajectory, markers: re.Pattern[str] | None = None) -> dict[str, Any]:
    """One training row. markers: what to cut off the start of each step, None = keep the steps as they are."""
    reasoning = "".join(without_marker(step.text, markers) for step in trajectory.steps)
    return {
        "id": trajectory.id,
        "prompt": [{"role": "user", "content": trajectory.problem.question}],
        "completion": [{"role": "assistant", "content": THINK_OPEN + reasoning + trajectory.final_answer_text}],
        "pipeline": trajectory.pipeline,
        "score": trajectory.score,
        "correct": trajectory.correct,
        "teachers": [step.teacher for step in trajectory.steps],
        "recipe_hash": trajectory.recipe_hash,
        "seed": trajectory.seed,
    }


def _one_thought(t: Trajectory) -> bool:
    return t.completion.count(THINK_CLOSE) == 1 and t.reasoning.endswith(THINK_CLOSE) and "<think>" not in t.completion


def _repetition(text: str) -> float:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return max(Counter(lines).values()) / len(lines) if len(lines) > 1 else 0.0


# Reasons in the order in which they are asked; the first four hold for every recipe.
FILTERS: dict[str, Callable[[Trajectory, FiltersConfig], bool]] = {
    "error": lambda t, f: t.error is not None,
    "aborted": lambda t, f: t.stop is Stop.ABORT or not t.steps,
    "thought_not_closed_once": lambda t, f: not _one_thought(t),
    "no_final_answer": lambda t, f: not t.final_answer_text.strip(),
    "not_graded": lambda t, f: f.correct and t.correct is None,
    "wrong_answer": lambda t, f: f.correct and t.correct is False,
    "not_finished": lambda t, f: f.finished and t.stop is not Stop.THINK_END,
    "no_box": lambda t, f: f.boxed and "\\boxed{" not in t.final_answer_text,
    "repetition": lambda t, f: f.max_repetition is not None and _repetition(t.reasoning) > f.max_repetition,
    "steps_not_checked": lambda t, f: f.steps_right and not t.checks.get("steps_right"),
    "wrong_step": lambda t, f: f.steps_right and not all(t.checks["steps_right"]),
}

# What to change when a reason took every row.
REMEDIES = {
    "error": "see `error` in the trajectories, then run cord generate again",
    "wrong_answer": "data.filters.correct=false keeps them",
    "not_graded": "data.filters.correct=false keeps them, or give problems.grader",
    "not_finished": "data.filters.finished=false keeps them, or raise decode.budgets.reasoning_tokens",
    "no_box": "data.filters.boxed=false keeps them",
    "repetition": "raise data.filters.max_repetition",
    "steps_not_checked": "give problems.process_check, or data.filters.steps_right=false",
    "wrong_step": "data.filters.steps_right=false keeps them",
    "contaminated": "these are the questions of data.decontaminate: take other problems",
    "other_turns": "a row is [system,] user, assistant: cut the conversations of data.sources",
    "unusable_value": "a text, an answer or `correct` of data.sources is of another kind, or no Unicode: mend the file",
    "no_thought": "the rows hold answers without their thought: look at the columns of data.sources",
    "thought_not_closed_once": "a row needs one <think> ... </think>: look at the format of data.sources",
}


def marker_pattern(step_marker: str) -> re.Pattern[str]:
    """Matches the marker (`### Step {t}.`) at the start of a step."""
    return re.compile(r"\A\s*" + any_number(step_marker))


def any_number(step_marker: str) -> str:
    """A regular expression for the marker with any number in the place of `{t}`, and for the blank after it."""
    return re.escape(step_marker.strip()).replace(re.escape("{t}"), r"\d+") + " ?"


def without_marker(text: str, markers: re.Pattern[str] | None) -> str:
    """A step's text without the marker that it begins with; the text as it is where `markers` is None."""
    return markers.sub("", text, count=1) if markers else text
