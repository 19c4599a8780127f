"""What is said about samples: avg@k, pass@k, maj@k, intervals, paired tests. Pure and seeded; scipy is
loaded for quantiles of Student's t alone.

`groups` is one list per problem with one value per sample (0/1 or bool, or a share). Samples of one problem belong
together: every interval here is taken over problems, never over samples as if they were independent.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product
from math import comb, sqrt
from operator import mul
from typing import Any

Z95 = 1.959963984540054
EXACT_FLIPS = 16
RESAMPLES = 2000
Groups = Sequence[Sequence[float]]


def mean(values: Sequence[float]) -> float:
    """Raises ValueError on no values: an average of nothing is not 0."""
    if not values:
        raise ValueError("no values")
    return sum(values) / len(values)


def avg_at_k(groups: Groups) -> float:
    """Mean over problems of the share of right samples: pass@1 estimated from k samples."""
    return mean([mean(group) for group in groups])


def pass_at_k(n: int, right: int, k: int) -> float:
    """Probability that k of n samples, drawn without return, hold a right one (unbiased; Chen et al. 2021, eq. 1)."""
    if not 0 <= right <= n or not 1 <= k <= n:
        raise ValueError(f"pass@k needs 0 <= right <= n and 1 <= k <= n, got right={right}, n={n}, k={k}")
    return 1.0 - comb(n - right, k) / comb(n, k)


def mean_pass_at_k(groups: Groups, k: int) -> float:
    return mean([pass_at_k(len(group), round(sum(group)), k) for group in groups])


def maj_at_k(predictions: Sequence[str | None], right: Sequence[bool]) -> float:
    """1.0 when the most frequent prediction is right. Samples without an answer have no vote; without any vote: 0.

    Of several most frequent ones, the share that is right (what drawing one of them gives on average).
    """
    votes: dict[str, list[bool]] = {}
    for prediction, verdict in zip(predictions, right, strict=True):
        if prediction is not None:
            votes.setdefault(prediction, []).append(verdict)
    if not votes:
        return 0.0
    most = max(len(verdicts) for verdicts in votes.values())
    return mean([float(any(v)) for v in votes.values() if len(v) == most])


def wilson_interval(successes: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Wilson score interval of a share (Wilson 1927), in [0, 1]; n independent trials. ValueError when n is 0."""
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"a share needs 0 <= successes <= n and n > 0, got {successes} of {n}")
    p, z2 = successes / n, z * z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return (0.0 if successes == 0 else max(0.0, centre - half)), (1.0 if successes == n else min(1.0, centre + half))


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the mean of independent runs (seeds): Student's t at n - 1 degrees of freedom; None for one.

    It is about runs, not problems. Not cut to [0, 1]: two runs that differ say little (t = 12.7), and that shows.
    """
    n = len(values)
    if n < 2:
        return None
    centre = mean(values)
    error = sqrt(sum((x - centre) ** 2 for x in values) / (n - 1) / n)
    half = t_quantile(n - 1) * error
    return centre - half, centre + half


def t_quantile(degrees: int) -> float:
    """The t for which P(|T| < t) = 0.95."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.975))


def effective_samples(values: Sequence[float]) -> float:
    """How many independent right-or-wrong problems the per-problem shares are worth: p(1-p) over the squared error.

    The error is that of the mean over problems, from their variance at n - 1. Problems that are all or nothing are
    worth n - 1. Where all agree nothing can be estimated: the number of problems.
    """
    p, n = mean(values), len(values)
    variance = sum((x - p) ** 2 for x in values) / (n * (n - 1)) if n > 1 else 0.0
    return float(n) if variance == 0 or p in (0.0, 1.0) else max(p * (1 - p) / variance, 1.0)


