"""`cord evaluate`: every checkpoint of a run on every suite, through lighteval, in one process.

Per checkpoint `eval/<label>/`: `results.json` (lighteval's layout, and under `suites` our figures), `problems.jsonl`
(per problem: predictions, verdicts, how each sample ended), `samples.jsonl` (the texts), `judgements.jsonl` (a judge's
replies); for all of them `eval/results.md`. A checkpoint whose results were made under the same protocol, weights and
data is skipped before anything heavy is loaded.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.files import write_atomic
from cord_distill.common.quiet import prepare_environment
from cord_distill.engines.start_engine import start_engine
from cord_distill.evaluation.answering import Answer, Answers, Question
from cord_distill.evaluation.jobs import MODEL_KEYS, Job, is_done, make_job
from cord_distill.evaluation.overlap import check_disjoint, training_questions
from cord_distill.evaluation.protocol import comparability, protocol_lines
from cord_distill.evaluation.records import sample_figures
from cord_distill.evaluation.samples import Sample, SampleStore
from cord_distill.evaluation.suite import Suite
from cord_distill.evaluation.suites import LoadedSuite, find_suites, load_suite
from cord_distill.evaluation.targets import Target, methods, refuse_missing_models, targets
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.paths import JUDGEMENTS, PROBLEMS, RESULTS, SAMPLES, TRAIN_FILE, RunFolder

TABLE = "results.md"


def evaluate_recipe(recipe: Recipe, labels: list[str] | None = None) -> None:
    """Evaluates the untrained student, each method's trained one, the teachers and `evaluate.models`.

    labels: only these checkpoints. What is done is skipped; what was begun goes on. Raises CordError before anything
    heavy is loaded: a model or file that is not there, a bad row, a question that was trained on.
    """
    find_suites(recipe.evaluate)
    refuse_missing_models(recipe, labels)
    asked = EvaluationPlan.of(recipe)
    asked.refuse_trained_questions()
    jobs = [asked.job(target) for target in targets(recipe, labels)]
    todo = [job for job in jobs if not is_done(job)]
    for job in jobs:
        if job not in todo:
            print(f"evaluate {job.target.label}: done before, unchanged", flush=True)
    if todo:
        from cord_distill.evaluation.wandb_panels import track_evaluation

        print("\n".join(["protocol", *protocol_lines(todo[0].protocol)]), flush=True)
        for job in todo:
            track_evaluation(recipe, evaluate_job(job, asked))
    if todo or not (asked.folder / TABLE).is_file():
        write_table(asked.folder, [job.target.label for job in jobs])


def write_table(eval_folder: Path, order: list[str]) -> None:
    from cord_distill.evaluation.table import results_table

    write_atomic(eval_folder / TABLE, results_table(eval_folder, order))


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """What every checkpoint of a run is asked: our suites with their problems, and tasks of lighteval's own."""

    recipe: Recipe
    loaded: Sequence[LoadedSuite]
    foreign: Sequence[Any]

    @classmethod
    def of(cls, recipe: Recipe) -> EvaluationPlan:
        if not recipe.evaluate.suites:
            raise CordError("evaluate.suites is empty: name at least one suite, e.g. evaluate.suites=[aime24]")
        prepare_environment()
        found = find_suites(recipe.evaluate)
        loaded = [load_suite(suite, recipe.evaluate) for suite in found.values() if isinstance(suite, Suite)]
        return cls(recipe, loaded, [config for config in found.values() if not isinstance(config, Suite)])

    @property
    def folder(self) -> Path:
        return RunFolder.of(self.recipe).eval

    def job(self, target: Target) -> Job:
        return make_job(self.recipe, target, self.loaded, self.foreign, self.folder)

    def refuse_trained_questions(self) -> None:
        files = dict.fromkeys(method.dataset / TRAIN_FILE for method in methods(self.recipe))
        trained = [problem for file in files for problem in training_questions(file)]
        for suite in self.loaded:
            check_disjoint(trained, suite.problems, suite.suite.name)


