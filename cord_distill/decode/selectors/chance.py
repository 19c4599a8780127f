"""Random: a number in [0, 1) for each candidate, drawn from its own name. The control that reads nothing.

Of complete traces it is the row of the paper; of steps (`pipeline: cord`) it is a search whose choices mean nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cord_distill.decode.selectors.base import Rating
from cord_distill.search.select import random_value
from cord_distill.types import Problem, Step

if TYPE_CHECKING:
    from cord_distill.decode.ensemble import Ensemble


async def rate(problem: Problem, ensemble: Ensemble, steps: tuple[Step, ...], key: tuple[Any, ...]) -> Rating:
    """value: uniform in [0, 1), the same for the same recipe seed, problem and candidate, whatever it says."""
    return Rating(random_value(ensemble.seed_for(problem, "random", *key)))
