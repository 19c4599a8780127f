"""Student fit: S plus how likely the student itself finds the step, so that it is taught what it can take up.

The student's share is the geometric mean probability that the untrained student gives to the step's tokens, as in
Local Naturalness and Gen-SSD, which choose among generations by the student's own likelihood.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cord_distill.decode.selectors.base import Rating
from cord_distill.types import Problem, Step

if TYPE_CHECKING:
    from cord_distill.decode.ensemble import Ensemble


async def rate(problem: Problem, ensemble: Ensemble, steps: tuple[Step, ...], key: tuple[Any, ...]) -> Rating:
    """value: S + weight * fit, or the fit alone where there is no S to add (`alone`). key is not read."""
    settings, student = ensemble.decode.student_fit, ensemble.student
    assert settings is not None and student is not None  # check_decode
    fit = await student.fit(problem.question, steps)
    if settings.alone:
        return Rating(fit.score, fit.fed)
    score, _, fed = await ensemble.score(problem, steps)
    return Rating(None if score is None else score + settings.weight * fit.score, fed + fit.fed)
