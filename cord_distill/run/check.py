"""`cord check`: the resolved recipe, what is missing, and which stages would run and why. Loads nothing heavy."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from cord_distill.common.errors import CordError
from cord_distill.common.terminal import plain
from cord_distill.evaluation.check import on_the_hub
from cord_distill.model_files.locate import model_path
from cord_distill.recipe.experiment import method_variants
from cord_distill.recipe.file import dump_recipe, find_recipe, load_recipe
from cord_distill.recipe.recipe import Recipe
from cord_distill.recipe.training_stages import stages_of
from cord_distill.run.check_cluster import cluster_page
from cord_distill.run.check_later_stages import Machine, later_stage_memory
from cord_distill.run.check_plan import plan_lines
from cord_distill.run.check_servers import servers
from cord_distill.run.decode_memory import decode_memory
from cord_distill.run.first_pass import STAGES, first_pass, local_problems, looked_at, not_looked_up
from cord_distill.run.model_lines import model_lines
from cord_distill.run.stages import plan
from cord_distill.run_folder.paths import RunFolder
from cord_distill.training.memory.advice import memory_page


def check(source: str, overrides: Sequence[str] = (), machine: Machine | None = None) -> int:
    """Prints a short page; returns 0 when everything that can be known now is in order, else 2.

    machine: predict the memory of training on it, and refuse what cannot fit.
    """
    recipe = load_recipe(source, overrides)
    run = RunFolder.of(recipe)
    print(f"# {find_recipe(source).name}, resolved (defaults left out)\n{plain(dump_recipe(recipe))}")
    variants = method_variants(recipe, source, overrides)
    faults = first_pass(variants, machine.gpus if machine else None).of(STAGES)
    reachable, away = servers(variants)
    faults += away
    about_the_cluster, no_cluster = cluster_page(variants)
    faults += no_cluster
    for line in [*reachable, *about_the_cluster]:
        print(line)
    print(f"writes to {run.root}")
    problems = local_problems(recipe)
    count = None if problems is None else len(problems)
    for line in plan_lines(variants, plan(source, overrides), count):
        print(line)
    sent = model_lines(variants)
    if sent:
        print("\n".join(["what the models are sent (cord show: the prompts themselves)", *sent]))
    decoding, too_much = decode_memory(recipe, machine.gpu_memory if machine else None)
    if decoding:
        print(decoding)
    for page, wrong in _memory(variants, machine):
        too_much += wrong
        print(page)
    print(f"looked at: {looked_at(recipe, count)}")
    away_from_here = dict.fromkeys(name for variant in variants for name in not_looked_up(variant))
    if away_from_here:
        print(f"not looked up, from the hub: {', '.join(away_from_here)}")
    data = dict.fromkeys(name for variant in variants for name in on_the_hub(variant))
    if data:
        print(f"not looked up, the hub's data of the suites: {', '.join(data)}")
    sys.stdout.flush()
    for fault in dict.fromkeys(faults):
        print(f"missing: {fault}", file=sys.stderr)
    for fault in dict.fromkeys(too_much):
        print(f"does not fit: {fault}", file=sys.stderr)
    if faults or too_much:
        return 2
    run_it = shlex.join(["cord", "run", source, *overrides])
    print(f"everything that can be checked without loading a model is in order: {run_it}")
    return 0


def faults_of(recipe: Recipe) -> list[str]:
    """What would stop a run of one variant, one sentence each; hub names are not looked up."""
    return first_pass([recipe]).of(STAGES)


def _memory(variants: list[Recipe], machine: Machine | None) -> list[tuple[str, list[str]]]:
    """Pages and faults, the same one only once: variants differ in their data more often than in their student."""
    if machine is None:
        return []
    pages: dict[str, list[str]] = {}
    for recipe in (variant for variant in variants if variant.train):
        try:
            model = model_path(recipe, str(recipe.train.get("model_name_or_path", "")), "train.model_name_or_path")
            page, faults = memory_page(
                recipe, model, machine.gpus, machine.gpu_memory, machine.host_memory, machine.per_node
            )
        except CordError as error:
            page, faults = f"memory: not predicted: {error}", []
        pages.setdefault(page, faults)
    for recipe in variants:
        for stage in stages_of(recipe):
            if stage != "train":
                page, faults = later_stage_memory(recipe.model_copy(update={"stage": stage}), machine)
                pages.setdefault(page, faults)
    return list(pages.items())
