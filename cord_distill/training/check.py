"""The first half of training: every mistake that its recipe, its files and its student's folder show without torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError, faults_in
from cord_distill.common.quiet import has_gpu
from cord_distill.model_files.locate import is_on_the_hub, model_path, yet_to_build
from cord_distill.model_files.look import folder_facts, folder_faults
from cord_distill.prompts.cards import recommended_system_prompt
from cord_distill.prompts.template_check import template_fault
from cord_distill.prompts.thought import Thought
from cord_distill.recipe.models import ModelConfig
from cord_distill.recipe.recipe import Recipe
from cord_distill.recipe.training_stages import base_model, section_of
from cord_distill.tracking.wandb_mode import wandb_mode
from cord_distill.training.arguments import DEFAULTS, refuse_half_weights, resolved_section
from cord_distill.training.check_values import value_faults
from cord_distill.training.deepspeed import stage_in
from cord_distill.training.launch import gpu_count, launcher_file
from cord_distill.training.launcher_keys import file_faults, flag_faults

STUDENT = "train.model_name_or_path"
# What torch.utils.checkpoint takes, and transformers besides.
CHECKPOINTING = {
    *("use_reentrant", "preserve_rng_state", "context_fn", "determinism_check", "debug", "early_stop"),
    *("every_n_layers", "offload"),
}


def training_faults(recipe: Recipe, processes: int | None = None, env: Mapping[str, str] | None = None) -> list[str]:
    """Every mistake of a training, one sentence each, for `cord check` and for train.py before it loads torch.

    processes: how many train together, None = as the launcher's file or this machine says. env: of a launcher that has
    started already (train.py): the rows are there then, and their lengths are measured.
    """
    if not recipe.train:
        return []
    found = []
    try:
        launcher = launcher_file(recipe)
    except CordError as error:
        found.append(str(error))
        launcher = {}
    found += file_faults(launcher, f"launch.accelerate_config: {recipe.launch.accelerate_config}")
    found += flag_faults(recipe.launch.args)
    brings = launcher.get("distributed_type") == "DEEPSPEED"
    started = env is not None
    if env is None:
        env = launched(launcher, processes)
    found += faults_in(resolved_section, recipe, env)
    file = (launcher.get("deepspeed_config") or {}).get("deepspeed_config_file")
    if file:
        found += faults_in(stage_in, str(file), f"launch.accelerate_config: {recipe.launch.accelerate_config}")
    dtype = str(recipe.train.get("dtype") or "float32")
    safe = brings or bool(recipe.train.get("deepspeed") or recipe.train.get("use_peft"))
    found += faults_in(refuse_half_weights, dtype, safe or "ACCELERATE_USE_DEEPSPEED" in env)
    if recipe.train.get("bf16") and recipe.train.get("fp16"):
        found.append("train.bf16 and train.fp16 are both on: keep one of them")
    found += stage_faults(recipe, trains_here=started or trains_here(recipe, processes))
    found += _checkpointing(recipe.train.get("gradient_checkpointing_kwargs"))
    found += _student_faults(recipe, rows_are_there=started)
    return list(dict.fromkeys(found))


def stage_faults(recipe: Recipe, *, trains_here: bool) -> list[str]:
    """The mistakes that the section of the recipe's stage shows beside its student's folder (`value_faults`)."""
    student = base_model(recipe)
    try:
        path = Path(model_path(recipe, student, STUDENT)) if student else None
    except CordError:  # said elsewhere
        path = None
    folder = path if path and path.is_dir() else None
    return value_faults(section_of(recipe), recipe.stage, folder, trains_here=trains_here)


def trains_here(recipe: Recipe, processes: int | None) -> bool:
    """Whether this machine is the one that trains, as far as that can be told: no other was named, it could train, and
    it has a GPU or the student."""
    here = has_gpu() or not is_on_the_hub(base_model(recipe))
    return processes is None and here and find_spec("torch") is not None


def launched(launcher: Mapping[str, Any], processes: int | None) -> dict[str, str]:
    """The environment of one training process under that launcher, as far as the batch and DeepSpeed depend on it."""
    count = processes or launcher.get("num_processes") or gpu_count() or 1
    parallel = launcher.get("parallelism_config") or {}
    env = {"WORLD_SIZE": str(count), "PARALLELISM_CONFIG_SP_SIZE": str(parallel.get("parallelism_config_sp_size", 1))}
    if launcher.get("distributed_type") == "DEEPSPEED":
        env["ACCELERATE_USE_DEEPSPEED"] = "true"
    return env


def _checkpointing(given: Any) -> list[str]:
    if not isinstance(given, dict):
        return []
    key = "train.gradient_checkpointing_kwargs"
    found = [
        f"{key}.{name}: torch's checkpointing has no such key; there are: {', '.join(sorted(CHECKPOINTING))}"
        for name in given
        if name not in CHECKPOINTING
    ]
    every = given.get("every_n_layers", 1)
    if not isinstance(every, int) or isinstance(every, bool) or every < 1:
        found.append(f"{key}.every_n_layers: {every!r} is not a whole number of layers, 1 or more")
    return found


def _student_faults(recipe: Recipe, rows_are_there: bool) -> list[str]:
    name = str(recipe.train.get("model_name_or_path") or "")
    template = recipe.train.get("chat_template_path")
    if template and not Path(str(template)).is_file():
        return [f"train.chat_template_path: {template} is not there; give a local .jinja file"]
    if not name or yet_to_build(recipe, name):
        return []
    try:
        folder = Path(model_path(recipe, name, STUDENT))
    except CordError as error:
        return [str(error)]
    if not folder.is_dir():
        return []
    found = folder_faults(folder, STUDENT, weights=True)
    wrong = template_fault(
        folder,
        chat_template=str(template) if template else None,
        template_args=recipe.train.get("chat_template_kwargs") or {},
        system_prompt=recommended_system_prompt(str(folder)) or "",
        key="train.chat_template_path",
        thought=Thought.of(recipe.train),
    )
    found += [f"train: {ModelConfig(model=name).label}: {wrong}"] if wrong else []
    return found if rows_are_there else found + _length_faults(recipe, folder)


def _length_faults(recipe: Recipe, folder: Path) -> list[str]:
    """Rows are never cut: one that is too long stops training, after all of the decoding."""
    budgets, dropped_from = recipe.decode.budgets, recipe.data.filters.max_tokens
    longest = budgets.reasoning_tokens + budgets.answer_tokens
    if not recipe.teachers or (dropped_from is not None and dropped_from < longest):
        longest = dropped_from or 0
    try:
        positions = folder_facts(folder, STUDENT).positions
    except CordError as error:
        return [str(error)]
    own = recipe.train.get("max_length", DEFAULTS["max_length"])
    limits = {"train.max_length": own, f"{STUDENT}'s positions": positions}
    return [
        f"{name} {limit} is less than a row may have under decode.budgets ({budgets.reasoning_tokens} + "
        f"{budgets.answer_tokens} tokens), and rows are never cut: lower the budgets, or drop longer rows with "
        f"data.filters.max_tokens={limit}"
        for name, limit in limits.items()
        if isinstance(limit, int) and longest > limit
    ]


def wandb_faults(recipe: Recipe) -> list[str]:
    """`mode: online` without a key: found before anything is decoded. A key is looked for, never read out."""
    if wandb_mode(recipe) != "online" or os.environ.get("WANDB_API_KEY"):
        return []
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").partition("://")[2].partition("/")[0]
    files = [os.environ.get("NETRC"), "~/.netrc", "~/_netrc"]
    for file in files:
        try:
            if file and host in Path(file).expanduser().read_text(encoding="utf-8"):
                return []
        except (OSError, UnicodeDecodeError):
            continue
    return ["track.wandb.mode: online needs a key: wandb login, WANDB_API_KEY in the environment, or mode: offline"]
