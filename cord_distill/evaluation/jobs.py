"""The jobs of an evaluation: one per checkpoint, with the protocol that its scores hold under. Loads nothing heavy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.jsonl import read_object
from cord_distill.common.quiet import has_gpu
from cord_distill.engines.version import engine_version, is_cpu_build
from cord_distill.evaluation.suites import LoadedSuite, samples_per_problem
from cord_distill.evaluation.targets import Target
from cord_distill.model_files.context import context_of
from cord_distill.model_files.locate import local_folder
from cord_distill.model_files.weights import weights_hash
from cord_distill.recipe.file import recipe_hash
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.checkpoints import adapter_base
from cord_distill.run_folder.paths import RESULTS

WEIGHTS = ".weights.json"
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


def make_job(
    recipe: Recipe, target: Target, loaded: Sequence[LoadedSuite], foreign: Sequence[Any], eval_folder: Path
) -> Job:
    evaluate, model = recipe.evaluate, target.model
    folder = local_folder(target.path, model.revision)
    protocol = {
        **{key: value for key, value in model.model_dump(mode="json").items() if key in MODEL_KEYS},
        "engine_version": engine_version(model.engine),
        "device": "cuda" if _on_gpu(recipe) else "cpu",
        "system_prompt": target.system_prompt,
        "chat_template": _template(model.chat_template),
        # Only those that are set: a protocol says what differs from the defaults of a prompt.
        **model.prompt_keys,
        "instruction": evaluate.instruction,
        "answer_in_thought": evaluate.answer_in_thought,
        "max_new_tokens": evaluate.max_new_tokens,
        "max_model_len": _positions(folder, model.max_model_len),
        "seed": evaluate.seed,
        "weights": weights_hash(folder, eval_folder / WEIGHTS),
        "suites": {
            suite.suite.name: {
                **suite.suite.identity,
                "source": suite.source,
                "revision": suite.revision,
                "data": suite.data_hash,
                "problems": len(suite.problems),
                "samples": samples_per_problem(suite.suite.name, target.samples),
            }
            for suite in loaded
        },
        "lighteval_tasks": {config.name: config.version for config in foreign},
        "judge": _judge_identity(recipe, loaded, eval_folder / WEIGHTS),
    }
    return Job(target, eval_folder / target.label, str(folder), protocol, recipe_hash({"protocol": protocol}))


def _on_gpu(recipe: Recipe) -> bool:
    """The node where the command runs may have no GPU, those of the cluster do where vLLM is built for them."""
    return has_gpu() or (recipe.evaluation_cluster is not None and not is_cpu_build())


def _judge_identity(recipe: Recipe, loaded: Sequence[LoadedSuite], side_file: Path) -> dict[str, Any] | None:
    judged = [suite.suite.name for suite in loaded if suite.suite.judged]
    if not judged:
        return None
    from cord_distill.evaluation.judging import required
    from cord_distill.grading.judge_engines import identity

    return identity(required(recipe.evaluate.judge, judged[0]), side_file)


def _template(path: str | None) -> str:
    return recipe_hash({"file": Path(path).read_text(encoding="utf-8")}) if path else "the model's own"


def _positions(folder: Path, given: int | None) -> int:
    base = adapter_base(folder)
    folder = folder if base is None else local_folder(base, None)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CordError(f"{folder}: no readable config.json ({error}); give a folder made by save_pretrained") from None
    return min(context_of(config).positions or 1 << 30, given or 1 << 30)


def is_done(job: Job) -> bool:
    results = read_object(job.folder / RESULTS)
    return results is not None and results.get("fingerprint") == job.fingerprint
