"""The section of a training, completed: batch arithmetic, our defaults, and the configs of TRL that are made of it.

Only `training_arguments` loads TRL; what can be wrong before that is found before that.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.recipe.recipe import Recipe
from cord_distill.recipe.train_keys import OURS, TRAININGS, typed_value
from cord_distill.recipe.training_stages import section_of
from cord_distill.run_folder.paths import RunFolder, training_folder
from cord_distill.tracking.wandb_mode import wandb_mode
from cord_distill.training.deepspeed import launcher_brings_it, stage_in

# Where TRL's or transformers' own default is a trap for long traces. max_length: theirs is 1024 and cuts in silence.
# save_total_limit: theirs keeps every checkpoint. per_device_train_batch_size: theirs is 8. logging_steps: 10.
# disable_tqdm: theirs hides the bar when the log level is `error`. ddp_find_unused_parameters: there are none to find.
DEFAULTS: dict[str, Any] = {
    "max_length": 20480,
    "per_device_train_batch_size": 1,
    "logging_steps": 1,
    "save_strategy": "epoch",
    "save_total_limit": 2,
    "disable_tqdm": False,
    "ddp_find_unused_parameters": False,
}


def derive_accumulation(
    global_batch: int, *, world_size: int, sp_size: int = 1, per_device: int = 1, stage: str = "train"
) -> int:
    """Gradient accumulation steps such that one update sees exactly `global_batch` rows.

    global_batch = per_device * accumulation * world_size / sp_size: ranks of one sequence-parallel group share a row.
    Raises CordError where no whole number does it.
    """
    if world_size % sp_size:
        raise CordError(
            f"{world_size} processes cannot form sequence-parallel groups of {sp_size}: start a multiple of it"
        )
    ranks = world_size // sp_size
    if global_batch % (per_device * ranks):
        sizes = [n for n in range(1, global_batch + 1) if global_batch % n == 0]
        fits = [n for n in sizes if (global_batch // n) % per_device == 0]
        raise CordError(
            f"{stage}.global_batch_size {global_batch} is not a multiple of {stage}.per_device_train_batch_size "
            f"{per_device} x {ranks} data-parallel ranks = {per_device * ranks}: "
            + (f"start {' or '.join(str(n) for n in fits[-3:])} ranks, " if fits else "")
            + f"lower {stage}.per_device_train_batch_size, or change {stage}.global_batch_size"
        )
    return global_batch // (per_device * ranks)


def resolved_section(recipe: Recipe, env: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The stage's keys with our defaults and the derived accumulation, without loading TRL. A later stage has those of
    `train:` that hold for it too.

    env: the launcher's (WORLD_SIZE, PARALLELISM_CONFIG_SP_SIZE, ACCELERATE_USE_DEEPSPEED). Raises CordError.
    """
    stage = recipe.stage
    section = {**DEFAULTS, "seed": recipe.training_seed, **section_of(recipe)}
    if stage == "train" and not section.get("model_name_or_path"):
        raise CordError("train.model_name_or_path is missing: name the student (a hub id or a local path)")
    if section["max_length"] is None:
        raise CordError(f"{stage}.max_length: null means no limit; give the number of tokens that fit, e.g. 20480")
    if section["per_device_train_batch_size"] is None:
        raise CordError(f"{stage}.per_device_train_batch_size: null is no number of rows; give 1 or more")
    if stage != "train" and int(env.get("PARALLELISM_CONFIG_SP_SIZE", 1)) > 1:
        raise CordError(f"{stage}: TRL shares no row between ranks here; start it without sequence parallelism")
    batch = section.pop("global_batch_size", None)
    if batch is not None:
        section["gradient_accumulation_steps"] = _accumulation(batch, section, env, stage)
    section["output_dir"] = str(training_folder(recipe))
    mode = wandb_mode(recipe)
    section.setdefault("report_to", [] if mode == "disabled" else ["wandb"])
    section.setdefault("run_name", f"{recipe.name} {RunFolder.of(recipe).label}")
    if launcher_brings_it(env):
        section.pop("deepspeed", None)
    elif section.get("deepspeed"):
        stage_in(str(section["deepspeed"]), f"{stage}.deepspeed")
    return section


