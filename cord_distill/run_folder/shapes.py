"""What the figures in a run folder must look like to be read: files that were edited, cut or written by another version
are named with the value that does not fit. Keys that are not named here are left alone: a newer version has more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, RootModel, ValidationError

from cord_distill.common.errors import CordError
from cord_distill.common.jsonl import read_json
from cord_distill.common.terminal import one_line

Interval = Annotated[list[FiniteFloat], Field(min_length=2, max_length=2)]


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


def first_fault(error: ValidationError) -> str:
    """The first value that does not fit and why, such as `steps[0].text is 5: Input should be a valid string`."""
    first = error.errors(include_url=False, include_context=False)[0]
    where = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in first["loc"]).lstrip(".") or "it"
    got = "" if first["type"] == "missing" else f" is {one_line(repr(first['input']), 60)}"
    return f"{where}{got}: {first['msg']}"
