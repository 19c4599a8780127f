"""`cord evaluate`: every checkpoint of a run on every suite, through lighteval, in one process.

Per checkpoint `eval/<label>/`: `results.json` (lighteval's layout, and under `suites` our figures), `problems.jsonl`
(per problem: predictions, verdicts, how each sample ended), `samples.jsonl` (the texts). A checkpoint whose results
were made under the same protocol, weights and data is skipped before anything heavy is loaded.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cord_distill import metrics
from cord_distill.dataset import TRAIN_FILE
from cord_distill.engines.quiet import has_gpu, prepare_environment
from cord_distill.errors import CordError
from cord_distill.evaluation.overlap import check_disjoint, training_questions
from cord_distill.evaluation.records import figures, rounded
from cord_distill.evaluation.samples import SampleStore
from cord_distill.evaluation.suites import Loaded, Suite, find_suites, load_suite, samples_per_problem
from cord_distill.evaluation.targets import Target, local_folder, methods, targets
from cord_distill.evaluation.weights import weights_hash
from cord_distill.recipe import Recipe
from cord_distill.recipe_file import recipe_hash
from cord_distill.run_folder import RunFolder, write_atomic

__all__ = ["check_disjoint", "compare", "evaluate_recipe"]

RESULTS, PROBLEMS, SAMPLES, WEIGHTS = "results.json", "problems.jsonl", "samples.jsonl", ".weights.json"
# What decides the text of a sample, beside prompt, seed and budget. Devices and memory do not.
MODEL_KEYS = (
    *("engine", "script", "engine_args", "dtype", "tensor_parallel_size", "kv_cache_dtype"),
    *("temperature", "top_p", "top_k", "min_p"),
)


@dataclass(frozen=True, slots=True)
class Job:
    """One checkpoint to evaluate: who, by which bytes, under which protocol."""

    target: Target
    folder: Path
    path: str
    protocol: dict[str, Any]
    fingerprint: str


def evaluate_recipe(recipe: Recipe, labels: list[str] | None = None) -> None:
    """Evaluates the untrained student, each method's trained one and, with `evaluate.teachers`, the teachers.

    labels: only these checkpoints. What is done is skipped; what was begun goes on. Raises CordError before anything
    heavy is loaded: a model or file that is not there, a bad row, a question that was trained on.
    """
    if not recipe.evaluate.suites:
        raise CordError("evaluate.suites is empty: name at least one suite, e.g. evaluate.suites=[aime24]")
    prepare_environment()
    found = find_suites(recipe.evaluate)
    loaded = [load_suite(suite, recipe.evaluate) for suite in found.values() if isinstance(suite, Suite)]
    foreign = [config for config in found.values() if not isinstance(config, Suite)]
    _refuse_trained_questions(recipe, loaded)
    eval_folder = RunFolder.of(recipe).eval
    jobs = [_job(recipe, target, loaded, foreign, eval_folder) for target in targets(recipe, labels)]
    todo = [job for job in jobs if not _is_done(job)]
    for job in jobs:
        if job not in todo:
            print(f"evaluate {job.target.label}: done before, unchanged", flush=True)
    if not todo:
        return
    print(f"protocol: {json.dumps(todo[0].protocol, ensure_ascii=False)}", flush=True)
    from cord_distill.evaluation.tracking import EvaluationRun

    with EvaluationRun(recipe) as run:
        for job in todo:
            results = _evaluate(job, recipe, loaded, foreign)
            run.log(results)
            print(_line(results), flush=True)


def compare(a: Path, b: Path) -> dict[str, dict[str, Any]]:
    """Per suite: the paired difference a - b over the problems that both answered (`eval/<label>` folders).

    Keys of each: difference, ci, p_value, num_problems, a, b (avg@k on these problems), and `same_protocol`. Raises
    CordError when a folder holds no finished evaluation, or the two share no problem.
    """
    rows = [_problem_averages(folder) for folder in (a, b)]
    protocols = [json.loads((folder / RESULTS).read_text(encoding="utf-8"))["protocol"] for folder in (a, b)]
    alike = [{k: v for k, v in p.items() if k not in ("weights", "system_prompt")} for p in protocols]
    out: dict[str, dict[str, Any]] = {}
    for suite in rows[0]:
        shared = [id for id in rows[0][suite] if id in rows[1].get(suite, {})]
        if shared:
            left, right = ([side[suite][id] for id in shared] for side in rows)
            paired = metrics.paired_difference(left, right)
            figures_of = {**paired, "a": metrics.mean(left), "b": metrics.mean(right)}
            out[suite] = {**rounded(figures_of), "same_protocol": alike[0] == alike[1]}
    if not out:
        raise CordError(f"{a} and {b} share no problem: evaluate both on the same suites")
    return out


def _problem_averages(folder: Path) -> dict[str, dict[str, float]]:
    if not (folder / PROBLEMS).is_file() or not (folder / RESULTS).is_file():
        raise CordError(f"{folder}: no finished evaluation there; run: cord evaluate RECIPE")
    averages: dict[str, dict[str, float]] = {}
    for line in (folder / PROBLEMS).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        averages.setdefault(row["suite"], {})[row["id"]] = row["avg"]
    return averages


def _refuse_trained_questions(recipe: Recipe, loaded: Sequence[Loaded]) -> None:
    trained = [p for method in methods(recipe) for p in training_questions(method.dataset / TRAIN_FILE)]
    for suite in loaded:
        check_disjoint(trained, suite.problems, suite.suite.name)


def _job(recipe: Recipe, target: Target, loaded: Sequence[Loaded], foreign: Sequence[Any], eval_folder: Path) -> Job:
    from cord_distill.evaluation.engine_version import engine_version

    evaluate, model = recipe.evaluate, target.model
    folder = local_folder(target.path, model.revision)
    protocol = {
        **{key: value for key, value in model.model_dump(mode="json").items() if key in MODEL_KEYS},
        "engine_version": engine_version(model.engine),
        "device": "cuda" if has_gpu() else "cpu",
        "system_prompt": target.system_prompt,
        "chat_template": _template(model.chat_template),
        "max_new_tokens": evaluate.max_new_tokens,
        "max_model_len": _positions(folder, model.max_model_len),
        "seed": evaluate.seed,
        "weights": weights_hash(folder, eval_folder / WEIGHTS),
        "suites": {
            suite.suite.name: {
                **suite.suite.identity,
                "source": suite.source,
                "data": suite.data_hash,
                "problems": len(suite.problems),
                "samples": samples_per_problem(suite.suite.name, target.samples),
            }
            for suite in loaded
        },
        "lighteval_tasks": {config.name: config.version for config in foreign},
    }
    return Job(target, eval_folder / target.label, str(folder), protocol, recipe_hash({"protocol": protocol}))


def _template(path: str | None) -> str:
    return recipe_hash({"file": Path(path).read_text(encoding="utf-8")}) if path else "the model's own"


def _positions(folder: Path, given: int | None) -> int:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CordError(f"{folder}: no readable config.json ({error}); give a folder made by save_pretrained") from None
    allowed = (config.get("text_config") or config).get("max_position_embeddings") or 1 << 30
    return min(int(allowed), given or 1 << 30)


def _is_done(job: Job) -> bool:
    try:
        results = json.loads((job.folder / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(results.get("fingerprint") == job.fingerprint)


def _evaluate(job: Job, recipe: Recipe, loaded: Sequence[Loaded], foreign: Sequence[Any]) -> dict[str, Any]:
    from cord_distill.evaluation.answering import Answers, start_engine
    from cord_distill.evaluation.quiet import quiet

    begun = time.monotonic()
    with quiet():
        from cord_distill.evaluation.lighteval_backend import run_pipeline
    from cord_distill.prompts.render import load_renderer

    target, model = job.target, job.target.model
    renderer = load_renderer(
        job.path,
        system_prompt=target.system_prompt,
        chat_template=model.chat_template,
        trust_remote_code=model.trust_remote_code,
        name=target.label,
    )
    store = SampleStore(job.folder / SAMPLES)
    try:
        identity = {k: v for k, v in job.protocol.items() if k in (*MODEL_KEYS, "engine_version", "device", "weights")}
        answers = Answers(
            target,
            renderer,
            store,
            identity,
            lambda length: start_engine(target, job.path, renderer, length),
            recipe.evaluate.max_new_tokens,
            job.protocol["max_model_len"],
            recipe.evaluate.seed,
        )
        counted = [(suite, job.protocol["suites"][suite.suite.name]["samples"]) for suite in loaded]
        with quiet():
            lighteval, records = run_pipeline(
                target.label, counted, list(foreign), renderer, answers, job.protocol, job.folder
            )
        rows = [record.to_row() for found in records.values() for record in found]
        write_atomic(job.folder / PROBLEMS, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        results = {
            **lighteval,
            "label": target.label,
            "fingerprint": job.fingerprint,
            "protocol": job.protocol,
            "suites": {
                **{name: figures(found) for name, found in records.items()},
                **{config.name: {"lighteval": lighteval["results"][config.full_name]} for config in foreign},
            },
            "samples_made": answers.made,
            "seconds": round(time.monotonic() - begun, 3),
        }
        write_atomic(job.folder / RESULTS, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    finally:
        store.close()
    return results


def _line(results: dict[str, Any]) -> str:
    parts = []
    for suite, found in results["suites"].items():
        if "avg_at_k" not in found:
            continue
        low, high = found["avg_at_k_ci"]
        steps = f", steps {found['step_accuracy']:.1%}" if "step_accuracy" in found else ""
        cut = f", cut off {found['truncated']:.1%}" if found["truncated"] else ""
        parts.append(f"{suite} avg@{found['k']} {found['avg_at_k']:.1%} [{low:.1%}, {high:.1%}]{steps}{cut}")
    return f"evaluate {results['label']}: {'; '.join(parts)} ({results['seconds']:.0f} s)"
