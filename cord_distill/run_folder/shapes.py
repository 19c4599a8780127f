"""What the figures and rows in a run folder must look like to be read.

Files that were edited, cut or written by another tool or version are named with the first value that does not fit: it
would end in a traceback far from its file. A part that is missing is none. Keys that are not named here are left alone:
a newer version has more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, RootModel, Strict, ValidationError

from cord_distill.common.errors import CordError
from cord_distill.common.jsonl import read_json
from cord_distill.common.terminal import one_line
from cord_distill.types import Stop

Interval = Annotated[list[FiniteFloat], Field(min_length=2, max_length=2)]
# In JSON a Stop is its text.
StopText = Annotated[Stop, Strict(False)]
NO_ROW = "no row with an id"


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True)


class SuiteShape(_Shape):
    """A suite's entry in results.json."""

    avg_at_k: FiniteFloat | None = None
    avg_at_k_ci: Interval | None = None
    k: int | None = None
    num_problems: int | None = None
    step_accuracy: FiniteFloat | None = None
    pass_at_k: FiniteFloat | None = None
    maj_at_k: FiniteFloat | None = None
    truncated: FiniteFloat | None = None
    answerless: FiniteFloat | None = None
    mean_tokens: FiniteFloat | None = None
    tokens_percentiles: dict[str, FiniteFloat] | None = None


class ResultsShape(_Shape):
    """results.json of an evaluation."""

    label: str | None = None
    suites: dict[str, SuiteShape] = {}
    seconds: FiniteFloat | None = None
    protocol: dict[str, Any] | None = None
    method: str | None = None
    seed: int | None = None


class StageShape(_Shape):
    """A stage's entry in stages.json."""

    fingerprint: str | None = None
    seconds: FiniteFloat | None = None
    ended: str | None = None


class StagesShape(RootModel[dict[str, StageShape]]):
    """stages.json of a run."""


class _StepShape(_Shape):
    teacher: str
    text: str
    score: float | None
    n: int | None = None
    num_tokens: int | None = None
    stop: StopText | None = None
    category: str | None = None
    ids: list[int] | None = None


class _CandidateShape(_Shape):
    teacher: str
    text: str
    parent: int
    sample: int
    kept: bool
    stop: StopText
    score: float | None
    error: str | None = None


class _RivalShape(_Shape):
    answer: str
    score: float


class _ProblemShape(_Shape):
    id: str | int | None = None
    question: str | None = None
    answer: str | None = None
    meta: dict[str, Any] | None = None


class _ChecksShape(_Shape):
    steps_right: list[bool | None] | None = None
    all_right: bool | None = None


class _RowShape(_Shape):
    id: str | int
    error: str | None = None
    steps: list[_StepShape] | None = None
    candidates: list[list[_CandidateShape]] | None = None
    rivals: list[_RivalShape] | None = None
    pipeline: str | None = None
    final_answer_text: str | None = None
    prediction: str | None = None
    correct: bool | None = None
    score: float | None = None
    stop: StopText | None = None
    recipe_hash: str | None = None
    seed: int | None = None
    answer_rule: str | None = None
    num_tokens: dict[str, float | None] | None = None
    problem: _ProblemShape | None = None
    checks: _ChecksShape | None = None


def read_results(path: Path) -> dict[str, Any]:
    """The results.json of an evaluation, {} where there is none. Raises CordError with the value that does not fit."""
    return _fitting(path, read_json(path), ResultsShape)


def read_stages(path: Path) -> dict[str, Any]:
    """`read_results` for the stages.json of a run."""
    return _fitting(path, read_json(path), StagesShape)


def _fitting(path: Path, value: dict[str, Any], shape: type[BaseModel]) -> dict[str, Any]:
    try:
        shape.model_validate(value)
    except ValidationError as error:
        raise CordError(f"{path}: {first_fault(error)}; remove it and run the stage again") from None
    return value


def odd_part(row: Any) -> str | None:
    """Where a row is not as it should be and what it should be there, e.g. `steps[0].text is 5: Input should be a valid
    string`; None for a row that can be read."""
    if not isinstance(row, dict) or row.get("id") is None:
        return NO_ROW
    try:
        _RowShape.model_validate(row)
    except ValidationError as error:
        return first_fault(error)
    return None


def first_fault(error: ValidationError) -> str:
    """The first value that does not fit and why, such as `steps[0].text is 5: Input should be a valid string`."""
    first = error.errors(include_url=False, include_context=False)[0]
    where = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in first["loc"]).lstrip(".") or "it"
    got = "" if first["type"] == "missing" else f" is {one_line(repr(first['input']), 60)}"
    return f"{where}{got}: {first['msg']}"
