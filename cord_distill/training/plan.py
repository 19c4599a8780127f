"""What a training would do, checked as far as that goes without torch: inputs, student, teacher, what is there already.

This takes well under a second; run.py trains.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.paths import short_path
from cord_distill.model_files.content import model_identity
from cord_distill.model_files.locate import model_path
from cord_distill.recipe.recipe import Recipe
from cord_distill.recipe.training_stages import stage_before, stages_of
from cord_distill.run_folder.checkpoints import Inputs, training_inputs
from cord_distill.run_folder.paths import PREFERENCES_FILE, TRAIN_FILE, RunFolder
from cord_distill.run_folder.training_folder import TrainingFolder, TrainingState
from cord_distill.training.arguments import resolved_section
from cord_distill.training.deepspeed import declared_stage
from cord_distill.training.teacher import Teacher, checked_teacher


@dataclass(frozen=True)
class Plan:
    """One training. section: its resolved keys, the student's path among them. data: the file that it trains on.

    found: what lies in `folder` already. teacher: of `stage=distil`.
    """

    recipe: Recipe
    folder: TrainingFolder
    section: dict[str, Any]
    data: Path
    inputs: Inputs
    found: TrainingState
    zero_stage: int
    teacher: Teacher | None = None

    @property
    def stage(self) -> str:
        return self.recipe.stage

    @property
    def anew(self) -> bool:
        return self.section.get("resume_from_checkpoint") is False

    @property
    def done(self) -> bool:
        return self.found.name == "done" and self.section.get("resume_from_checkpoint") is None


def plan_training(recipe: Recipe, source: str = "RECIPE") -> Plan:
    """The plan of the one training that `recipe` picks; `train` and `cord export` begin with it.

    source: the recipe as the user typed it, for errors that name a command. Raises CordError; loads nothing heavy.
    """
    if recipe.variants and not recipe.variant:
        names = ", ".join(recipe.variants)
        raise CordError(
            f"{source} has variants ({names}): pick one to train, e.g. variant={next(iter(recipe.variants))}"
        )
    recipe = one_seed(recipe, source)
    stage = recipe.stage
    if stage != "train" and stage not in stages_of(recipe):
        raise CordError(
            f"stage={stage}: {source} has no section `{stage}:`; add one, `{stage}: {{}}` takes the defaults"
        )
    command = f"{source} variant={recipe.variant}" if recipe.variant else source
    section = resolved_section(recipe)
    folder = TrainingFolder.of(recipe)
    data = _data(recipe, command)
    student, before = _student(recipe, section, command)
    section["model_name_or_path"] = student
    template = section.get("chat_template_path")
    if stage != "train" and template and not Path(template).is_file():
        raise CordError(f"{stage}.chat_template_path: {template} is not there; give a local .jinja file")
    teacher = checked_teacher(recipe, section.pop("teacher", None), student) if stage == "distil" else None
    further = {**before, **({"teacher": teacher.identity} if teacher else {})}
    inputs = training_inputs(section, data, recipe.data.filters.max_tokens, model_identity(student), **further)
    found = folder.state(inputs)
    plan = Plan(recipe, folder, section, data, inputs, found, declared_stage(section), teacher)
    if not plan.anew and not plan.done:
        if found.name == "stale":
            raise CordError(
                f"{short_path(folder.path)} holds a training with other inputs ({'; '.join(found.changed[:4])}): "
                f"add {stage}.resume_from_checkpoint=false to set it aside and begin anew, or give another "
                f"{stage}.output_dir"
            )
        if folder.checkpoints:
            found.refuse_other_world(int(os.environ.get("WORLD_SIZE", 1)), plan.zero_stage, stage)
    return plan


def _data(recipe: Recipe, command: str) -> Path:
    """The file that the stage trains on. Raises CordError with the command that makes it."""
    dataset = RunFolder.of(recipe).dataset
    if recipe.stage == "dpo":
        pairs = dataset / PREFERENCES_FILE
        if not pairs.is_file():
            how = "make them" if recipe.data.preferences else "add data.preferences={} to the recipe and make them"
            raise CordError(f"preference pairs {short_path(pairs)} are not there: {how} with cord data {command}")
        return pairs
    data = dataset / TRAIN_FILE
    if not data.is_file():
        verb = "generate" if recipe.teachers or not recipe.data.sources else "data"
        raise CordError(f"data set {short_path(data)} is not there: make it with cord {verb} {command}")
    return data


def _student(recipe: Recipe, section: dict[str, Any], command: str) -> tuple[str, dict[str, Any]]:
    """(where the stage's student lies, what the inputs say of the training that made it)."""
    given = section.get("model_name_or_path")
    if given:
        return model_path(recipe, str(given), f"{recipe.stage}.model_name_or_path"), {}
    before = stage_before(recipe)
    if before is None:
        raise CordError(f"{recipe.stage}.model_name_or_path is missing: name the student (a hub id or a local path)")
    trained = TrainingFolder.of(before)
    if not trained.has_model:
        pick = "" if before.stage == "train" else f" stage={before.stage}"
        raise CordError(
            f"{recipe.stage} goes on from the student of `{before.stage}:`, and {short_path(trained.final)} is not "
            f"there: train it first with cord train {command}{pick}, or give {recipe.stage}.model_name_or_path"
        )
    return str(trained.final), {"before": trained.fingerprint}


def one_seed(recipe: Recipe, source: str = "RECIPE") -> Recipe:
    """The one training of `recipe`. Raises CordError where a list of seeds makes several and none is picked."""
    runs = recipe.seed_runs()
    if len(runs) > 1:
        raise CordError(
            f"{source} has {len(runs)} seeds and so as many students: pick one, e.g. seed={runs[0].train_seed} "
            f"(cord train {source} trains them one after the other, cord run evaluates them too)"
        )
    return runs[0]
