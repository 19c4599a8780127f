"""What a trajectory row of another tool, or one edited by hand, must look like to be read: the first odd part is named.

A part that is missing is none; a part of another type would end in a traceback far from its file.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Strict, ValidationError

from cord_distill.run_folder.shapes import first_fault
from cord_distill.types import Stop

NO_ROW = "no row with an id"
# In JSON a Stop is its text.
StopText = Annotated[Stop, Strict(False)]


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True)


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
