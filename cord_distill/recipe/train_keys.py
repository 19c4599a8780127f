"""Which keys the section of a training takes, and of which types: those of its config in TRL and of ModelConfig, plus
ours (OURS). Known without TRL.

Names, types and choices are kept in `train_keys.json` (a test compares them with the installed TRL; `python -m
cord_distill.recipe.train_keys` writes them anew), so that a recipe is checked on any laptop in milliseconds.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from cord_distill.common.suggest import nearest
from cord_distill.recipe.prompt_keys import PROMPT_DEFAULTS, check_template_args, check_thought
from cord_distill.recipe.train_ranges import out_of_range

FILE = Path(__file__).with_suffix(".json")
# Each training's section and the class of TRL whose keys it takes, in the order in which they run.
TRAININGS = {"train": "SFTConfig", "dpo": "DPOConfig", "distil": "DistillationConfig"}
PROMPT = ("chat_template_kwargs", *PROMPT_DEFAULTS)
OURS = {
    "train": ("global_batch_size", *PROMPT),
    "dpo": ("global_batch_size", *PROMPT, "chat_template_path"),
    "distil": ("global_batch_size", *PROMPT, "chat_template_path", "max_length", "teacher"),
}
# Types of ours, as train_keys.json has those of TRL; those of PROMPT have checks of their own.
OUR_TYPES = {
    "global_batch_size": "int | None", "chat_template_path": "str | None", "max_length": "int | None",
    "teacher": "str | int | None",
}  # fmt: skip
# Keys that would put a secret or a surprise into a record.
REFUSED = {
    "hub_token": "keys come from the environment (HF_TOKEN), never from a recipe",
    "push_to_hub": "nothing is uploaded by training; upload the finished folder yourself",
    "dataset_kwargs": "cord-distill renders the rows itself, token by token",
    "eos_token": "the end of turn is read off the student's chat template",
    "pad_token": "padding never reaches the loss; leave it to the tokenizer",
    "assistant_only_loss": "the loss is on the completion, always",
    "completion_only_loss": "the loss is on the completion, always",
    "model_init_kwargs": "give dtype, attn_implementation, model_revision as keys of train",
    "truncation_mode": "rows are never cut",
    "load_in_8bit": "quantized training was never run here",
    "load_in_4bit": "quantized training was never run here",
    "teacher_model_name_or_path": "give distil.teacher, whose vocabulary is checked first",
    "teacher_model_revision": "give distil.teacher, one of `teachers:` with its revision",
}
# Values that nothing here would serve.
UNSERVED = {
    "eval_strategy": "no rows are held back for a loss; evaluate checkpoints with evaluate.checkpoints: true",
    "load_best_model_at_end": "no rows are held back for a loss; evaluate.checkpoints: true compares checkpoints",
}
# What other trainers call these, and what to write here.
FOREIGN = {
    "micro_batch_size": "per_device_train_batch_size",
    "micro_batch_size_per_gpu": "per_device_train_batch_size",
    "batch_size": "global_batch_size",
    "train_batch_size": "global_batch_size",
    "sequence_len": "max_length",
    "max_seq_length": "max_length",
    "max_seq_len": "max_length",
    "cutoff_len": "max_length",
    "num_epochs": "num_train_epochs",
    "epochs": "num_train_epochs",
    "lr": "learning_rate",
    "lr_scheduler": "lr_scheduler_type",
    "optimizer": "optim",
    "base_model": "model_name_or_path",
    "model": "model_name_or_path",
    "model_name": "model_name_or_path",
    "lora_rank": "lora_r",
    "gradient_accumulation": "gradient_accumulation_steps",
    "sample_packing": "packing",
    "flash_attention": "attn_implementation: flash_attention_2",
    "use_lora": "use_peft",
    "warmup_ratio": "warmup_steps (a share below 1)",
    "lora_target_linear": "lora_target_modules: [all-linear]",
}
# Keys whose meaning lies in another section.
ELSEWHERE = {
    "dataset_name": "training rows come from this run's trajectories, and from others by data.sources",
    "datasets": "training rows come from this run's trajectories, and from others by data.sources",
    "wandb_project": "write track.wandb.project",
    "wandb_mode": "write track.wandb.mode",
}


@cache
def train_key_types(stage: str = "train") -> dict[str, Any]:
    """Key -> its type as text (`bool | None`), or the list of its values."""
    return dict(json.loads(FILE.read_text(encoding="utf-8"))[stage])


@cache
def known_keys(stage: str) -> frozenset[str]:
    return frozenset(train_key_types(stage)) | frozenset(OURS[stage])


def check_train_keys(train: dict[str, Any], stage: str = "train") -> dict[str, Any]:
    """Returns `train`, the section of `stage`, as it is. Raises ValueError on the first key that TRL does not know,
    that is refused here, or whose value is of another type. The value of a refused key is never said: it may be a
    secret."""
    known = known_keys(stage)
    for key, value in train.items():
        if key in ELSEWHERE:
            raise ValueError(f"[{key}] is no key of {stage}: {ELSEWHERE[key]}")
        if key not in known:
            near = FOREIGN.get(str(key)) or nearest(str(key), known)
            written = near if near and (" " in near or ":" in near) else near and repr(near)
            hint = f"; did you mean {written}?" if written else ""
            raise ValueError(f"[{key}] is not a key of TRL's {TRAININGS[stage]} or ModelConfig{hint}")
        if key in REFUSED and value:
            raise ValueError(f"[{key}] {REFUSED[key]}; remove the key")
        if key in UNSERVED and value not in (None, False, "no"):
            raise ValueError(f"[{key}] {UNSERVED[key]}; remove the key")
        try:
            if key not in PROMPT:
                typed_value(key, value, stage)
        except ValueError as error:
            raise ValueError(f"[{key}] {error}") from None
        if wrong := out_of_range(key, value, stage):
            raise ValueError(f"[{key}] {wrong}")
    told = train.get("chat_template_kwargs", {})
    if not isinstance(told, dict):
        raise ValueError(f"[chat_template_kwargs] {told!r} is no mapping; write e.g. {{enable_thinking: true}}")
    check_template_args(told)
    check_thought(train)
    return train


def typed_value(key: str, value: Any, stage: str = "train") -> Any:
    """The value as TRL's config takes it: of `"5e-6"` the number, of YAML's false for an unquoted `no` the text.

    Raises ValueError where it does not fit the key's type; TRL's own parser looks at strings only.
    """
    from pydantic import ValidationError

    kind = OUR_TYPES[key] if key in OURS[stage] else train_key_types(stage)[key]
    # `resume_from_checkpoint: false` begins anew (training/run.py).
    if value is None or (value is False and key == "resume_from_checkpoint"):
        return value
    if value is False and key.endswith("_strategy"):
        return "no"
    if isinstance(kind, list):
        if value not in kind:
            raise ValueError(f"{value!r} is not one of {', '.join(map(str, kind))}")
        return value
    if isinstance(value, bool) and "bool" not in kind and "Any" not in kind:
        raise ValueError(f"{value!r} does not fit {kind}")
    if isinstance(value, str) and kind.startswith("list[str]"):
        raise ValueError(f"is a list; write [{value}]")
    try:
        return _adapter(kind).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{value!r} does not fit {kind}: {error.errors()[0]['msg']}") from None


@cache
def _adapter(kind: str) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(eval(kind, {"Any": Any}))  # the types of train_keys.json, which we wrote


def trl_train_keys() -> dict[str, dict[str, Any]]:
    """What train_keys.json should hold, read off the installed TRL."""
    import trl

    return {stage: _keys_of(getattr(trl, name), trl.ModelConfig) for stage, name in TRAININGS.items()}


def _keys_of(*configs: type) -> dict[str, Any]:
    from dataclasses import fields
    from typing import get_type_hints

    found: dict[str, Any] = {}
    for config in configs:
        hints = get_type_hints(config)
        for one in fields(config):
            if one.init:
                choices = one.metadata.get("choices")
                found[one.name] = list(choices) if choices else _described(hints[one.name])
    return dict(sorted(found.items()))


def _described(annotation: Any) -> Any:
    """A type as text that `eval` reads back; the values of an enum; `Any` for classes of other libraries."""
    from enum import Enum
    from types import NoneType, UnionType

    if annotation is NoneType:
        return "None"
    if get_origin(annotation) in (Union, UnionType):
        parts = [_described(part) for part in get_args(annotation)]
        values = next((part for part in parts if isinstance(part, list)), None)
        return values if values else "Any" if "Any" in parts else " | ".join(parts)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [member.value for member in annotation]
    if get_origin(annotation) in (list, dict):
        inner = ", ".join(str(_described(part)) for part in get_args(annotation))
        return "Any" if "[" in inner else f"{get_origin(annotation).__name__}[{inner}]"
    return annotation.__name__ if annotation in (str, int, float, bool, dict, list) else "Any"


if __name__ == "__main__":
    FILE.write_text(json.dumps(trl_train_keys(), indent=0) + "\n", encoding="utf-8")
