"""Students that differ in their seed alone (`seed: [0, 1, 2]`): their mean, with the interval over the runs.

One student's interval is over problems: what other problems would give. This one is over training runs on the same data
and the same problems: what training again would give. It needs at least two runs, and is wide for two or three.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


def over_seeds(runs: dict[int, dict[str, Any]], of: int) -> dict[str, Any]:
    """One method's students, evaluated: seed -> its figures (a suite's at the top, all under `suites`).

    of: how many seeds the recipe has. Returns the same keys for their mean, and each run under `seeds`. A suite on
    which the runs were measured with different k or different numbers of problems has no mean.
    """
    names = list(dict.fromkeys(name for run in runs.values() for name in run["suites"]))
    suites = {}
    for name in names:
        found = [run["suites"][name] for run in runs.values() if name in run["suites"]]
        suites[name] = _mean_suite(found)
    first = next((run["suite"] for run in runs.values() if run.get("suite")), None)
    seconds = [run["seconds"] for run in runs.values() if run.get("seconds") is not None]
    return {
        **({"suite": first, **suites[first]} if first else {}),
        "seconds": sum(seconds) if seconds else None,
        "suites": suites,
        "num_seeds": len(runs),
        "of_seeds": of,
        "seeds": {str(seed): run for seed, run in runs.items()},
    }


def seeds_said(student: dict[str, Any]) -> str:
    """How a table calls the mean: `mean of 3 seeds`, `mean of 2 of 3 seeds` while one is missing; "" without seeds."""
    if "seeds" not in student:
        return ""
    done, of = student["num_seeds"], student["of_seeds"]
    return f"mean of {done} seed{'s' if done != 1 else ''}" if done == of else f"mean of {done} of {of} seeds"


def _mean_suite(found: list[dict[str, Any]]) -> dict[str, Any]:
    k, problems = found[0].get("k"), found[0].get("num_problems")
    alike = all((one.get("k"), one.get("num_problems")) == (k, problems) for one in found)
    key = f"avg_at_{k}"
    out: dict[str, Any] = {key: None, f"{key}_ci": None, "step_accuracy": None, "k": k, "num_problems": problems}
    shares = [one[key] for one in found if alike and one.get(key) is not None]
    if shares:
        average, interval = mean_over_seeds(shares)
        out |= {key: round(average, 6), f"{key}_ci": interval and [round(x, 6) for x in interval]}
    steps = [one["step_accuracy"] for one in found if alike and one.get("step_accuracy") is not None]
    return out | ({"step_accuracy": round(mean(steps), 6)} if steps else {})
