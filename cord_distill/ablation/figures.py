"""What an ablation says of a variant: shares with intervals, paired differences, the comparison at equal tokens. Pure.

A problem is known by (seed, id), so that problems of several seeds can be pooled. A problem that failed counts as
wrong, and its steps as not all right: a variant must not gain by failing on what is hard.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import stdev
from typing import Any

from cord_distill.decode.figures import DIGITS, rounded_mean
from cord_distill.metrics import cluster_bootstrap, mean, wilson_interval
from cord_distill.run_folder.trajectories import row_facts

Key = tuple[int, str]  # (seed, problem id)
MEASURES = ("right", "valid")


@dataclass(frozen=True, slots=True)
class Result:
    """One problem, decoded by one variant. right, valid: 1.0 or 0.0; valid None = steps were not checked.

    needless: per step whether it only says again what is known, empty where no process check tells. score, generated,
    scored: None where the problem failed.
    """

    right: float
    valid: float | None
    steps_right: tuple[bool, ...] = ()
    score: float | None = None
    generated: int | None = None
    scored: int | None = None
    failed: bool = False
    needless: tuple[bool, ...] = ()


Results = Mapping[Key, Result]


def results_of(rows: Iterable[dict[str, Any]], seed: int, checked: bool) -> dict[Key, Result]:
    """Rows of `trajectories.jsonl` by (seed, id). checked: the recipe has a process check."""
    found: dict[Key, Result] = {}
    for row in rows:
        facts = row_facts(row)
        if facts["failed"]:
            found[seed, row["id"]] = Result(0.0, 0.0 if checked else None, failed=True)
            continue
        tokens = facts["num_tokens"]
        found[seed, row["id"]] = Result(
            right=float(bool(facts["correct"])),
            valid=float(bool(facts["all_right"])) if checked else None,
            steps_right=tuple(facts["steps_right"]),
            needless=tuple((row.get("checks") or {}).get("needless") or ()),
            score=facts["score"],
            generated=tokens["generated_total"],
            scored=tokens["scored_total"],
        )
    return found


def figures(results: Results) -> dict[str, Any]:
    """Shares over all problems with Wilson intervals, means over those that did not fail; null = not measured.

    by_seed: share of right answers and of traces with all steps right per seed; sd, range: of these shares over the
    seeds (sd null for one seed).
    """
    if not results:
        raise ValueError("no results")
    every = list(results.values())
    done = [r for r in every if not r.failed]
    seeds = sorted({seed for seed, _ in results})
    return {
        "num_problems": len(every),
        "failed": len(every) - len(done),
        "wrong": sum(not r.right for r in every),
        **{name: value for measure in MEASURES for name, value in _share(results, measure, seeds).items()},
        "step_accuracy": rounded_mean(right for r in done for right in r.steps_right),
        "needless": rounded_mean(needless for r in done for needless in r.needless),
        "lucky": rounded_mean(not r.valid for r in every if r.right and r.valid is not None),
        "score": rounded_mean(r.score for r in done),
        "generated": rounded_mean(r.generated for r in done),
        "scored": rounded_mean(r.scored for r in done),
    }


def difference(a: Results, b: Results, measure: str = "right") -> dict[str, Any] | None:
    """Mean of a - b over the problems that both decoded, with a 95 % bootstrap interval over problems.

    by_seed: the mean per seed. None where they share no problem, or the measure was not taken.
    """
    shared = [key for key in a if key in b]
    pairs = {key: _minus(getattr(a[key], measure), getattr(b[key], measure)) for key in shared}
    return _paired({key: value for key, value in pairs.items() if value is not None})


def at_equal_tokens(
    option: Results, plain: Mapping[str, Results], measure: str = "right", seeds: int = 1
) -> dict[str, Any] | None:
    """An option against the best of the plain variants that spends no more generated tokens, on the same problems.

    plain: the same search at several sizes. Its references are each of them, and each mixture of two (a share w of the
    problems by one, the rest by the other, in expectation: value and tokens are both w-weighted means), w chosen so
    that the mixture spends what the option spends. Of those that spend no more, the best by the measure is taken, which
    errs against the option. verdict: `wins` or `loses` when the interval leaves out 0 and every seed agrees, else
    `no clear difference`; `seeds missing` where fewer than `seeds` are shared. None where nothing plain is as cheap,
    or the measure was not taken.
    """
    shared = [key for key in option if plain and all(key in results for results in plain.values())]
    values = {name: {key: getattr(found[key], measure) for key in shared} for name, found in plain.items()}
    own = {key: getattr(option[key], measure) for key in shared}
    if not shared or any(v is None for v in own.values()):
        return None
    tokens = {name: rounded_mean(found[key].generated for key in shared) or 0.0 for name, found in plain.items()}
    budget = rounded_mean(option[key].generated for key in shared) or 0.0
    references = [({name: 1.0}, values[name]) for name in plain if tokens[name] <= budget]
    for cheap, dear in combinations(sorted(plain, key=lambda name: tokens[name]), 2):
        if tokens[cheap] < budget < tokens[dear]:
            w = (budget - tokens[cheap]) / (tokens[dear] - tokens[cheap])
            mixed = {key: (1 - w) * values[cheap][key] + w * values[dear][key] for key in shared}
            references.append(({cheap: round(1 - w, DIGITS), dear: round(w, DIGITS)}, mixed))
    if not references:
        return None
    mixture, reference = max(references, key=lambda made: mean(list(made[1].values())))
    found = _paired({key: own[key] - reference[key] for key in shared})
    assert found is not None
    return {
        **found,
        "reference": mixture,
        "reference_share": rounded_mean(reference.values()),
        "reference_tokens": round(sum(w * tokens[name] for name, w in mixture.items()), 1),
        "tokens": round(budget, 1),
        "verdict": verdict(found) if len(found["by_seed"]) >= seeds else "seeds missing",
    }


def verdict(difference: dict[str, Any]) -> str:
    low, high = difference["ci"]
    by_seed = list(difference["by_seed"].values())
    if low > 0 and all(value > 0 for value in by_seed):
        return "wins"
    if high < 0 and all(value < 0 for value in by_seed):
        return "loses"
    return "no clear difference"


def _share(results: Results, measure: str, seeds: Sequence[int]) -> dict[str, Any]:
    found = {key: getattr(result, measure) for key, result in results.items()}
    if any(value is None for value in found.values()):
        return {measure: None, f"{measure}_ci": None, f"{measure}_by_seed": {}, f"{measure}_sd": None}
    by_seed = {str(seed): rounded_mean(value for (s, _), value in found.items() if s == seed) for seed in seeds}
    return {
        measure: rounded_mean(found.values()),
        f"{measure}_ci": [round(x, DIGITS) for x in wilson_interval(sum(found.values()), len(found))],
        f"{measure}_by_seed": by_seed,
        f"{measure}_sd": round(stdev(x for x in by_seed.values() if x is not None), DIGITS) if len(seeds) > 1 else None,
    }


def _paired(differences: Mapping[Key, float]) -> dict[str, Any] | None:
    if not differences:
        return None
    seeds = sorted({seed for seed, _ in differences})
    return {
        "difference": rounded_mean(differences.values()),
        "ci": [round(x, DIGITS) for x in cluster_bootstrap(list(differences.values()))],
        "by_seed": {str(seed): rounded_mean(v for (s, _), v in differences.items() if s == seed) for seed in seeds},
        "num_problems": len(differences),
    }


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b
