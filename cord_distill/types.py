"""The data types: Problem, Step, Beam, Candidate, Trajectory. They are small and frozen, and import nothing heavy.

Derived facts are properties; nothing is stored twice. A `Step` keeps its identity from the search to the disk to
the viewer: it is never split again from text. The annotations are also the schema of a row in `trajectories.jsonl`
(decode/row_schema.py), which is why limits stand beside the types.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

SCHEMA_VERSION: Literal[1] = 1
# In a problem's meta: `NAME@COMMIT` of the hub data set that it came from.
HUB_COMMIT = "hub_commit"
THINK_OPEN = "<think>\n"
THINK_CLOSE = "</think>"

# A row is checked strictly: no text where a number belongs, no NaN, no field of another tool.
STRICT = {"strict": True, "extra": "forbid", "allow_inf_nan": False}
TokenIds = tuple[Annotated[int, Ge(0)], ...]
NumTokens = Annotated[int, Ge(0)]


class Stop(StrEnum):
    """Why a generation, or a whole trajectory, ended.

    STEP: the end of a step was reached (`decode.segmentation`). THINK_END: `</think>` was written. EOS: the model ended
    its turn. LENGTH: a token budget was spent. REPETITION: the model said the same again and again and was stopped
    (`repetition_detection`). ABORT: nothing usable came (only empty proposals, or an engine gave up).
    """

    STEP = "step"
    THINK_END = "think_end"
    EOS = "eos"
    LENGTH = "length"
    REPETITION = "repetition"
    ABORT = "abort"

    @property
    def cut_off(self) -> bool:
        """Whether the model would have gone on."""
        return self in (Stop.LENGTH, Stop.REPETITION)


@dataclass(frozen=True, slots=True)
class Problem:
    """One question with its known answer. `meta` is carried along untouched (graders and process checks read it)."""

    __pydantic_config__ = STRICT

    id: str
    question: str
    answer: str
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """The hash of what the problem says, its id left out: a finished row is bound to it."""
        return content_of(self.question, self.answer, self.meta)


def content_of(question: str, answer: str | None, meta: dict[str, Any]) -> str:
    """First 16 hex digits of the sha256 over question, known answer and meta; where it was read is no part of it."""
    told = {key: value for key, value in meta.items() if key != HUB_COMMIT}
    said = json.dumps([question, answer, told], sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Step:
    """One reasoning step as it stands in the context.

    n: position in the trace, from 1. teacher: name of the proposer. text: the step with its marker, exactly as in
    the context. ids: the token ids of `text` in the proposer's own vocabulary (what its engine has in its KV cache).
    num_tokens: tokens of `text` in the meta-prover's vocabulary (the budget's unit). score: what the selector says
    of the prefix that ends here: S in [0, 1] (eq. 3) under predictive perplexity, else a reward, a share, a random
    number or a length; None where the pipeline rates no steps. category: what the step is for, where an integrator
    said so (`progressive`, `verification`, ...); rows leave it out where nobody did.
    """

    __pydantic_config__ = STRICT

    n: Annotated[int, Ge(1)]
    teacher: str
    text: str
    ids: TokenIds
    num_tokens: NumTokens
    score: float | None
    stop: Stop
    category: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One proposal at one step of the search, kept or pruned: what the beam tree shows.

    parent: index of the live beam that it continues. sample: index among the proposals of that teacher for that parent;
    -1 marks a finished beam that keeps its place.
    score: as a Step's. error: why it could not take part (an engine's failure), else None.
    """

    __pydantic_config__ = STRICT

    parent: Annotated[int, Ge(0)]
    teacher: str
    sample: Annotated[int, Ge(-1)]
    text: str
    score: float | None
    kept: bool
    stop: Stop
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Beam:
    """A partial trace: its steps so far and how it ended, if it did (None = live)."""

    steps: tuple[Step, ...] = ()
    stop: Stop | None = None

    @property
    def score(self) -> float | None:
        return self.steps[-1].score if self.steps else None

    @property
    def live(self) -> bool:
        return self.stop is None

    @property
    def text(self) -> str:
        return "".join(step.text for step in self.steps)

    @property
    def num_tokens(self) -> int:
        return sum(step.num_tokens for step in self.steps)


@dataclass(frozen=True, slots=True)
class Rival:
    """An answer that is not the known one, given by a trace of the same problem. score: its S behind the kept trace."""

    __pydantic_config__ = STRICT

    answer: str
    score: Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One finished problem: a row of `trajectories.jsonl`.

    prediction: the answer that the grader extracted. correct: the grader's verdict, None where nothing was graded.
    score: S of the reasoning, in [0, 1], whatever it was selected by; None without a meta-prover. stop: how the
    reasoning ended. num_tokens: `reasoning` and `answer` of the trace in the meta-prover's tokens, `generated_total`
    over all proposals and judgments (each model's own tokens), `scored_total` fed to the meta-prover and the reward
    model. candidates: per step, all proposals. error: why the problem failed; such a row is tried again on the next
    run. checks: what a process check found, e.g. {"steps_right": [true, ...]}. answer_rule: how the final answer came
    about where the model did not write it at once: `another_seed`, `answer_opening` (behind `decode.answer_opening`) or
    `stated_in_thought` (the answer that the thought states, repeated); rows leave it out where it did.
    rivals: other answers, scored beside the known one (`decode.rival_answers`); rows leave it out where there are none.
    """

    __pydantic_config__ = STRICT

    id: str
    problem: Problem
    pipeline: str
    steps: tuple[Step, ...]
    final_answer_text: str
    prediction: str | None
    correct: bool | None
    score: Annotated[float, Ge(0), Le(1)] | None
    stop: Stop
    num_tokens: dict[str, NumTokens]
    recipe_hash: str
    seed: int
    candidates: tuple[tuple[Candidate, ...], ...] = ()
    checks: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    answer_rule: str | None = None
    rivals: tuple[Rival, ...] = ()
    schema: Literal[1] = SCHEMA_VERSION

    @property
    def reasoning(self) -> str:
        """Everything between `<think>\\n` and the end of `</think>`."""
        return "".join(step.text for step in self.steps)

    @property
    def completion(self) -> str:
        """What the student learns to write after `<think>\\n`: the steps, `</think>`, the final answer."""
        return self.reasoning + self.final_answer_text

    def to_row(self) -> dict[str, Any]:
        row = asdict(self)
        for step in row["steps"]:
            if step["category"] is None:
                del step["category"]
        if row["answer_rule"] is None:
            del row["answer_rule"]
        if not row["rivals"]:
            del row["rivals"]
        return {"schema": row.pop("schema"), **row}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Trajectory:
        """Inverse of `to_row`. Raises KeyError or TypeError on a row that is not of this schema."""
        steps = tuple(Step(**{**s, "ids": tuple(s["ids"]), "stop": Stop(s["stop"])}) for s in row["steps"])
        candidates = tuple(
            tuple(Candidate(**{**c, "stop": Stop(c["stop"])}) for c in at_step) for at_step in row["candidates"]
        )
        problem = Problem(**row["problem"])
        return cls(
            **{
                **row,
                "problem": problem,
                "steps": steps,
                "candidates": candidates,
                "stop": Stop(row["stop"]),
                "rivals": tuple(Rival(**rival) for rival in row.get("rivals", ())),
            }
        )