def share_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean of per-problem shares (pass@k, F1, ...): Wilson's at the effective number of problems,
    with Student's t at n - 1 for the quantile, because the variance is estimated.

    It stays within 0 and 1 and does not shrink to nothing where all problems agree, as a bootstrap does.
    """
    n = effective_samples(values)
    z = t_quantile(len(values) - 1) if len(values) > 1 else Z95
    return wilson_interval(mean(values) * n, n, z)


def clustered_interval(groups: Groups) -> tuple[float, float]:
    """95 % interval of avg@k, over problems. One sample per problem: those are independent trials, exactly Wilson's."""
    if all(len(group) == 1 for group in groups):
        return wilson_interval(sum(group[0] for group in groups), len(groups))
    return share_interval([mean(group) for group in groups])


def pass_at_k_interval(groups: Groups, k: int) -> tuple[float, float]:
    """95 % interval of mean_pass_at_k, over problems."""
    return share_interval([pass_at_k(len(group), round(sum(group)), k) for group in groups])


def repeat_error(groups: Groups) -> float:
    """Standard error of avg@k were the same problems sampled anew: the noise within problems, none of their choice.

    Each problem's variance is estimated without bias (k - 1), so that many easy problems do not add up to a noise that
    is not there; where no sample differs from its neighbours, three of all might (the rule of three). ValueError
    at one sample each.
    """
    sizes = [len(group) for group in groups]
    if min(sizes) < 2:
        raise ValueError("one sample per problem says nothing of the noise within it")
    shares = [mean(group) for group in groups]
    within = sum(p * (1 - p) / (n - 1) for p, n in zip(shares, sizes, strict=True)) / len(sizes) ** 2
    return max(sqrt(within), 3 / Z95 / sum(sizes))


def agreement(groups: Groups, published: float, samples: int | None, rounding: float = 0.0) -> dict[str, Any]:
    """Whether avg@k agrees with a published value on the same problems: does the difference fit the sampling noise?

    published: a share. samples: its k (None: exact); its noise is taken to be ours at that k. rounding: half a unit of
    its last printed digit. Returns {avg, ci, agrees}: ci holds every published value that would agree, at 95 %.
    """
    ours, error = avg_at_k(groups), repeat_error(groups)
    k = mean([len(group) for group in groups])
    half = Z95 * error * sqrt(1 + (k / samples if samples else 0.0)) + rounding
    return {"avg": ours, "ci": [ours - half, ours + half], "agrees": abs(ours - published) <= half}


def cluster_bootstrap(values: Sequence[float]) -> tuple[float, float]:
    """95 % percentile interval of the mean of per-problem values: whole problems are drawn with return."""
    if not values:
        raise ValueError("no values")
    stream = random.Random(0)
    found = sorted(mean(stream.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return percentile(found, 2.5), percentile(found, 97.5)


def paired_difference(a: Sequence[float], b: Sequence[float]) -> dict[str, float | list[float]]:
    """Mean of a - b over the same problems, its 95 % bootstrap interval, and a two-sided p-value.

    p: sign-flip permutation test over problems; all flips where at most 16 problems differ, else seeded ones with the
    observed one counted in (so p is never 0).
    """
    differences = [x - y for x, y in zip(a, b, strict=True)]
    return {
        "difference": mean(differences),
        "ci": list(cluster_bootstrap(differences)),
        "p_value": sign_flip_p(differences),
        "num_problems": len(differences),
    }


def sign_flip_p(differences: Sequence[float], flips: int = 20_000) -> float:
    moving = [d for d in differences if d != 0]
    bound = abs(sum(moving)) - 1e-9 * max(1.0, sum(map(abs, moving)))
    if len(moving) <= EXACT_FLIPS:
        sums = [sum(map(mul, signs, moving)) for signs in product((1, -1), repeat=len(moving))]
        return sum(abs(total) >= bound for total in sums) / len(sums)
    stream = random.Random(0)
    total = sum(moving)
    hits = 0
    for _ in range(flips):
        bits = stream.getrandbits(len(moving))
        hits += abs(total - 2 * sum(d for i, d in enumerate(moving) if bits >> i & 1)) >= bound
    return (hits + 1) / (flips + 1)


def percentile(values: Sequence[float], q: float) -> float:
    """Linear between the two nearest ranks (numpy's default). q in 0..100."""
    ranked = sorted(values)
    place = (len(ranked) - 1) * q / 100
    low = int(place)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (ranked[high] - ranked[low]) * (place - low)
