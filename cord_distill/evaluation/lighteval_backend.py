"""lighteval's Pipeline over our engines: our task table instead of its registry, our samples instead of its cache.

Its registry imports a hundred task modules, two of which call the network; its sample cache goes by the model's path,
not by the weights, and returns another model's answers (lighteval#1364). Neither is touched here.
"""

from __future__ import annotations

import collections
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lighteval.logging.evaluation_tracker import EnhancedJSONEncoder, EvaluationTracker
from lighteval.models.abstract_model import LightevalModel, ModelConfig
from lighteval.models.model_input import GenerationParameters
from lighteval.pipeline import ParallelismManager, Pipeline, PipelineParameters
from lighteval.tasks.lighteval_task import LightevalTask, LightevalTaskConfig
from lighteval.tasks.requests import Doc

from cord_distill.evaluation.answering import Answer, Question
from cord_distill.evaluation.records import Record
from cord_distill.evaluation.suites import LoadedSuite
from cord_distill.evaluation.tasks import SampledResponse, SuiteMetric, loaded_task, problem_of
from cord_distill.grading.extract import after_thought
from cord_distill.prompts.render import Renderer


class EngineModel(LightevalModel):
    """What lighteval takes for a model. Prompts are the renderer's ids; lighteval's own chat templating is not used."""

    is_async = True

    def __init__(self, config: ModelConfig, renderer: Renderer, answer: Answer, max_length: int) -> None:
        self.config = config
        self._renderer, self._answer, self._max_length = renderer, answer, max_length
        self._cache = _NoCache()

    @property
    def tokenizer(self) -> Any:
        return self._renderer.tokenizer

    @property
    def add_special_tokens(self) -> bool:
        return False

    @property
    def max_length(self) -> int:
        return self._max_length

    async def greedy_until(self, docs: list[Doc]) -> list[SampledResponse]:
        """Samples at the recipe's temperature: the name is lighteval's for every generation."""
        samples = await self._answer([_question(doc) for doc in docs])
        return [
            SampledResponse(
                input=doc.query,
                text=[s.text for s in found],
                # What lighteval's own metrics read: our prompts open the thought, so its tag remover finds no pair.
                text_post_processed=[after_thought(s.text).strip() for s in found],
                samples=found,
            )
            for doc, found in zip(docs, samples, strict=True)
        ]

    def loglikelihood(self, docs: list[Doc]) -> Any:
        raise NotImplementedError("tasks scored by log-likelihood are not supported: reasoning models generate")

    loglikelihood_rolling = loglikelihood


class _NoCache:
    def _init_registry(self, registry: Any) -> None:
        """lighteval's hook: nothing to prepare."""


class _MemoryTask(LightevalTask):
    """A task whose rows are given, so that what was hashed is what is evaluated."""

    def __init__(self, config: LightevalTaskConfig, rows: dict[str, list[dict[str, Any]]]) -> None:
        super().__init__(config)
        self.dataset = rows


class _Pipeline(Pipeline):
    def __init__(self, tasks: dict[str, LightevalTask], **kwargs: Any) -> None:
        self._given = tasks
        super().__init__(tasks="", **kwargs)

    def _init_tasks_and_requests(self, tasks: str) -> None:
        self.registry = None
        self.tasks_dict = self._given
        missing = {name: task for name, task in self._given.items() if task.dataset is None}
        LightevalTask.load_datasets(missing)
        self.documents_dict = {name: task.get_docs() for name, task in self._given.items()}
        self.sampling_docs = collections.defaultdict(list)
        for docs in self.documents_dict.values():
            for doc in docs:
                for method in doc.sampling_methods:
                    self.sampling_docs[method].append(doc)
        self.evaluation_tracker.task_config_logger.log(self.tasks_dict)


def run_pipeline(
    label: str,
    suites: list[tuple[LoadedSuite, int]],
    foreign: list[LightevalTaskConfig],
    renderer: Renderer,
    answer: Answer,
    protocol: dict[str, Any],
    folder: Path,
) -> tuple[dict[str, Any], dict[str, list[Record]]]:
    """One checkpoint through all suites, in one batch. suites: each with its n. foreign: plain lighteval tasks.

    Returns lighteval's results dict (its layout, JSON values only) and the records of each of our suites.
    """
    tasks: dict[str, LightevalTask] = {}
    fns: dict[str, SuiteMetric] = {}
    for loaded, n in suites:
        config, fn, rows = loaded_task(loaded, n)
        tasks[config.full_name], fns[loaded.suite.name] = _MemoryTask(config, rows), fn
    for config in foreign:
        tasks[config.full_name] = LightevalTask(config)
    parameters = GenerationParameters(
        temperature=protocol["temperature"], top_p=protocol["top_p"], max_new_tokens=protocol["max_new_tokens"]
    )
    config_of_model = ModelConfig(model_name=label, generation_parameters=parameters, cache_dir=str(folder))
    tracker = EvaluationTracker(output_dir=str(folder), save_details=False)
    pipeline = _Pipeline(
        tasks,
        pipeline_parameters=PipelineParameters(launcher_type=ParallelismManager.NONE, remove_reasoning_tags=False),
        evaluation_tracker=tracker,
        model=EngineModel(config_of_model, renderer, answer, protocol["max_model_len"]),
    )
    pipeline.evaluate()
    _save_details(tracker)
    results = json.loads(json.dumps(tracker.results, cls=EnhancedJSONEncoder, ensure_ascii=False))
    return results, {loaded.suite.name: _in_order(fns[loaded.suite.name].records, loaded) for loaded, _ in suites}


def _save_details(tracker: EvaluationTracker) -> None:
    """lighteval's Parquet details, in its own place under the folder; a later evaluation overwrites them."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    tables = {
        name: Dataset.from_list([asdict(detail) for detail in details])
        for name, details in tracker.details_logger.details.items()
    }
    tracker.save_details("latest", tables)


def _in_order(records: list[Record], loaded: LoadedSuite) -> list[Record]:
    """lighteval shuffles its documents; records go by the order of the data."""
    by_id = {record.id: record for record in records}
    return [by_id[problem.id] for problem in loaded.problems]


def _question(doc: Doc) -> Question:
    problem = problem_of(doc)
    suite = doc.task_name.partition("|")[0]
    if problem is None:
        return Question(suite, doc.id, doc.query, doc.num_samples)
    return Question(suite.removeprefix("cord_"), problem.id, problem.question, doc.num_samples)
