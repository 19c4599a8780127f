"""The `problems` section: where questions and known answers come from, and which of them are hard."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cord_distill.recipe.base import (
    AnswerPattern,
    PlugIn,
    Positive,
    Section,
    _module_function,
    check_source,
    useless_keys,
)
from cord_distill.recipe.models import ModelConfig


class HardForConfig(ModelConfig):
    """A small model that problems must be too hard for: kept are those whose `tries` are all wrong and whose reasoning
    is longer than min_reasoning_tokens (the small model's tokens), by the mean, the shortest or the longest try.
    """

    tries: Positive = 3
    """How many answers the small model gives per problem."""
    min_reasoning_tokens: Annotated[int, Field(ge=0)] = 1000
    """Its reasoning must be longer than this, in its own tokens."""
    reasoning_length: Literal["mean", "min", "max"] = "mean"
    """Which of the tries' lengths counts: their mean, the shortest or the longest."""
    reasoning_tokens: Positive = 16384
    """The longest thought of a try; one that is cut off is wrong."""
    answer_tokens: Positive = 4096
    """The longest final answer of a try."""
    seed: int = 0
    """The seed of the tries alone."""


class ProblemsConfig(Section):
    """Where questions and known answers come from: a local JSONL `path`, a hub `dataset`, or a `builder` plug-in."""

    builder: PlugIn | None = None
    """A plug-in, called as `builder(**args)`, that yields `Problem`s."""
    args: dict[str, Any] = {}
    """The builder's arguments."""
    path: str | None = None
    """A local file of problems (JSONL, JSON, CSV or Parquet, also gzipped)."""
    dataset: str | None = None
    """The hub id of a data set of problems."""
    subset: str | None = None
    """The configuration of the hub data set, where it has several."""
    revision: str | None = None
    """The commit, tag or branch of the hub data set; the commit that it stood for is recorded in every row's meta."""
    split: str = "train"
    """The split of the hub data set."""
    question: str = "question"
    """The column of the question; `a.b` is the field b of the column a."""
    answer: str | None = "answer"
    """The column of the known answer; `a.b` is the field b of the column a. null says that there are no known answers:
    a selector that reads none is needed, such as `consensus`."""
    answer_pattern: AnswerPattern | None = None
    """A regular expression whose one group finds the known answer in that column, e.g. `#### (.+)`: its last match
    counts. Null takes the column whole, but of a solution whose last line is `#### 18` (GSM8K) the number."""
    id: str | None = None
    """The column of the problem's id; null numbers the rows."""
    context: str | None = None
    """A column that stands before the question; a list of texts is joined by blank lines."""
    limit: Positive | None = None
    """Only the first so many problems are taken; null takes all."""
    grader: str = "math"
    """What decides whether an answer is right: `math`, `integer`, `exact`, `judge` (open-ended: `evaluate.judge`
    decides for `cord problems`; trajectories stay ungraded), or a plug-in `grade(text, problem) -> (prediction | None,
    bool)`."""
    process_check: PlugIn | None = None
    """A plug-in `check(problem, step_texts) -> dict` whose `steps_right` is a list of bools. A
    list `needless` beside it may say which steps only repeat what is known."""
    hard_for: HardForConfig | None = None
    """Only problems that are hard for this small model are taken; `cord problems` finds them."""

    @model_validator(mode="before")
    @classmethod
    def _what_is_taken_back_takes_its_keys_along(cls, given: Any) -> Any:
        """`problems.dataset=null problems.path=FILE` over a recipe of the hub: its subset and split are not meant."""
        if not isinstance(given, dict):
            return given
        told = {"dataset": {"split", "subset", "revision"}, "builder": {"args"}}
        gone = {key for name, keys in told.items() if name in given and given[name] is None for key in keys}
        return {key: value for key, value in given.items() if key not in gone}

    @model_validator(mode="after")
    def _one_source(self) -> ProblemsConfig:
        given = [key for key in ("builder", "path", "dataset") if getattr(self, key)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are both given: keep one source of problems")
        check_source(self)
        useless_keys(self, ("args",), "path" if self.path else "dataset" if self.dataset else None, "are a builder's")
        if self.grader not in ("math", "integer", "exact", "judge"):
            _module_function(self.grader)
        return self