def _accumulation(batch: Any, section: dict[str, Any], env: Mapping[str, str], stage: str) -> int:
    batch = typed_value("global_batch_size", batch, stage)
    steps = derive_accumulation(
        batch,
        world_size=int(env.get("WORLD_SIZE", 1)),
        sp_size=int(env.get("PARALLELISM_CONFIG_SP_SIZE", 1)),
        per_device=typed_value("per_device_train_batch_size", section["per_device_train_batch_size"], stage),
        stage=stage,
    )
    given = section.get("gradient_accumulation_steps", steps)
    if given != steps:
        raise CordError(
            f"{stage}.gradient_accumulation_steps {given} and {stage}.global_batch_size {batch} disagree (it would be "
            f"{steps} here): keep global_batch_size and remove the other"
        )
    return steps


def split_section(section: dict[str, Any], stage: str, *configs: type) -> list[dict[str, Any]]:
    """The keys of a stage's section, per dataclass of TRL that has them, with values of its types. Raises CordError."""
    parts: list[dict[str, Any]] = [{} for _ in configs]
    known = [{field.name for field in fields(config) if field.init} for config in configs]
    for key, value in section.items():
        if key in OURS[stage]:
            continue
        home = next((i for i, names in enumerate(known) if key in names), None)
        if home is None:
            raise CordError(f"{stage}.{key} is not a key of the installed TRL: remove it")
        try:
            parts[home][key] = typed_value(key, value, stage)
        except ValueError as error:
            raise CordError(f"{stage}.{key}: {error}") from None
    return parts


def training_arguments(section: dict[str, Any], stage: str = "train") -> tuple[Any, Any]:
    """(the stage's config of TRL, ModelConfig) of a resolved section. Sets up the process group. Raises CordError.

    Precision: bfloat16 where a GPU has it, float32 on CPU. The weights themselves are loaded in bfloat16 only where
    DeepSpeed keeps float32 masters of them or where they are frozen under LoRA: at lr 5e-6 an AdamW update of a
    bfloat16 weight rounds to nothing.
    """
    import torch
    import trl

    section = {key: value for key, value in section.items() if key != "resume_from_checkpoint"}
    cuda = torch.cuda.is_available()
    if not cuda:
        section.setdefault("use_cpu", True)
    if not section.get("fp16"):
        section.setdefault("bf16", cuda and torch.cuda.is_bf16_supported())
    config = getattr(trl, TRAININGS[stage])
    own, model = split_section(section, stage, config, trl.ModelConfig)
    if own.get("use_vllm"):
        _refuse_untried_vllm(stage)
    masters = _float32_masters(own)
    half = bool(own.get("bf16")) and (masters or bool(model.get("use_peft")))
    model.setdefault("dtype", "bfloat16" if half else "float32")
    refuse_half_weights(model["dtype"], masters or bool(model.get("use_peft")), stage)
    try:
        stage_config, model_config = config(**own), trl.ModelConfig(**model)
    except (ValueError, TypeError, KeyError) as error:
        raise CordError(f"{stage}: {' '.join(str(error).split())}") from None
    stage_config.model_init_kwargs = {
        "revision": model_config.model_revision,
        "attn_implementation": model_config.attn_implementation,
        "dtype": model_config.dtype,
        "device_map": None,
    }
    return stage_config, model_config


def refuse_half_weights(dtype: str, safe: bool, stage: str = "train") -> None:
    """Raises CordError for half-precision weights, unless `safe`: float32 masters exist, or the weights are frozen."""
    if dtype != "float32" and not safe:
        raise CordError(
            f"{stage}.dtype {dtype}: full fine-tuning would update half-precision weights without float32 "
            f"masters, and small updates round away; remove {stage}.dtype (float32 weights, bf16 autocast), or train "
            "under DeepSpeed with bf16"
        )


def _refuse_untried_vllm(stage: str) -> None:
    """TRL warns, and goes on, where the installed vLLM is none of those that it names; here it is an error."""
    import warnings

    from trl.import_utils import is_vllm_available

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        there = is_vllm_available()
    wrong = next((str(one.message) for one in said if "vLLM" in str(one.message)), None)
    if wrong or not there:
        why = wrong or "vLLM is not installed"
        raise CordError(f"{stage}.use_vllm: {why}; remove the key: transformers samples then")


def _float32_masters(own: dict[str, Any]) -> bool:
    """DeepSpeed in bf16 or fp16 keeps float32 copies of the weights in its optimizer; nothing else here does."""
    return (bool(own.get("deepspeed")) or launcher_brings_it()) and bool(own.get("bf16") or own.get("fp16"))
