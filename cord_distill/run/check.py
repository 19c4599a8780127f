"""`cord check`: the resolved recipe, what is missing, and which stages would run and why. Loads nothing heavy."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from cord_distill.common.errors import CordError, faults_in
from cord_distill.common.terminal import plain
from cord_distill.decode.check_templates import facts_of, local_folder_of, rendering_sections
from cord_distill.decode.model_facts import facts_line
from cord_distill.decode.problems import Readings
from cord_distill.decode.same_questions import repeated_line
from cord_distill.evaluation.check import on_the_hub
from cord_distill.model_files.locate import model_path
from cord_distill.recipe.experiment import Experiment
from cord_distill.recipe.file import dump_recipe
from cord_distill.recipe.recipe import Recipe
from cord_distill.recipe.training_stages import stages_of
from cord_distill.run.check_cluster import cluster_page
from cord_distill.run.check_later_stages import later_stage_memory
from cord_distill.run.check_plan import plan_lines
from cord_distill.run.check_servers import servers
from cord_distill.run.cost import cost_lines
from cord_distill.run.decode_memory import decode_memory
from cord_distill.run.first_pass import STAGES, first_pass, local_problems, looked_at, not_built_yet, not_looked_up
from cord_distill.run.machine import Machine
from cord_distill.run.stages import plan_stages
from cord_distill.run_folder.paths import RunFolder
from cord_distill.training.memory.advice import memory_page


@dataclass(frozen=True, slots=True)
class Page:
    """What `cord check` found. lines: the page; faults, too_much: what is wrong, one sentence each."""

    lines: tuple[str, ...]
    faults: tuple[str, ...]
    too_much: tuple[str, ...]
    looked_at: str
    not_looked_up: tuple[str, ...]
    recipe: str

    @property
    def in_order(self) -> bool:
        return not (self.faults or self.too_much)


def check(experiment: Experiment, machine: Machine | None = None, *, as_json: bool = False) -> int:
    """Prints a short page, faults to stderr; returns 0 when everything that can be known now is in order, else 2.

    machine: predict the memory of training on it, and refuse what cannot fit. as_json: one object in place of the page.
    """
    with contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):  # what a plug-in prints is no JSON
        page = look(experiment, machine)
    if as_json:
        print(json.dumps({"in_order": page.in_order, **asdict(page)}, indent=1))
        return 0 if page.in_order else 2
    print(f"# {experiment.path.name}, resolved (defaults left out)\n{plain(page.recipe)}")
    for line in page.lines:
        print(line)
    print(f"looked at: {page.looked_at}")
    for line in page.not_looked_up:
        print(f"not looked up, {line}")
    sys.stdout.flush()
    for fault in page.faults:
        print(f"missing: {fault}", file=sys.stderr)
    for fault in page.too_much:
        print(f"does not fit: {fault}", file=sys.stderr)
    if page.in_order:
        run_it = shlex.join(["cord", "run", experiment.source, *experiment.overrides])
        print(f"everything that can be checked without loading a model is in order: {run_it}")
    return 0 if page.in_order else 2


def look(experiment: Experiment, machine: Machine | None = None) -> Page:
    """Looks at all that `cord check` prints, and prints nothing."""
    recipe, variants = experiment.recipe, experiment.variants
    read = Readings()
    faults = [*ablation_faults(experiment), *first_pass(variants, machine.gpus if machine else None, read).of(STAGES)]
    reachable, away = servers(variants)
    about_the_cluster, no_cluster = cluster_page(variants)
    lines = [*reachable, *about_the_cluster, f"writes to {RunFolder.of(recipe).root}"]
    problems = local_problems(recipe, read)
    count = None if problems is None else len(problems)
    repeated = repeated_line(problems or [])
    lines += [repeated] if repeated else []
    lines += plan_lines(variants, plan_stages(experiment), count)
    sent = _model_lines(variants)
    lines += ["what the models are sent (cord show: the prompts themselves)", *sent] if sent else []
    lines += cost_lines(variants, count, machine) if count else []
    decoding, too_much = decode_memory(recipe, machine.gpu_memory if machine else None)
    lines += [decoding] if decoding else []
    for page, wrong in _memory(variants, machine):
        too_much += wrong
        lines.append(page)
    away_from_here = dict.fromkeys(name for variant in variants for name in not_looked_up(variant))
    data = dict.fromkeys(name for variant in variants for name in on_the_hub(variant))
    unseen = [f"from the hub: {', '.join(away_from_here)}"] if away_from_here else []
    unseen += [f"the hub's data of the suites: {', '.join(data)}"] if data else []
    unbuilt = dict.fromkeys(name for variant in variants for name in not_built_yet(variant))
    unseen += [f"not built yet (cord models {experiment.source}): {', '.join(unbuilt)}"] if unbuilt else []
    return Page(
        tuple(lines),
        tuple(dict.fromkeys([*faults, *away, *no_cluster])),
        tuple(dict.fromkeys(too_much)),
        looked_at(recipe, count),
        tuple(unseen),
        dump_recipe(recipe),
    )


def _model_lines(variants: list[Recipe]) -> list[str]:
    """What each local model is sent, from its files alone, a line per model; one of several keys names all of them."""
    keys: dict[str, list[str]] = {}
    for recipe in variants:
        for key, section in rendering_sections(recipe).items():
            folder = local_folder_of(recipe, key, section)
            if folder is None or (section.chat_template and not Path(section.chat_template).is_file()):
                continue
            line = f"{section.label}: {facts_line(facts_of(section, folder))}"
            if key not in keys.setdefault(line, []):
                keys[line].append(key)
    return [f"  {', '.join(found)}: {line}" for line, found in keys.items()]


def ablation_faults(experiment: Experiment) -> list[str]:
    """What `cord ablate` would refuse beside the names of variants: a key of the seeds that no recipe has."""
    whole = experiment.recipe
    if whole.ablate is None or not whole.variants:
        return []
    at_seed = f"{whole.ablate.seed_key}={whole.ablate.seeds[0]}"
    found = faults_in(experiment.file.resolve, [*experiment.overrides, at_seed])
    return [f"ablate.seed_key: {whole.ablate.seed_key!r} takes no seed: {fault}" for fault in found]


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
