"""The first half of an evaluation: suites, task files, data and models, looked at before anything is decoded."""

from __future__ import annotations

from pathlib import Path

from cord_distill.common.errors import CordError
from cord_distill.common.faults import faults_in
from cord_distill.evaluation.overlap import check_disjoint
from cord_distill.evaluation.suite import Suite
from cord_distill.evaluation.suites import LoadedSuite, find_suites, load_suite, samples_per_problem
from cord_distill.evaluation.targets import check_engine
from cord_distill.model_files.locate import model_path, yet_to_build
from cord_distill.model_files.look import folder_faults
from cord_distill.recipe.recipe import Recipe
from cord_distill.types import Problem


def evaluation_faults(recipe: Recipe, problems: list[Problem], gpus: int | None = None) -> list[str]:
    """One sentence per mistake. problems: those that are decoded, which must not be asked again. gpus: of the machine;
    None = unknown. Data of the hub is not looked at."""
    evaluate = recipe.evaluate
    if not evaluate.suites:
        named = next((key for key in ("data", "tasks", "models") if getattr(evaluate, key)), None)
        return (
            [f"evaluate.{named}: evaluate.suites names no suite, so nothing would be evaluated; add one"]
            if named
            else []
        )
    try:
        suites = find_suites(evaluate)
    except CordError as error:
        return [str(error), *_model_faults(recipe)]
    found = []
    for name, suite in suites.items():
        found += faults_in(samples_per_problem, name, evaluate.samples)
        found += _suite_faults(suite, recipe, problems) if isinstance(suite, Suite) else []
    devices = evaluate.devices
    if devices and gpus and max(devices) >= gpus:
        found.append(f"evaluate.devices {devices}: there are {gpus} GPUs, numbered from 0 on")
    return [*found, *_model_faults(recipe)]


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
    found = faults_in(check_engine, recipe)
    labels = [model.label for model in recipe.evaluate.models]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        found.append(f"evaluate: two models are called {twice[0]!r}; give one of them another `name`")
    if not recipe.evaluate.models and not recipe.train and not (recipe.evaluate.teachers and recipe.teachers):
        found.append(
            "evaluate: nothing to evaluate; give train.model_name_or_path, evaluate.teachers: true, or evaluate.models"
        )
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
