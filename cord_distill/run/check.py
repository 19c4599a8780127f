"""`cord check`: the resolved recipe, what is missing, and which stages would run and why. Loads nothing heavy."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cord_distill.common.errors import CordError
from cord_distill.decode.check_templates import template_faults
from cord_distill.decode.generate import check_decode
from cord_distill.decode.problems import load_candidates
from cord_distill.model_files.locate import PREFIX, model_path
from cord_distill.recipe.experiment import method_variants
from cord_distill.recipe.file import dump_recipe, find_recipe, load_recipe
from cord_distill.recipe.recipe import Recipe
from cord_distill.run.check_plan import on_the_hub, plan_lines
from cord_distill.run.check_servers import servers
from cord_distill.run.stages import plan
from cord_distill.run_folder.paths import RunFolder
from cord_distill.training.memory.advice import memory_page


@dataclass(frozen=True, slots=True)
class Machine:
    """What training may use: GPUs in all and per host; GiB of one GPU and of one host, None = not asked."""

    gpus: int
    gpu_memory: float | None = None
    host_memory: float | None = None
    per_node: int = 8


def check(source: str, overrides: Sequence[str] = (), machine: Machine | None = None) -> int:
    """Prints a short page; returns 0 when everything that can be known now is in order, else 2.

    machine: predict the memory of training on it, and refuse what cannot fit.
    """
    recipe = load_recipe(source, overrides)
    run = RunFolder.of(recipe)
    print(f"# {find_recipe(source).name}, resolved (defaults left out)\n{dump_recipe(recipe)}")
    variants = method_variants(recipe, source, overrides)
    faults = [fault for variant in variants for fault in faults_of(variant)]
    reachable, away = servers(variants)
    faults += away
    for line in reachable:
        print(line)
    print(f"writes to {run.root}")
    for line in plan_lines(variants, plan(source, overrides), _num_problems(recipe)):
        print(line)
    too_much = []
    for page, wrong in _memory(variants, machine):
        too_much += wrong
        print(page)
    for fault in dict.fromkeys(faults):
        print(f"missing: {fault}")
    for fault in dict.fromkeys(too_much):
        print(f"does not fit: {fault}")
    away_from_here = [name for variant in variants for name in on_the_hub(variant)]
    if away_from_here:
        print(f"not looked up, from the hub: {', '.join(dict.fromkeys(away_from_here))}")
    if faults or too_much:
        return 2
    run_it = shlex.join(["cord", "run", source, *overrides])
    print(f"everything that can be checked without loading a model is in order: {run_it}")
    return 0


def faults_of(recipe: Recipe) -> list[str]:
    """What would stop a run, one sentence each; hub names are not looked up."""
    faults = []
    if recipe.teachers:
        try:
            check_decode(recipe, load_candidates(recipe) if _is_local(recipe) else [])
        except CordError as error:
            faults.append(str(error))
    named = [(f"teachers.{i}.model", teacher.model) for i, teacher in enumerate(recipe.teachers)]
    named += [("meta_prover.model", recipe.meta_prover.model)] if recipe.meta_prover else []
    reward, judge = recipe.decode.process_reward, recipe.decode.binary_judgment.judge
    if reward is not None and recipe.decode.selector == "process_reward":
        named.append(("decode.process_reward.model", reward.model))
    if judge is not None and recipe.decode.selector == "binary_judgment":
        named.append(("decode.binary_judgment.judge.model", judge.model))
    merger = recipe.decode.integration
    if merger is not None and merger.engine == "vllm" and recipe.decode.pipeline == "integration":
        named.append(("decode.integration.model", merger.model))
    if recipe.problems and recipe.problems.hard_for:
        named.append(("problems.hard_for.model", recipe.problems.hard_for.model))
    named += [("train.model_name_or_path", str(recipe.train.get("model_name_or_path", "")))]
    for key, model in named:
        if model and not model.startswith(PREFIX):
            try:
                model_path(recipe, model, key)
            except CordError as error:
                faults.append(str(error))
    faults += template_faults(recipe)
    for suite, file in recipe.evaluate.files.items():
        if not Path(file.path).is_file():
            faults.append(f"evaluate.data.{suite}: {file.path} is not there")
    return faults


def _num_problems(recipe: Recipe) -> int | None:
    """None where that needs the hub, or the problems cannot be read (a fault of its own)."""
    try:
        return len(load_candidates(recipe)) if _is_local(recipe) else None
    except CordError:
        return None


def _memory(variants: list[Recipe], machine: Machine | None) -> list[tuple[str, list[str]]]:
    """Pages and faults, the same one only once: variants differ in their data more often than in their student."""
    if machine is None or not variants[0].train:
        return []
    pages: dict[str, list[str]] = {}
    for recipe in variants:
        try:
            model = model_path(recipe, str(recipe.train.get("model_name_or_path", "")), "train.model_name_or_path")
            page, faults = memory_page(
                recipe, model, machine.gpus, machine.gpu_memory, machine.host_memory, machine.per_node
            )
        except CordError as error:
            page, faults = f"memory: not predicted: {error}", []
        pages.setdefault(page, faults)
    return list(pages.items())


def _is_local(recipe: Recipe) -> bool:
    return bool(recipe.problems and not recipe.problems.dataset)
