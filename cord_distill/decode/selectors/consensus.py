"""Consensus: how likely the other teachers find a step. It reads no known answer, so CoRD runs on unlabelled problems.

Each teacher but the step's own gives the geometric mean probability of the step's tokens, and these are averaged
(Collaborative Beam Search averages perplexities of several models in the same way).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cord_distill.common.task_group import gather_or_cancel
from cord_distill.decode.selectors.base import Rating
from cord_distill.types import Problem, Step

if TYPE_CHECKING:
    from cord_distill.decode.ensemble import Ensemble


async def rate(problem: Problem, ensemble: Ensemble, steps: tuple[Step, ...], key: tuple[Any, ...]) -> Rating:
    """value: in [0, 1], of the last step, or of a whole trace where that is one step. key is not read."""
    others = [teacher for teacher in ensemble.teachers if teacher.name != steps[-1].teacher]
    fits = await gather_or_cancel([teacher.fit(problem.question, steps) for teacher in others])
    return Rating(math.fsum(fit.score for fit in fits) / len(fits), sum(fit.fed for fit in fits))
