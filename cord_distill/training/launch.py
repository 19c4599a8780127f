"""Command and environment with which `cord run` starts a training: the `accelerate launch` that users type."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, Field, ValidationError

from cord_distill.common.errors import CordError
from cord_distill.common.paths import bundled
from cord_distill.common.quiet import PRIVATE
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.paths import RunFolder, method_name
from cord_distill.tracking.wandb_mode import wandb_mode


def training_command(
    recipe_path: str | Path, recipe: Recipe, overrides: Sequence[str] = ()
) -> tuple[list[str], dict[str, str]]:
    """(argv, environment) of one training. overrides: `key=value` strings handed on, `variant=NAME` among them.

    The environment is that of this process, completed. `accelerate.commands.launch` is started as a module: the
    `accelerate` script would import its other commands first (8 s on one core). Raises CordError.
    """
    argv = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", *_launcher_arguments(recipe)]
    argv += [str(bundled("train.py")), str(recipe_path), *overrides]
    env = dict(os.environ)
    complete_environment(env, recipe)
    devices = _devices_left(recipe)
    if devices is not None:
        env["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
    return argv, env


def _devices_left(recipe: Recipe) -> list[str] | None:
    """The GPUs that a watcher beside the training does not take; None = all that there are."""
    taken = recipe.evaluate.devices or []
    if recipe.evaluate.when != "with_training" or not taken or not gpu_count():
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [x.strip() for x in visible.split(",")] if visible else [str(i) for i in range(gpu_count())]
    left = [name for i, name in enumerate(names) if i not in taken]
    if not left:
        raise CordError(f"evaluate.devices {taken} takes every GPU: leave one to training, or evaluate.when=after")
    return left


def complete_environment(env: MutableMapping[str, str], recipe: Recipe) -> None:
    """Adds to `env` what a training process should find there, where the user has not set it.

    The W&B mode is set in any case: to the stricter of the recipe's and the shell's.
    """
    wandb, folder = recipe.track.wandb, RunFolder.of(recipe)
    wanted = {
        **PRIVATE,
        "TOKENIZERS_PARALLELISM": "false",
        "WANDB_CONSOLE": "off",
        "WANDB_DATA_DIR": str(folder.wandb / "wandb"),
        "WANDB_DIR": str(folder.wandb),
        "WANDB_PROJECT": wandb.project,
        "WANDB_RUN_GROUP": recipe.name,
        "WANDB_JOB_TYPE": recipe.stage,
        "WANDB_SILENT": "true",
        "WANDB_TAGS": ",".join([*wandb.tags, method_name(recipe)]),
    }
    if (recipe.variant or recipe.train_seed is not None) and recipe.launch.parallel_jobs > 1:
        wanted["CORD_PLAIN_PROGRESS"] = "1"
    if wandb.entity:
        wanted["WANDB_ENTITY"] = wandb.entity
    if gpu_count() == 0:
        wanted |= {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    for name, value in wanted.items():
        env.setdefault(name, value)
    env["WANDB_MODE"] = wandb_mode(recipe)


def _launcher_arguments(recipe: Recipe) -> list[str]:
    chosen = recipe.launch.accelerate_config
    if chosen:
        return ["--config_file", str(accelerate_config(chosen)), *recipe.launch.args]
    if recipe.launch.args or _has_default_config():
        return list(recipe.launch.args)
    # What accelerate would find out by itself, said outright: it prints a warning for each value that it has to guess.
    left = _devices_left(recipe)
    gpus = gpu_count() if left is None else len(left)
    counts = ["--num_processes", str(max(1, gpus)), "--num_machines", "1", "--mixed_precision", "no"]
    return [*counts, "--dynamo_backend", "no", *(["--multi_gpu"] if gpus > 1 else [])]


def accelerate_config(name: str) -> Path:
    """The file of `launch.accelerate_config`: a path, or a name in accelerate_configs/. Raises CordError."""
    if Path(name).is_file():
        return Path(name).absolute()
    folder = bundled("accelerate_configs")
    path = folder / (name if name.endswith(".yaml") else f"{name}.yaml")
    if path.is_file():
        return path
    names = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
    raise CordError(f"launch.accelerate_config: {name!r} is neither a file nor one of {names}")


class _ZeroKeys(BaseModel):
    zero_stage: int = 2
    deepspeed_config_file: str | None = None


class _ParallelKeys(BaseModel):
    parallelism_config_sp_size: int = 1


class _KeysReadHere(BaseModel):
    """Types of the keys of accelerate's file that are read here; the other keys are accelerate's own business."""

    num_processes: Annotated[int, Field(gt=0)] | None = None
    deepspeed_config: _ZeroKeys | None = None
    parallelism_config: _ParallelKeys | None = None


def launcher_file(recipe: Recipe) -> dict[str, Any]:
    """The content of `launch.accelerate_config`, {} where there is none. Raises CordError."""
    name = recipe.launch.accelerate_config
    if not name:
        return {}
    path = accelerate_config(name)
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise CordError(f"launch.accelerate_config: {path}{line} is not readable as YAML; mend it") from None
    if not isinstance(read, dict):
        raise CordError(
            f"launch.accelerate_config: {path} is no mapping of accelerate's keys; make one: accelerate config"
        )
    try:
        _KeysReadHere.model_validate(read)
    except ValidationError as error:
        first = error.errors()[0]
        key, given = ".".join(map(str, first["loc"])), first["input"]
        raise CordError(f"launch.accelerate_config: {path}: {key} is {given!r}: {first['msg']}; mend it") from None
    return read


def gpu_count() -> int:
    """NVIDIA GPUs that a child will see, counted without torch (CUDA_VISIBLE_DEVICES is honoured)."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    if visible is None or not found:
        return found
    return len([x for x in visible.split(",") if x.strip() and x.strip() != "-1"])


def _has_default_config() -> bool:
    home = Path(os.environ.get("HF_HOME", Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"))
    return any((home.expanduser() / "accelerate" / f"default_config.{kind}").is_file() for kind in ("yaml", "json"))
