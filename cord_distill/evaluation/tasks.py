"""Suites as lighteval tasks: prompt function, metric, task config. Importing this loads lighteval (some 15 s of CPU).

lighteval's own AIME, MATH and GSM8K tasks are not used: they put an instruction before the question that no student was
trained with, take the last number of a cut-off text for its answer, and their avg@n looks at the thought too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lighteval.metrics.metrics_sample import SampleLevelComputation, SamplingMetric
from lighteval.metrics.utils.metric_utils import SampleLevelMetricGrouping
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc, SamplingMethod

from cord_distill import metrics
from cord_distill.evaluation.records import Record, judge, majority
from cord_distill.evaluation.samples import Sample
from cord_distill.evaluation.suite import Hub, Suite
from cord_distill.evaluation.suites import LoadedSuite, hub_problem
from cord_distill.types import THINK_CLOSE, THINK_OPEN, Problem, Stop

STANDALONE_SAMPLES = 16


@dataclass
class SampledResponse(ModelResponse):
    """lighteval's response, and our samples, which also know how each generation ended."""

    samples: list[Sample] = field(default_factory=list)


class SuiteMetric(SamplingMetric, SampleLevelComputation):
    """Judges all samples of one problem. `records` keeps what was found: lighteval has no place for most of it."""

    def __init__(self, suite: Suite, n: int) -> None:
        super().__init__()
        self.suite, self.n = suite, n
        self.grade, self.check = suite.load_grader(), suite.load_check()
        self.records: list[Record] = []

    def num_samples(self) -> int:
        return self.n

    def compute(self, doc: Doc, model_response: ModelResponse, **_: Any) -> dict[str, float]:
        problem = problem_of(doc)
        assert problem is not None, "a document of another task"
        samples = getattr(model_response, "samples", None) or _samples(self.suite.name, problem, model_response)
        record = judge(self.suite.name, problem, samples, self.grade, self.check, self.suite.measure)
        self.records.append(record)
        scores = {
            f"avg@{self.n}": metrics.mean(record.judged or [False]),
            f"maj@{self.n}": majority(record) if record.judged else 0.0,
            "truncated": metrics.mean([stop == Stop.LENGTH for stop in record.stops]),
        }
        return {**scores, "step_accuracy": metrics.mean(record.step_shares)} if self.check else scores

    def __str__(self) -> str:
        return f"SuiteMetric({self.suite.identity}, n={self.n})"


def task_config(suite: Suite, n: int, prompt: Callable[..., Doc], hub: Hub) -> tuple[LightevalTaskConfig, SuiteMetric]:
    """lighteval's task of a suite with n samples per problem, and the metric that will hold its records."""
    fn = SuiteMetric(suite, n)
    names = [f"avg@{n}", f"maj@{n}", "truncated", *(["step_accuracy"] if suite.check else [])]
    grouping = SampleLevelMetricGrouping(
        metric_name=names,
        higher_is_better={name: name != "truncated" for name in names},
        category=SamplingMethod.GENERATIVE,
        sample_level_fn=fn,
        # By its name lighteval takes the standard error of a mean; for others it starts processes that bootstrap.
        corpus_level_fn=dict.fromkeys(names, metrics.mean),
    )
    config = LightevalTaskConfig(
        name=suite.task,
        prompt_function=prompt,
        hf_repo=hub.repo,
        hf_subset=hub.subset,
        hf_revision=hub.revision,
        hf_avail_splits=[hub.split],
        evaluation_splits=[hub.split],
        metrics=[grouping],
        version=suite.version,
    )
    return config, fn


def loaded_task(
    loaded: LoadedSuite, n: int
) -> tuple[LightevalTaskConfig, SuiteMetric, dict[str, list[dict[str, Any]]]]:
    """Task, metric and data (split -> rows) of a suite whose problems are already in memory."""
    rows = [_row(problem) for problem in loaded.problems]
    config, fn = task_config(loaded.suite, n, _doc_of_row, Hub(loaded.source, split="test"))
    return config, fn, {"test": rows}


def hub_table(suites: Mapping[str, Suite]) -> list[LightevalTaskConfig]:
    """`TASKS_TABLE` of a task file: those suites that have a hub data set, for `lighteval ... --custom-tasks`."""
    return [
        task_config(suite, STANDALONE_SAMPLES, _doc_of_hub_row(suite, suite.hub), suite.hub)[0]
        for suite in suites.values()
        # lighteval reads tables, one document per row, and has no place for our judge.
        if suite.hub is not None and suite.hub.file is None and suite.judged is None
    ]


def problem_of(doc: Doc) -> Problem | None:
    """The problem that a document was made from, None for documents of other tasks."""
    text = (doc.specific or {}).get("problem")
    return Problem(**json.loads(text)) if text else None


def _row(problem: Problem) -> dict[str, Any]:
    # As text: lighteval's details are Parquet, which takes no empty dict and no column of several types.
    return {"problem": json.dumps(asdict(problem), ensure_ascii=False)}


def _doc_of_row(row: dict[str, Any], task_name: str | None = None) -> Doc:
    problem = Problem(**json.loads(row["problem"]))
    return Doc(problem.question, [problem.answer], 0, task_name=task_name or "", specific={"problem": row["problem"]})


def _doc_of_hub_row(suite: Suite, hub: Hub) -> Callable[..., Doc]:
    def prompt(row: dict[str, Any], task_name: str | None = None) -> Doc:
        problem = suite.read(row)[0] if suite.read else hub_problem(row, hub, row.get("__index", 0))
        return _doc_of_row(_row(problem), task_name)

    return prompt


def _samples(suite: str, problem: Problem, response: ModelResponse) -> list[Sample]:
    """Samples of another lighteval backend: it does not say how a text ended, and may repeat the opening <think>."""
    found = []
    for i, text in enumerate(response.text):
        completion = text.removeprefix(THINK_OPEN.strip()).lstrip("\n")
        stop = Stop.EOS if THINK_CLOSE in completion else Stop.LENGTH
        found.append(Sample(suite, problem.id, i, 0, completion, stop, 0, ""))
    return found
