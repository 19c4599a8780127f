"""The trainings of a recipe, in order: `train` (SFT), then `dpo` and `distil` where their sections are given.

A later stage takes the keys of `train:` that say how a training is run (batch, DeepSpeed, LoRA, checkpoints, ...), and
its own section wins. What says how much and how fast is learned is never taken over.
"""

from __future__ import annotations

from typing import Any

from cord_distill.recipe.recipe import Recipe
from cord_distill.recipe.train_keys import TRAININGS, known_keys

# Of each stage alone: a learning rate for SFT is 50 times too high for what follows it.
OF_ONE_STAGE = {
    "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "loss_type", "max_steps", "model_name_or_path",
    "model_revision", "num_train_epochs", "output_dir", "resume_from_checkpoint", "run_name", "warmup_ratio",
    "warmup_steps",
}  # fmt: skip


def stages_of(recipe: Recipe) -> list[str]:
    """The stages that the recipe asks for, in the order in which they run."""
    given = {"train": bool(recipe.train), "dpo": recipe.dpo is not None, "distil": recipe.distil is not None}
    return [name for name in TRAININGS if given[name]]


def stage_before(recipe: Recipe) -> Recipe | None:
    """The training whose student this one goes on from; None where it starts from a model of its own."""
    named = stages_of(recipe)
    before = named[: named.index(recipe.stage)] if recipe.stage in named else []
    if not before or recipe.stage_section.get("model_name_or_path"):
        return None
    return recipe.model_copy(update={"stage": before[-1]})


def section_of(recipe: Recipe) -> dict[str, Any]:
    """The keys of the recipe's stage, those of `train:` that it takes over included."""
    if recipe.stage == "train":
        return recipe.train
    known = known_keys(recipe.stage)
    shared = {key: value for key, value in recipe.train.items() if key in known and key not in OF_ONE_STAGE}
    return {**shared, **recipe.stage_section}


def base_model(recipe: Recipe) -> str:
    """The model that the first of the recipe's stages starts from; "" where no section names one."""
    named = [recipe.train, recipe.dpo or {}, recipe.distil or {}]
    return next((str(section["model_name_or_path"]) for section in named if section.get("model_name_or_path")), "")


def training_runs(recipe: Recipe) -> list[Recipe]:
    """One recipe per training: per stage, and of a list of seeds per seed."""
    stages = stages_of(recipe) or ["train"]
    return [one.model_copy(update={"stage": stage}) for stage in stages for one in recipe.seed_runs()]
