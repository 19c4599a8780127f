"""The first half of an evaluation: suites, task files, data and models, looked at before anything is decoded."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from cord_distill.common.errors import CordError, faults_in
from cord_distill.common.suggest import did_you_mean
from cord_distill.evaluation.judging import required
from cord_distill.evaluation.overlap import check_disjoint
from cord_distill.evaluation.suite import Suite
from cord_distill.evaluation.suites import LoadedSuite, find_suites, load_suite, samples_per_problem
from cord_distill.evaluation.targets import NOTHING, engine_section, methods, refuse_equal_labels
from cord_distill.model_files.locate import model_path, yet_to_build
from cord_distill.model_files.look import folder_faults
from cord_distill.recipe.recipe import Recipe
from cord_distill.types import Problem


def evaluation_faults(recipe: Recipe, problems: list[Problem], gpus: int | None = None) -> list[str]:
    """One sentence per mistake. problems: those that are decoded, which must not be asked again. gpus: of the machine;
    None = unknown. Data of the hub is not looked at."""
    evaluate = recipe.evaluate
    if not evaluate.suites:
        named = [key for key in ("data", "tasks", "models") if getattr(evaluate, key)][:1]
        return [
            f"evaluate.{key}: evaluate.suites names no suite, so nothing would be evaluated; add one" for key in named
        ]
    try:
        suites = find_suites(evaluate)
    except CordError as error:
        return [str(error), *_model_faults(recipe)]
    found = []
    for name, suite in suites.items():
        found += faults_in(samples_per_problem, name, evaluate.samples)
        found += _suite_faults(suite, recipe, problems) if isinstance(suite, Suite) else []
    judged = next((suite.name for suite in suites.values() if isinstance(suite, Suite) and suite.judged), None)
    if judged:
        found += faults_in(required, evaluate.judge, judged)
    if evaluate.judge and evaluate.judge.engine == "vllm" and not yet_to_build(recipe, evaluate.judge.model):
        found += faults_in(model_path, recipe, evaluate.judge.model, "evaluate.judge.model")
    longest = evaluate.engine.get("max_model_len")
    if type(longest) is int and longest <= evaluate.max_new_tokens:
        found.append(
            f"evaluate.engine.max_model_len {longest} holds no question beside evaluate.max_new_tokens "
            f"{evaluate.max_new_tokens}: lower that, or raise it if the model allows it"
        )
    devices = evaluate.devices
    if devices and gpus and max(devices) >= gpus:
        found.append(f"evaluate.devices {devices}: there are {gpus} GPUs, numbered from 0 on")
    return [*found, *_model_faults(recipe)]


def labels_of(recipe: Recipe) -> set[str]:
    """What the table of an evaluation calls the models that the recipe could ask."""
    named = [one.label for one in (*recipe.teachers, *recipe.evaluate.models)]
    return {"untrained", *named, *(method.label for method in methods(recipe))}


def published_faults(recipe: Recipe, labels: Collection[str]) -> list[str]:
    """Labels of `evaluate.published` that are never evaluated. labels: those of all variants."""
    evaluate = recipe.evaluate
    found = []
    for label in evaluate.published:
        if label not in labels and "checkpoint-" not in label:
            hint = did_you_mean(label, labels, f"there are: {', '.join(sorted(labels))}")
            found.append(f"evaluate.published.{label}: no model is called so; {hint}")
    return found


def on_the_hub(recipe: Recipe) -> list[str]:
    """The hub's data sets of the suites that have no file and no builder; a suite that is none is a fault elsewhere."""
    try:
        suites = find_suites(recipe.evaluate)
    except CordError:
        return []
    ours = [suite for name, suite in suites.items() if isinstance(suite, Suite) and name not in recipe.evaluate.data]
    return [suite.hub.repo for suite in ours if suite.hub and suite.builder is None]


def _suite_faults(suite: Suite, recipe: Recipe, problems: list[Problem]) -> list[str]:
    found = faults_in(suite.load_check)
    if suite.judged is None:
        found += faults_in(suite.load_grader)
    if suite.name not in recipe.evaluate.data and suite.builder is None:
        return found
    try:
        loaded: LoadedSuite = load_suite(suite, recipe.evaluate)
    except CordError as error:
        return [*found, str(error)]
    if not recipe.data.decontaminate and recipe.train:
        found += faults_in(check_disjoint, problems, loaded.problems, suite.name)
    return found


def _model_faults(recipe: Recipe) -> list[str]:
    found = faults_in(engine_section, recipe)
    found += faults_in(refuse_equal_labels, [model.label for model in recipe.evaluate.models])
    if not recipe.evaluate.models and not recipe.train and not (recipe.evaluate.teachers and recipe.teachers):
        found.append(NOTHING)
    for number, model in enumerate(recipe.evaluate.models):
        key = f"evaluate.models.{number}.model"
        if yet_to_build(recipe, model.model):
            continue
        try:
            folder = Path(model_path(recipe, model.model, key))
        except CordError as error:
            found.append(str(error))
            continue
        if folder.is_dir():
            found += folder_faults(folder, key, weights=model.engine == "vllm")
    return found
