"""The first pass over a recipe: each stage's own checks, before anything is loaded or decoded.

`cord check` prints what it finds; `cord run` and `cord generate` refuse on it. Two seconds, no torch, no engine.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cord_distill.common.errors import CordError, faults_in
from cord_distill.common.quiet import has_gpu
from cord_distill.data.check import data_faults
from cord_distill.decode.check import decoding_faults, started_sections
from cord_distill.decode.check_templates import local_folder_of, template_faults
from cord_distill.decode.devices import device_faults
from cord_distill.decode.problems import Read, Readings, load_candidates
from cord_distill.evaluation import check as evaluation
from cord_distill.evaluation.targets import engine_section
from cord_distill.model_files.locate import is_on_the_hub, yet_to_build
from cord_distill.recipe.recipe import Recipe
from cord_distill.recipe.training_stages import base_model
from cord_distill.run.check_later_stages import later_stage_faults
from cord_distill.run_folder.paths import RunFolder
from cord_distill.training.check import training_faults, wandb_faults
from cord_distill.training.launch import gpu_count
from cord_distill.types import Problem


@dataclass(frozen=True, slots=True)
class Faults:
    """What is wrong, one sentence each, by the stage that would trip over it, or `run` for the run itself."""

    by_stage: Mapping[str, Sequence[str]]

    def of(self, stages: Sequence[str]) -> list[str]:
        """Those of `stages` and of the run itself, each once."""
        return list(dict.fromkeys(fault for stage in ("run", *stages) for fault in self.by_stage[stage]))


STAGES = ("generate", "data", "train", "dpo", "distil", "evaluate")


def first_pass(variants: Sequence[Recipe], gpus: int | None = None, read: Read | None = None) -> Faults:
    """Finds what would stop the stages of these recipes. gpus: of the machine that they are for; None = this one, where
    that can be told. read: gives the problems, once for all who ask."""
    read = read or Readings()
    found: dict[str, list[str]] = {stage: [] for stage in ("run", *STAGES)}
    labels = {label for recipe in variants for label in evaluation.labels_of(recipe)}
    for recipe in variants:
        here = machine_gpus(recipe) if gpus is None else gpus
        problems = local_problems(recipe, read) or []
        found["run"] += faults_in(_writable, RunFolder.of(recipe).root) + wandb_faults(recipe)
        found["generate" if recipe.teachers else "run"] += decoding_faults(recipe, here, read)
        for fault in template_faults(recipe):
            stage = fault.partition(":")[0].partition(".")[0]
            found[stage if stage in ("train", "evaluate") else "generate"].append(fault)
        found["data"] += data_faults(recipe)
        found["train"] += training_faults(recipe, gpus)
        for stage, faults in later_stage_faults(recipe, gpus).items():
            found[stage] += faults
        found["evaluate"] += evaluation.evaluation_faults(recipe, problems, here)
        found["evaluate"] += evaluation.published_faults(recipe, labels) + _evaluating_gpus(recipe, here)
    return Faults(found)


def refuse(variants: Sequence[Recipe], stages: Sequence[str] = STAGES, read: Read | None = None) -> None:
    """Raises CordError with everything that would stop `stages` later, one sentence a line."""
    faults = first_pass(variants, read=read).of(stages)
    if faults:
        raise CordError("\n".join(faults))


def machine_gpus(recipe: Recipe) -> int | None:
    """GPUs of this machine; None where it has none and the recipe's models are on the hub, not here: such a recipe is
    checked on a laptop for the machine that it will run on."""
    if has_gpu():
        return gpu_count() or None
    sections = [s for s in started_sections(recipe).values() if s.engine == "vllm"]
    return None if any(is_on_the_hub(section.model) for section in sections) else 0


def _evaluating_gpus(recipe: Recipe, gpus: int | None) -> list[str]:
    """Whether the engine of an evaluation can be placed: it stands alone, on `evaluate.devices`."""
    evaluate = recipe.evaluate
    away = any(is_on_the_hub(name) for name in (base_model(recipe), *(model.model for model in evaluate.models)))
    if not evaluate.suites or (gpus == 0 and away):
        return []
    try:
        section = engine_section(recipe)
    except CordError:  # said by the evaluation's own check
        return []
    return device_faults({"evaluate.engine": section}, len(evaluate.devices) if gpus and evaluate.devices else gpus)


def local_problems(recipe: Recipe, read: Read = load_candidates) -> list[Problem] | None:
    """None where that needs the hub, or the problems cannot be read (a fault of its own)."""
    if recipe.problems is None or recipe.problems.dataset:
        return None
    try:
        return read(recipe)
    except CordError:
        return None


def _models_of(recipe: Recipe) -> list[str]:
    """The models that decode, the student and those that are evaluated besides."""
    named = [section.model for section in started_sections(recipe).values()]
    return [*named, str(recipe.train.get("model_name_or_path") or ""), *(one.model for one in recipe.evaluate.models)]


def not_looked_up(recipe: Recipe) -> list[str]:
    """Names that a run takes from the hub."""
    later = [section for section in (recipe.dpo, recipe.distil) if section]
    named = _models_of(recipe)
    named += [str(section.get(key) or "") for section in later for key in ("model_name_or_path", "teacher")]
    named += [recipe.problems.dataset or ""] if recipe.problems else []
    named += [source.dataset or "" for source in recipe.data.sources]
    labels = {teacher.label for teacher in recipe.teachers}
    return list(dict.fromkeys(name for name in named if is_on_the_hub(name) and name not in labels))


def not_built_yet(recipe: Recipe) -> list[str]:
    """Models of the recipe that it builds itself, as long as they are not there."""
    return list(dict.fromkeys(name for name in _models_of(recipe) if yet_to_build(recipe, name)))


def looked_at(recipe: Recipe, problems: int | None) -> str:
    """What the pass went through, as a list for the last line."""
    local = {local_folder_of(recipe, key, section) for key, section in started_sections(recipe).items()} - {None}
    parts = [
        f"{problems} problems" if problems else "",
        f"{len(local)} model folders" if local else "",
        "settings of decoding" if recipe.teachers else "",
        "values of train" if recipe.train else "",
        f"suites {', '.join(recipe.evaluate.suites)}" if recipe.evaluate.suites else "",
        f"{len(recipe.data.sources)} sources of rows" if recipe.data.sources else "",
    ]
    return ", ".join(filter(None, parts)) or "the recipe's keys"


def _writable(root: Path) -> None:
    if (root / "config.json").is_file():
        # Its files would be hashed as the model's: each stage would take the one before for another model's.
        raise CordError(f"output_dir: {root} is a model's folder; choose another output_dir, for example one inside it")
    there = root
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise CordError(f"output_dir: {there} is a file, no folder; choose another output_dir")
    try:
        with tempfile.TemporaryFile(dir=there):  # has no name and leaves nothing behind
            pass
    except OSError as error:
        raise CordError(
            f"output_dir: {there} cannot be written ({error.strerror}); free it or choose another output_dir"
        ) from None
