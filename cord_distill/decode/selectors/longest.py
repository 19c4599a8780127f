"""Longest: the number of tokens of a complete trace. It cannot order prefixes: they would be kept for being wordy, and
a finished trace would always lose to one that goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cord_distill.decode.selectors.base import Rating
from cord_distill.types import Problem, Step

if TYPE_CHECKING:
    from cord_distill.decode.ensemble import Ensemble


async def rate(problem: Problem, ensemble: Ensemble, steps: tuple[Step, ...], key: tuple[Any, ...]) -> Rating:
    """value: tokens of all steps in the budget's unit, `</think>` left out. key is not read."""
    return Rating(float(sum(ensemble.num_tokens(step) for step in steps)))
