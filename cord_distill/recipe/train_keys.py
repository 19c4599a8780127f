"""Which keys `train:` takes: TRL's SFTConfig and ModelConfig fields, plus those of our own (OURS). Known without TRL.

The names are kept in `train_keys.json` (a test compares them with the installed TRL; `python -m
cord_distill.recipe.train_keys` writes them anew), so that a recipe is checked on any laptop in milliseconds. Types and
choices are checked in `sft.py`, where TRL is loaded anyway.
"""

from __future__ import annotations

import json
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from cord_distill.recipe.template_args import check_template_args

FILE = Path(__file__).with_suffix(".json")
OURS = ("global_batch_size", "chat_template_kwargs")


@cache
def known_train_keys() -> frozenset[str]:
    return frozenset(json.loads(FILE.read_text())) | frozenset(OURS)


def check_train_keys(train: dict[str, Any]) -> dict[str, Any]:
    """Returns `train` as it is. Raises ValueError on the first key that TRL does not know."""
    for key in train:
        if key not in known_train_keys():
            near = get_close_matches(str(key), known_train_keys(), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"[{key}] is not a key of TRL's SFTConfig or ModelConfig{hint}")
    told = train.get("chat_template_kwargs", {})
    if not isinstance(told, dict):
        raise ValueError(f"[chat_template_kwargs] {told!r} is no mapping; write e.g. {{enable_thinking: true}}")
    check_template_args(told)
    return train


def trl_train_keys() -> list[str]:
    from dataclasses import fields

    from trl import ModelConfig, SFTConfig

    return sorted({f.name for config in (SFTConfig, ModelConfig) for f in fields(config) if f.init})


if __name__ == "__main__":
    FILE.write_text(json.dumps(trl_train_keys(), indent=0) + "\n")
