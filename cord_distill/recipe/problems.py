"""The `problems` section: where questions and known answers come from, and which of them are hard."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cord_distill.recipe.base import PlugIn, Positive, Section, _module_function
from cord_distill.recipe.models import ModelConfig


class HardForConfig(ModelConfig):
    """A small model that problems must be too hard for: kept are those whose `tries` are all wrong and whose reasoning
    is longer than min_reasoning_tokens (the small model's tokens), by the mean, the shortest or the longest try.

    reasoning_tokens, answer_tokens: the budgets of a try; one that is cut off is wrong. seed: of the tries alone.
    """

    tries: Positive = 3
    min_reasoning_tokens: Annotated[int, Field(ge=0)] = 1000
    reasoning_length: Literal["mean", "min", "max"] = "mean"
    reasoning_tokens: Positive = 16384
    answer_tokens: Positive = 4096
    seed: int = 0


class ProblemsConfig(Section):
    """Where questions and known answers come from: a local JSONL `path`, a hub `dataset`, or a `builder` plug-in.

    builder: called as `builder(**args)`, yields `Problem`s. subset, split: of the hub data set. question, answer: names
    of columns; `a.b` is the field b of the column a. id: a column; null numbers the rows. context: a column that stands
    before the question; a list of texts is joined by blank lines. grader: `math`, `integer`, `exact`, `judge`
    (open-ended: `evaluate.judge` decides for `cord problems`; trajectories stay ungraded), or a plug-in
    `grade(text, problem) -> (prediction | None, bool)`. process_check: a plug-in `check(problem, step_texts) -> dict`
    whose `steps_right` is a list of bools.
    limit: the first so many. hard_for: of these only the hard ones, which `cord problems` finds.
    """

    builder: PlugIn | None = None
    args: dict[str, Any] = {}
    path: str | None = None
    dataset: str | None = None
    subset: str | None = None
    split: str = "train"
    question: str = "question"
    answer: str = "answer"
    id: str | None = None
    context: str | None = None
    limit: Positive | None = None
    grader: str = "math"
    process_check: PlugIn | None = None
    hard_for: HardForConfig | None = None

    @model_validator(mode="after")
    def _one_source(self) -> ProblemsConfig:
        given = [key for key in ("builder", "path", "dataset") if getattr(self, key)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are both given: keep one source of problems")
        if self.grader not in ("math", "integer", "exact", "judge"):
            _module_function(self.grader)
        return self
