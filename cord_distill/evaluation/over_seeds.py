"""Students that differ in their seed alone (`seed: [0, 1, 2]`): their mean, with the interval over the runs.

One student's interval is over problems: what other problems would give. This one is over training runs on the same data
and the same problems: what training again would give. It needs at least two runs, and is wide for two or three.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cord_distill.evaluation.figures import ModelScores, SuiteFigures
from cord_distill.metrics import mean, t_interval

NOTE = (
    "A mean over seeds has the 95% t-interval over its training runs, on the same data and problems; every other "
    "interval is over problems."
)


def mean_over_seeds(shares: Sequence[float]) -> tuple[float, list[float] | None]:
    """(mean, 95 % t-interval cut to 0..1) of one share per run.

    The interval is None for a single run, and where all are equal: a width of 0 would claim that the next one is too.
    """
    interval = t_interval(shares) if len(set(shares)) > 1 else None
    return mean(shares), None if interval is None else [max(0.0, interval[0]), min(1.0, interval[1])]


def over_seeds(runs: Mapping[int, ModelScores], of: int) -> ModelScores:
    """The mean of one method's students, each evaluated. runs: by seed. of: how many seeds the recipe has.

    A suite has no mean on which a run was not measured, or with another k or another number of problems.
    """
    names = list(dict.fromkeys(name for run in runs.values() for name in run.suites))
    suites = {name: _mean_suite([run.suites.get(name) for run in runs.values()]) for name in names}
    seconds = [run.seconds for run in runs.values() if run.seconds is not None]
    return ModelScores(suites, sum(seconds) if seconds else None, dict(runs), of)


def seeds_said(student: ModelScores) -> str:
    """How a table calls the mean: `mean of 3 seeds`, `mean of 2 of 3 seeds` while one is missing; "" without seeds."""
    done, of = len(student.seeds), student.of_seeds
    if not done:
        return ""
    return f"mean of {done} seed{'s' if done != 1 else ''}" if done == of else f"mean of {done} of {of} seeds"


def _mean_suite(each: Sequence[SuiteFigures | None]) -> SuiteFigures:
    found = [one for one in each if one is not None]
    k, problems = found[0].k, found[0].num_problems
    if len(found) < len(each) or any((one.k, one.num_problems) != (k, problems) for one in found):
        return SuiteFigures(k=k, num_problems=problems)
    shares = [one.avg_at_k for one in found if one.avg_at_k is not None]
    steps = [one.step_accuracy for one in found if one.step_accuracy is not None]
    average, interval = mean_over_seeds(shares) if shares else (None, None)
    return SuiteFigures(
        avg_at_k=average and round(average, 6),
        avg_at_k_ci=interval and [round(x, 6) for x in interval],
        step_accuracy=round(mean(steps), 6) if steps else None,
        k=k,
        num_problems=problems,
    )
