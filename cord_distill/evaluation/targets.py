"""Who answers: the untrained student, the trained one of each method, the teachers, other models. Paths and settings
only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cord_distill.common.errors import CordError
from cord_distill.common.suggest import nearest
from cord_distill.model_files.locate import model_path
from cord_distill.prompts.cards import recommended_system_prompt
from cord_distill.recipe.evaluate import EvaluateConfig
from cord_distill.recipe.models import ModelConfig
from cord_distill.recipe.prompt_keys import student_prompt
from cord_distill.recipe.recipe import Recipe
from cord_distill.recipe.training_stages import base_model, training_runs
from cord_distill.run_folder.checkpoints import step_of
from cord_distill.run_folder.paths import RunFolder, checkpoint_label
from cord_distill.run_folder.training_folder import TrainingFolder

# What decides how an answer is sampled: the protocol's, the same for every model.
SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_detection")
NOTHING = "evaluate: nothing to evaluate; give train.model_name_or_path, evaluate.teachers: true, or evaluate.models"


@dataclass(frozen=True, slots=True)
class Target:
    """One checkpoint to evaluate. model: how it is run and prompted. samples: per problem, as in the recipe.

    base: the model that it was before training; student: it is one of the run's students. method, seed: of a trained
    one, which data and which run of a list of seeds made it; step, training: of a checkpoint in
    the middle of training, its number and the fingerprint of the training's inputs.
    """

    label: str
    path: str
    model: ModelConfig
    system_prompt: str
    samples: int | dict[str, int]
    base: str = ""
    student: bool = False
    method: str = ""
    seed: int | None = None
    step: int | None = None
    training: str | None = None


def targets(recipe: Recipe, labels: list[str] | None = None) -> list[Target]:
    """All checkpoints of a run in table order. labels: only these. CordError where one is missing, with its maker.

    A trained student is prompted as its base model is: the card's system prompt goes by the base model's name. Both are
    prompted with the keys of `train` for it, as the training rows are.
    """
    evaluate = recipe.evaluate
    base = base_model(recipe)
    found: list[Target] = []
    if base:
        key = "train.model_name_or_path"
        if evaluate.untrained and (labels is None or "untrained" in labels):
            found.append(_student(recipe, "untrained", model_path(recipe, base, key), base))
        for method in methods(recipe):
            if labels is None or method.label in labels:
                trained = _student(recipe, method.label, _trained(recipe, method), base)
                found.append(replace(trained, method=method.student, seed=method.seed))
    of_teachers = evaluate.teacher_samples or evaluate.samples
    others = [(f"teachers.{i}.model", model, of_teachers) for i, model in enumerate(recipe.teachers)]
    others = others if evaluate.teachers else []
    others += [(f"evaluate.models.{i}.model", model, evaluate.samples) for i, model in enumerate(evaluate.models)]
    for key, model, samples in others:
        if labels is None or model.label in labels:
            found.append(_other(recipe, model, model_path(recipe, model.model, key), samples))
    if not found:
        raise CordError(NOTHING)
    refuse_equal_labels([target.label for target in found])
    return found


def refuse_equal_labels(labels: Sequence[str]) -> None:
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise CordError(f"evaluate: two models are called {twice[0]!r}; give one of them another `name`")


def checkpoint_target(recipe: Recipe, training: TrainingFolder, checkpoint: Path) -> Target:
    """A checkpoint in the middle of a training. It has no `method`: tables take only finished students for one."""
    base = base_model(recipe)
    target = _student(recipe, checkpoint_label(training.run, checkpoint.name), str(checkpoint), base)
    return replace(target, step=step_of(checkpoint), training=training.fingerprint)


def training_of(recipe: Recipe, run: RunFolder) -> TrainingFolder:
    """The training of one of a recipe's students."""
    variant = run.method if run.has_variants else None
    own = _of_variant(recipe, variant) if variant else recipe
    return TrainingFolder.of(own.model_copy(update={"variant": variant, "train_seed": run.seed, "stage": run.stage}))


