"""One benchmark as a `Suite`: its questions, its grader, and where the hub keeps its data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cord_distill.common.plugins import load_plugin
from cord_distill.grading import GRADER_VERSION, Grader, load_grader
from cord_distill.types import Problem

MODULE_PREFIX = "cord_eval_"
Check = Callable[[Problem, str], dict[str, Any]]
Measure = Callable[[str, Problem], dict[str, float]]

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Hub:
    """Where the hub keeps the data, and its column names. id None: rows are numbered. answer_mark: stands before the
    answer. file: a JSON file of the repository, for data that `datasets` cannot put into one table."""

    repo: str
    subset: str = "default"
    split: str = "test"
    revision: str | None = None
    id: str | None = None
    problem: str = "problem"
    answer: str = "answer"
    answer_mark: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class OpenEnded:
    """A suite whose answers a model judges. prompt: `prompt(problem, answer)` for the judge, which must end its reply
    with VERDICT_LINE, which the recipe may exchange for a JSON form. version: raise it when the prompt changes."""

    prompt: Callable[[Problem, str], str]
    version: int = 1


@dataclass(frozen=True, slots=True)
class Suite:
    """One benchmark.

    grader: as `problems.grader`, or a callable. hub or builder: where problems come from when the recipe gives no file
    under `evaluate.data` (builder: `package.module:function`, called with `args`, gives Problems). read: a row, of a
    local file or of the hub, to its problems, for data with other columns than id, problem, answer; it raises KeyError
    or ValueError on a bad one. measure: `measure(completion, problem) -> {name: share}` beside right or wrong. check:
    `check(problem, completion) -> {"steps_right": [bool], "all_right": bool}`. judged: a model decides. instruct: takes
    `evaluate.instruction`; False where the question says itself how to answer. group: name for several suites at once.
    version: raise it when anything here changes a score.
    """

    name: str
    grader: str | Grader = "math"
    hub: Hub | None = None
    builder: str | None = None
    args: dict[str, Any] = field(default_factory=dict)
    read: Callable[[Row], list[Problem]] | None = None
    measure: Measure | None = None
    check: str | None = None
    judged: OpenEnded | None = None
    instruct: bool = True
    group: str = ""
    version: int = 1

    @property
    def task(self) -> str:
        """Its name in lighteval's registry: never that of a built-in task."""
        return f"cord_{self.name}"

    def load_grader(self, answer_in_thought: bool = False) -> Grader:
        if isinstance(self.grader, str):
            return load_grader(self.grader, answer_in_thought=answer_in_thought, key=f"suite {self.name}")
        return self.grader

    def load_check(self) -> Check | None:
        return load_plugin(self.check, f"suite {self.name}.check") if self.check else None

    @property
    def identity(self) -> dict[str, Any]:
        """What of the suite can change a score, beside the data."""
        return {
            "suite": self.name,
            "version": self.version,
            "grader": self.grader if isinstance(self.grader, str) else _name_of(self.grader),
            "grader_version": GRADER_VERSION,
            "check": self.check,
            **({"judge_prompt_version": self.judged.version} if self.judged else {}),
        }


def _name_of(function: Grader) -> str:
    module = str(getattr(function, "__module__", "")).removeprefix(MODULE_PREFIX)
    return f"{module}.{getattr(function, '__qualname__', 'a function')}"
