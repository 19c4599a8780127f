"""Binary judgment: a judge is told that time is up, finishes from the prefix n times, and the share that is right
counts. An answer is right when the problem's own grader says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cord_distill.common.task_group import gather_or_cancel
from cord_distill.decode.off_the_loop import off_the_loop
from cord_distill.decode.selectors.base import Rating
from cord_distill.search.select import share_right
from cord_distill.types import THINK_CLOSE, Problem, Step

if TYPE_CHECKING:
    from cord_distill.decode.ensemble import Ensemble


async def rate(problem: Problem, ensemble: Ensemble, steps: tuple[Step, ...], key: tuple[Any, ...]) -> Rating:
    """value: the share of right completions, in [0, 1]. key: names the candidate; each run has a seed of its own."""
    judge, grade = ensemble.judge, ensemble.grade
    assert judge is not None and grade is not None  # check_decode
    settings = ensemble.decode.binary_judgment
    runs = await gather_or_cancel(
        [
            judge.conclude(
                problem.question,
                steps,
                settings.conclusion,
                max_tokens=settings.max_tokens,
                seed=ensemble.seed_for(problem, "judgment", *key, run),
            )
            for run in range(settings.runs)
        ]
    )
    thought = "".join(step.text for step in steps).removesuffix(THINK_CLOSE)
    texts = [thought + run.text for run in runs]
    verdicts = await off_the_loop(lambda: [bool(grade(text, problem)[1]) for text in texts], graders=(grade,))
    value = share_right(verdicts)
    return Rating(value, generated=sum(run.generated for run in runs))