def methods(recipe: Recipe) -> list[RunFolder]:
    """The folder of each student of a run: one per variant, or the recipe's own; of these one per stage of training,
    and of these one per listed seed."""
    root = RunFolder.of(recipe).root
    if not recipe.variants:
        return [RunFolder.of(one) for one in training_runs(recipe)]
    found = []
    for name in recipe.variants:
        runs = training_runs(_of_variant(recipe, name))
        found += [RunFolder(root, name, True, one.train_seed, one.stage) for one in runs]
    return found


def _of_variant(recipe: Recipe, name: str) -> Recipe:
    """What a variant's overrides say of its trainings: its seeds and its stages. Nothing else of it is resolved."""
    changed: dict[str, Any] = {}
    for key, value in (recipe.variants.get(name) or {}).items():
        stage, _, rest = key.partition(".")
        if key == "seed":
            changed |= {"seed": value, "train_seed": None}
        elif stage in ("dpo", "distil"):
            before = changed.get(stage, getattr(recipe, stage))
            changed[stage] = {**(before or {}), rest: value} if rest else value
    return recipe.model_copy(update=changed)


def _trained(recipe: Recipe, method: RunFolder) -> str:
    if not training_of(recipe, method).has_model:
        pick = f" variant={method.method}" if method.has_variants else ""
        pick += f" seed={method.seed}" if method.seed is not None else ""
        pick += f" stage={method.stage}" if method.stage != "train" else ""
        raise CordError(
            f"{method.label}: no trained student in {method.final_model}; train it: cord train RECIPE{pick}"
        )
    return str(method.final_model)


def _student(recipe: Recipe, label: str, path: str, base: str) -> Target:
    model = _with(ModelConfig(model=path, name=label, **student_prompt(recipe.train)), recipe)
    system = recommended_system_prompt(base) if model.system_prompt is None else model.system_prompt
    return Target(label, path, model, system, recipe.evaluate.samples, base, student=True)


def _other(recipe: Recipe, model: ModelConfig, path: str, samples: int | dict[str, int]) -> Target:
    system = recommended_system_prompt(model.model) if model.system_prompt is None else model.system_prompt
    return Target(model.label, path, _with(model, recipe), system, samples, model.model)


def engine_section(recipe: Recipe) -> ModelConfig:
    """Any model under `evaluate.engine`. Raises CordError naming the key that no model has."""
    return _with(ModelConfig(model="any"), recipe)


def refuse_missing_models(recipe: Recipe, labels: list[str] | None = None) -> None:
    """Raises CordError for a model of `evaluate.models` that is not there, before data is fetched for it."""
    for i, model in enumerate(recipe.evaluate.models):
        if labels is None or model.label in labels:
            model_path(recipe, model.model, f"evaluate.models.{i}.model")


def _with(model: ModelConfig, recipe: Recipe) -> ModelConfig:
    """`model` under the engine settings and the sampling of `evaluate:`."""
    evaluate = recipe.evaluate
    sampled = next((key for key in SAMPLING if key in evaluate.engine), None)
    if sampled:
        own = f"set evaluate.{sampled}" if sampled in EvaluateConfig.model_fields else "remove it"
        raise CordError(f"evaluate.engine.{sampled}: every model is sampled by the keys of evaluate itself: {own}")
    values = {**model.model_dump(exclude_defaults=True), **evaluate.engine}
    protocol = {**dict.fromkeys(SAMPLING), "temperature": evaluate.temperature, "top_p": evaluate.top_p}
    try:
        return ModelConfig(**{**values, **protocol, "top_k": -1, "min_p": 0.0})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        near = nearest(key, ModelConfig.model_fields) if first["type"] == "extra_forbidden" else None
        said = f"unknown key; did you mean {near!r}?" if near else first["msg"]
        raise CordError(f"evaluate.engine.{key}: {said}") from None
