"""Rank-surprisal ratio: which whole trace the student can learn most from (Yang et al. 2026, arXiv 2601.14249).

A trace teaches where its tokens are unlikely to the student and yet among those that it would try first: the mean rank
of the tokens over their mean surprisal is small. It orders whole traces (Curation); a step is too short for a ratio.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cord_distill.decode.selectors.base import Rating
from cord_distill.types import Problem, Step

if TYPE_CHECKING:
    from cord_distill.decode.ensemble import Ensemble

# One token of rank 40,000 must not outweigh a whole trace.
HIGHEST_RANK = 100
LEAST = 1e-9


async def rate(problem: Problem, ensemble: Ensemble, steps: tuple[Step, ...], key: tuple[Any, ...]) -> Rating:
    """value: minus the ratio, so that higher is better. key is not read."""
    assert ensemble.student is not None  # check_decode
    tokens, fed = await ensemble.student.ranked(problem.question, steps)
    ranks = sum(min(rank, HIGHEST_RANK) for _, rank in tokens)
    surprisal = -math.fsum(logprob for logprob, _ in tokens)
    return Rating(-ranks / max(surprisal, LEAST), fed)
