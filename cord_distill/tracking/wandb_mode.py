"""Whether anything goes to Weights & Biases: one rule for decoding, data, training and evaluation.

The recipe decides, and `WANDB_MODE` of the shell can only make it stricter: nothing leaves the machine that the
recipe keeps.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import Literal

from cord_distill.common.terminal import one_line
from cord_distill.recipe.recipe import Recipe

Mode = Literal["online", "offline", "disabled"]
MODES: tuple[Mode, ...] = ("online", "offline", "disabled")
STRICTER = {"online": 0, "run": 0, "shared": 0, "offline": 1, "dryrun": 1, "disabled": 2}


def wandb_mode(recipe: Recipe) -> Mode:
    """`online`, `offline` or `disabled`: the stricter of `track.wandb.mode` and WANDB_MODE."""
    asked, shell = recipe.track.wandb.mode, os.environ.get("WANDB_MODE", "").strip().lower()
    strictness = STRICTER.get(shell)
    if strictness is None or strictness == STRICTER[asked]:
        return asked
    if strictness < STRICTER[asked]:
        _say(f"WANDB_MODE={one_line(shell, 40)} is left aside: track.wandb.mode of the recipe is {asked}")
        return asked
    return MODES[strictness]


@cache
def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
