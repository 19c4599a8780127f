"""What `cord check` knows of the stages after SFT: their teacher, its vocabulary, their data, their memory."""

from __future__ import annotations

from cord_distill.common.errors import CordError
from cord_distill.model_files.locate import DONE, is_on_the_hub, model_path, models_folder
from cord_distill.recipe.recipe import Recipe
from cord_distill.recipe.training_stages import base_model, section_of, stages_of
from cord_distill.run.machine import Machine
from cord_distill.run_folder.paths import PREFERENCES_FILE, RunFolder
from cord_distill.training.arguments import resolved_section
from cord_distill.training.check import stage_faults, trains_here
from cord_distill.training.memory.later_stages import stage_page
from cord_distill.training.memory.shapes import shape_of
from cord_distill.training.teacher import Teacher, checked_teacher, named_teacher, of_one_vocabulary, refuse_no_teacher


def later_stage_faults(recipe: Recipe, processes: int | None = None) -> dict[str, list[str]]:
    """What would stop `dpo` or `distil`, one sentence each, by stage. Nothing is looked up on the hub. processes: as in
    `training_faults`."""
    stages = stages_of(recipe)
    found: dict[str, list[str]] = {stage: [] for stage in stages if stage != "train"}
    made = RunFolder.of(recipe).dataset / PREFERENCES_FILE
    if "dpo" in found and recipe.data.preferences is None and not made.is_file():
        found["dpo"].append("dpo: there are no preference pairs: add data.preferences={}")
    for stage, faults in found.items():
        one = recipe.model_copy(update={"stage": stage})
        faults += stage_faults(one, trains_here=trains_here(one, processes))
        try:
            named = one.stage_section.get("model_name_or_path")
            if named:
                model_path(recipe, str(named), f"{stage}.model_name_or_path")
            elif stage == stages[0]:
                raise CordError(f"{stage}.model_name_or_path is missing: name the student, or add `train:`")
            resolved_section(one, {})
            if stage == "distil" and (teacher := section_of(one).get("teacher")):
                refuse_no_teacher(one, str(teacher))
            if stage == "distil" and not _to_be_built(one):
                _teacher(one)
        except CordError as error:
            faults.append(str(error))
    return found


def _to_be_built(recipe: Recipe) -> bool:
    """Whether a builder makes the models first: until then there is nothing to look at."""
    return recipe.models is not None and not (models_folder(recipe.models) / DONE).exists()


def _teacher(recipe: Recipe) -> Teacher | None:
    """The checked teacher of `distil:`; None where that would need the hub. Raises CordError."""
    student = _student(recipe)
    name = section_of(recipe).get("teacher")
    if name is not None:
        teacher = named_teacher(recipe, str(name))
        return (
            teacher if is_on_the_hub(student) or is_on_the_hub(teacher.path) else checked_teacher(recipe, name, student)
        )
    if is_on_the_hub(student):
        return None
    if not any(is_on_the_hub(one.model) for one in recipe.teachers):
        return checked_teacher(recipe, None, student)
    return next(iter(of_one_vocabulary(recipe, student, only_here=True)), None)


def _student(recipe: Recipe) -> str:
    """The base model, whose vocabulary and sizes the student of every stage keeps."""
    given = recipe.stage_section.get("model_name_or_path") or base_model(recipe)
    return model_path(recipe, str(given), "train.model_name_or_path")


def later_stage_memory(recipe: Recipe, machine: Machine) -> tuple[str, list[str]]:
    """(page, faults) of the stage that `recipe` picks; one line where nothing can be said."""
    try:
        student = shape_of(_student(recipe))
        teacher = None
        if recipe.stage == "distil":
            found = _teacher(recipe)
            if found is None:
                raise CordError("name distil.teacher: without it the teacher is known once the models are here")
            teacher = shape_of(found.path)
        return stage_page(recipe, student, teacher, machine.gpus, machine.gpu_memory, machine.per_node)
    except CordError as error:
        return f"memory of {recipe.stage}: not predicted: {error}", []
