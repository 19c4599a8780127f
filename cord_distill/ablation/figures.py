"""What an ablation says of a variant: shares with intervals, paired differences, the comparison at equal tokens. Pure.

A problem is known by (seed, id), so that problems of several seeds can be pooled. A problem that failed counts as
wrong, and its steps as not all right: a variant must not gain by failing on what is hard.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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
# Of one measure, by the seed as a text.
BySeed = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean of a variant less another one over the problems of both, with a 95 % bootstrap interval over problems.

    by_seed: the mean per seed.
    """

    difference: float
    ci: list[float]
    by_seed: BySeed
    num_problems: int


@dataclass(frozen=True, slots=True)
class AtEqualTokens(Difference):
    """An option against the plain search that spends no more. reference: the weight of each plain variant in it, its
    share of the measure and its tokens per problem; tokens: the option's.

    verdict: `wins` or `loses` when the interval leaves out 0 and every seed agrees, else `no clear difference`;
    `seeds missing` where not all seeds are shared.
    """

    reference: dict[str, float]
    reference_share: float | None
    reference_tokens: float
    tokens: float
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantFigures:
    """One variant over the problems of all its seeds. right: share of right answers; valid: of traces with all steps
    right; ci: Wilson intervals; by_seed, sd: the shares of the seeds and their deviation (None for one seed).

    lucky: right answers with a wrong step. generated, scored: tokens per problem. seconds: per problem. difference: to
    the baseline, by measure; {} for the baseline itself. changes: what the recipe changes for it.
    """

    changes: dict[str, Any] = field(default_factory=dict)
    num_problems: int
    failed: int
    wrong: int
    right: float | None
    right_ci: list[float] | None
    right_by_seed: BySeed
    right_sd: float | None
    valid: float | None
    valid_ci: list[float] | None
    valid_by_seed: BySeed
    valid_sd: float | None
    step_accuracy: float | None
    needless: float | None
    lucky: float | None
    score: float | None
    generated: float | None
    scored: float | None
    seconds: float | None = None
    difference: dict[str, Difference | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Share:
    mean: float | None = None
    interval: list[float] | None = None
    by_seed: BySeed = field(default_factory=dict)
    deviation: float | None = None


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


def figures(results: Results) -> VariantFigures:
    """Shares over all problems with Wilson intervals, means over those that did not fail; None = not measured."""
    every = list(results.values())
    done = [r for r in every if not r.failed]
    right, valid = (_share(results, measure) for measure in MEASURES)
    return VariantFigures(
        num_problems=len(every),
        failed=len(every) - len(done),
        wrong=sum(not r.right for r in every),
        right=right.mean,
        right_ci=right.interval,
        right_by_seed=right.by_seed,
        right_sd=right.deviation,
        valid=valid.mean,
        valid_ci=valid.interval,
        valid_by_seed=valid.by_seed,
        valid_sd=valid.deviation,
        step_accuracy=rounded_mean(right for r in done for right in r.steps_right),
        needless=rounded_mean(needless for r in done for needless in r.needless),
        lucky=rounded_mean(not r.valid for r in every if r.right and r.valid is not None),
        score=rounded_mean(r.score for r in done),
        generated=rounded_mean(r.generated for r in done),
        scored=rounded_mean(r.scored for r in done),
    )


def difference(a: Results, b: Results, measure: str = "right") -> Difference | None:
    """One variant's measure less another's. None where they share no problem, or the measure was not taken."""
    pairs = {key: (getattr(a[key], measure), getattr(b[key], measure)) for key in a if key in b}
    return _paired({key: ours - theirs for key, (ours, theirs) in pairs.items() if None not in (ours, theirs)})


def at_equal_tokens(
    option: Results, plain: Mapping[str, Results], measure: str = "right", seeds: int = 1
) -> AtEqualTokens | None:
    """An option against the best of the plain variants that spends no more generated tokens, on the same problems.

    plain: the same search at several sizes. Its references are each of them, and each mixture of two (a share w of the
    problems by one, the rest by the other, in expectation: value and tokens are both w-weighted means), w chosen so
    that the mixture spends what the option spends. Of those that spend no more, the best by the measure is taken, which
    errs against the option. seeds: how many there are to be. None where nothing plain is as cheap, or the measure was
    not taken.
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
    return AtEqualTokens(
        found.difference,
        found.ci,
        found.by_seed,
        found.num_problems,
        reference=mixture,
        reference_share=rounded_mean(reference.values()),
        reference_tokens=round(sum(w * tokens[name] for name, w in mixture.items()), 1),
        tokens=round(budget, 1),
        verdict=verdict(found) if len(found.by_seed) >= seeds else "seeds missing",
    )


def verdict(found: Difference) -> str:
    low, high = found.ci
    by_seed = [value or 0.0 for value in found.by_seed.values()]
    if low > 0 and all(value > 0 for value in by_seed):
        return "wins"
    if high < 0 and all(value < 0 for value in by_seed):
        return "loses"
    return "no clear difference"


def _share(results: Results, measure: str) -> _Share:
    found = {key: getattr(result, measure) for key, result in results.items()}
    if any(value is None for value in found.values()):
        return _Share()
    by_seed = _by_seed(found)
    over = [share for share in by_seed.values() if share is not None]
    return _Share(
        rounded_mean(found.values()),
        _rounded(wilson_interval(sum(found.values()), len(found))),
        by_seed,
        round(stdev(over), DIGITS) if len(over) > 1 else None,
    )


def _by_seed(values: Mapping[Key, float]) -> BySeed:
    seeds = sorted({seed for seed, _ in values})
    return {str(seed): rounded_mean(v for (s, _), v in values.items() if s == seed) for seed in seeds}


def _rounded(interval: tuple[float, float]) -> list[float]:
    return [round(x, DIGITS) for x in interval]


def _paired(differences: Mapping[Key, float]) -> Difference | None:
    if not differences:
        return None
    return Difference(
        difference=rounded_mean(differences.values()) or 0.0,
        ci=_rounded(cluster_bootstrap(list(differences.values()))),
        by_seed=_by_seed(differences),
        num_problems=len(differences),
    )
