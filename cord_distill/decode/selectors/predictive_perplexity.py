"""Predictive perplexity: S of the known answer after the prefix, by the meta-prover (eq. 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cord_distill.decode.selectors.base import Rating
from cord_distill.types import Problem, Step

if TYPE_CHECKING:
    from cord_distill.decode.ensemble import Ensemble


async def rate(problem: Problem, ensemble: Ensemble, steps: tuple[Step, ...], key: tuple[Any, ...]) -> Rating:
    """value: S in [0, 1]; None without a meta-prover. key is not read."""
    score, _, fed = await ensemble.score(problem, steps)
    return Rating(score, fed)
