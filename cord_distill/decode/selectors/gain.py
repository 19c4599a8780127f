"""Gain: by how much a step lifts log S above its highest value so far. A step that only keeps a high S gains nothing.

The first step is compared with S of the bare question, so what the meta-prover guesses without any reasoning is taken
out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cord_distill.decode.selectors.base import Rating
from cord_distill.types import Problem, Step

if TYPE_CHECKING:
    from cord_distill.decode.ensemble import Ensemble

# S can underflow to 0 on a long answer; its logarithm is cut here.
LEAST = 1e-300


async def rate(problem: Problem, ensemble: Ensemble, steps: tuple[Step, ...], key: tuple[Any, ...]) -> Rating:
    """value: log S minus its running maximum, above 0 for a new high; None without a meta-prover. key is not read."""
    prover = ensemble.meta_prover
    if prover is None:
        return Rating(None)
    suffix, answer = ensemble.decode.answer_suffix, problem.answer
    bare = await prover.score(problem.question, (), suffix, answer)
    last = await prover.score(problem.question, steps, suffix, answer)
    # Each step before carries its own gain, and the highest value rose by those above 0: no prefix is scored again.
    highest = _log(bare.score) + math.fsum(max(step.score or 0.0, 0.0) for step in steps[:-1])
    return Rating(_log(last.score) - highest, last.fed)


def _log(score: float) -> float:
    return math.log(max(score, LEAST))
