"""Which values a key of a training takes, by its meaning: the others TRL, transformers or torch would refuse, or read
as something else, once the model is loaded. Used by train_keys.py when a recipe is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cord_distill.common.suggest import did_you_mean


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers that a key takes. said: in words, for the error."""

    said: str
    fits: Callable[[float], bool]


COUNT = Range("1 or more", lambda x: x >= 1)
FROM_ZERO = Range("0 or more", lambda x: x >= 0)
ABOVE_ZERO = Range("more than 0", lambda x: x > 0)
SHARE = Range("from 0 to 1", lambda x: 0 <= x <= 1)
BELOW_ONE = Range("from 0 to below 1", lambda x: 0 <= x < 1)
SEED = Range("from 0 to 4294967295", lambda x: 0 <= x < 2**32)
EVERY = Range("a whole number of steps, or a share of all below 1", lambda x: 0 < x < 1 or (x >= 1 and x == x // 1))
RANGES = {
    **dict.fromkeys(
        ("dataloader_prefetch_factor", "dataset_num_proc", "ddp_bucket_cap_mb", "ddp_timeout",
         "eval_accumulation_steps", "global_batch_size", "gradient_accumulation_steps", "lora_alpha", "lora_r",
         "max_completion_length", "max_length",
         "per_device_eval_batch_size", "per_device_train_batch_size", "precompute_ref_batch_size",
         "ref_model_sync_steps", "torch_empty_cache_steps", "vllm_tensor_parallel_size"),
        COUNT,
    ),
    **dict.fromkeys(
        ("adam_epsilon", "beta", "dataloader_num_workers", "learning_rate", "max_grad_norm", "neftune_noise_alpha",
         "router_aux_loss_coef", "top_k", "warmup_steps", "weight_decay"),
        FROM_ZERO,
    ),
    **dict.fromkeys(("num_train_epochs", "repetition_penalty", "temperature"), ABOVE_ZERO),
    **dict.fromkeys(("label_smoothing_factor", "lora_dropout", "min_p", "ref_model_mixup_alpha"), SHARE),
    **dict.fromkeys(("adam_beta1", "adam_beta2"), BELOW_ONE),
    **dict.fromkeys(("seed", "data_seed"), SEED),
    **dict.fromkeys(("eval_steps", "logging_steps", "save_steps"), EVERY),
    **dict.fromkeys(("top_p", "vllm_gpu_memory_utilization"), Range("above 0, at most 1", lambda x: 0 < x <= 1)),
    "label_smoothing": Range("from 0 to below 0.5", lambda x: 0 <= x < 0.5),
    "max_steps": Range("1 or more, or -1 to go by num_train_epochs", lambda x: x >= 1 or x == -1),
    "save_total_limit": Range("1 or more, or null to keep every checkpoint", lambda x: x >= 1),
}  # fmt: skip
# Where a stage gives a key another meaning.
OF_STAGE = {("distil", "beta"): SHARE}
ATTENTION = ("eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3", "flash_attention_4")


def out_of_range(key: str, value: Any, stage: str = "train") -> str | None:
    """What is wrong with a value that has the type of its key; None where it fits."""
    if value is None:
        return None
    if key == "optim_args":
        return _optimizer_arguments(str(value))
    if key == "attn_implementation":
        return _attention(str(value))
    number = _number(value)
    if number is None:
        return None
    if not math.isfinite(number):
        return f"{value} is no finite number"
    taken = OF_STAGE.get((stage, key)) or RANGES.get(key)
    return None if taken is None or taken.fits(number) else f"{value} is out of range: give {taken.said}"


def _number(value: Any) -> float | None:
    """YAML reads `1e-5` and a number in quotes as texts."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _optimizer_arguments(text: str) -> str | None:
    parts = [part.strip().split("=") for part in text.split(",")] if text else []
    if all(len(part) == 2 and all(part) for part in parts):
        return None
    return f"{text!r} is no list of the optimizer's arguments; write them as name=value,name=value"


def _attention(name: str) -> str | None:
    """A name with a slash is a kernel of the hub; `paged|` may stand before any of them."""
    plain = name.removeprefix("paged|")
    if plain in ATTENTION or "/" in plain:
        return None
    return f"{name!r} is no attention; " + did_you_mean(plain, ATTENTION, f"take {', '.join(ATTENTION)}")