def evaluate_job(job: Job, asked: EvaluationPlan) -> dict[str, Any]:
    """Makes the samples that are missing, grades all of them, writes `results.json` last and returns it."""
    from cord_distill.evaluation.quiet import quiet

    begun = time.monotonic()
    recipe, loaded, foreign = asked.recipe, asked.loaded, asked.foreign
    with quiet():
        from cord_distill.evaluation.lighteval_backend import run_pipeline
    from cord_distill.prompts.render import renderer_of

    target = job.target
    renderer = renderer_of(target.model.model_copy(update={"system_prompt": target.system_prompt}), job.path)
    renderer.check_prompt()
    store = SampleStore(job.folder / SAMPLES)
    try:
        identity = {k: v for k, v in job.protocol.items() if k in (*MODEL_KEYS, "engine_version", "device", "weights")}
        answers = Answers(
            target,
            renderer,
            store,
            identity,
            lambda length: start_engine(
                target.model,
                target.label,
                job.path,
                renderer,
                length,
                cluster=recipe.evaluation_cluster,
                timeout=recipe.decode.request_timeout,
                wait=recipe.decode.server_wait,
            ),
            recipe.evaluate.max_new_tokens,
            job.protocol["max_model_len"],
            recipe.evaluate.seed,
        )
        answer, graded = _with_graders(job, recipe, loaded, answers)
        counted = [(suite, job.protocol["suites"][suite.suite.name]["samples"]) for suite in graded]
        with quiet():
            lighteval, records = run_pipeline(
                target.label, counted, list(foreign), renderer, answer, job.protocol, job.folder
            )
        rows = [record.to_row() for found in records.values() for record in found]
        write_atomic(job.folder / PROBLEMS, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        results = {
            **lighteval,
            "label": target.label,
            "base": target.base,
            "student": target.student,
            "method": target.method,
            "seed": target.seed,
            "step": target.step,
            "training": target.training,
            "teachers": len({teacher.label for teacher in recipe.teachers}),
            "fingerprint": job.fingerprint,
            "protocol": job.protocol,
            "suites": {
                **{
                    x.suite.name: {
                        **sample_figures(records[x.suite.name]),
                        "comparability": comparability(job.protocol, x.suite.name),
                        "unmatched": list(x.unmatched),
                    }
                    for x in graded
                },
                **{config.name: {"lighteval": lighteval["results"][config.full_name]} for config in foreign},
            },
            "samples_made": answers.made,
            "seconds": round(time.monotonic() - begun, 3),
        }
        write_atomic(job.folder / RESULTS, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    finally:
        store.close()
    print(_line(results), flush=True)
    return results


def _with_graders(
    job: Job, recipe: Recipe, loaded: Sequence[LoadedSuite], answers: Answer
) -> tuple[Answer, list[LoadedSuite]]:
    """The suites with the graders that the recipe asks for; and the answers, judged where a model has to."""
    in_thought = recipe.evaluate.answer_in_thought
    graded = [replace(x, suite=replace(x.suite, grader=x.suite.load_grader(in_thought))) for x in loaded]
    open_ended = {x.suite.name: x for x in graded if x.suite.judged}
    if not open_ended or recipe.evaluate.judge is None:
        return answers, graded
    from cord_distill.evaluation.judging import judge_prompts, with_judge
    from cord_distill.grading.judge import Judge
    from cord_distill.grading.judge_engines import asker

    form = recipe.evaluate.judge.form
    judge = Judge(job.protocol["judge"], job.folder / JUDGEMENTS, asker(recipe.evaluate.judge))

    async def answered_and_judged(questions: list[Question]) -> list[list[Sample]]:
        samples = await answers(questions)
        by_id = {(q.suite, q.id): found for q, found in zip(questions, samples, strict=True)}
        prompts = [
            prompt
            for name, x in open_ended.items()
            for prompt in judge_prompts(x, {p.id: by_id[name, p.id] for p in x.problems}, form)
        ]
        await judge.decide(prompts)
        return samples

    return answered_and_judged, [
        replace(x, suite=with_judge(x.suite, judge, form)) if x.suite.judged else x for x in graded
    ]


def _line(results: dict[str, Any]) -> str:
    parts = []
    for suite, found in results["suites"].items():
        if "avg_at_k" not in found:
            continue
        low, high = found["avg_at_k_ci"]
        steps = f", steps {found['step_accuracy']:.1%}" if "step_accuracy" in found else ""
        cut = f", cut off {found['truncated']:.1%}" if found["truncated"] else ""
        cut += f", no answer {found['answerless']:.1%}" if found["answerless"] else ""
        parts.append(f"{suite} avg@{found['k']} {found['avg_at_k']:.1%} [{low:.1%}, {high:.1%}]{steps}{cut}")
    if len(parts) == 1:
        return f"evaluate {results['label']}: {parts[0]} ({results['seconds']:.0f} s)"
    return "\n  ".join([f"evaluate {results['label']} ({results['seconds']:.0f} s)", *parts])
