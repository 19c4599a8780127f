"""Statistics against textbook values and scipy. Lazy versions that fail: pass@k as 1-(1-p)^k, samples taken as
independent, a sign-flip p-value of 0."""

from __future__ import annotations

import math
import random

import pytest

from cord_distill import metrics


def test_avg_at_k_is_the_mean_of_problem_means() -> None:
    assert metrics.avg_at_k([[1, 1, 0, 0], [0, 0, 0, 1]]) == 0.375
    assert metrics.avg_at_k([[True], [False], [False]]) == pytest.approx(1 / 3)


def test_pass_at_k_is_unbiased() -> None:
    """1 - (1 - c/n)^k gives 0.75 and 0.99 here, a biased estimate."""
    assert metrics.pass_at_k(4, 2, 2) == pytest.approx(1 - 1 / 6)
    assert metrics.pass_at_k(10, 3, 5) == pytest.approx(1 - math.comb(7, 5) / math.comb(10, 5))
    assert metrics.pass_at_k(5, 0, 5) == 0.0
    assert metrics.pass_at_k(5, 1, 5) == 1.0
    assert metrics.pass_at_k(16, 4, 1) == 0.25
    with pytest.raises(ValueError, match="pass@k"):
        metrics.pass_at_k(4, 2, 5)


def test_maj_at_k_counts_answers_only() -> None:
    """A vote for "no answer" would win the first."""
    assert metrics.maj_at_k([None, None, None, "7", "7", "8"], [False, False, False, True, True, False]) == 1.0
    assert metrics.maj_at_k(["1", "2", "2"], [True, False, False]) == 0.0
    assert metrics.maj_at_k(["1", "2"], [True, False]) == 0.5
    assert metrics.maj_at_k([None, None], [False, False]) == 0.0


def test_wilson_interval_textbook() -> None:
    """81 of 263: Agresti & Coull's example (0.255, 0.366); 0 of 10: (0, 0.2775); scipy's own figures."""
    assert metrics.wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert metrics.wilson_interval(0, 10) == pytest.approx((0.0, 0.27754), abs=1e-5)
    stats = pytest.importorskip("scipy.stats")
    for successes, n in [(0, 1), (1, 1), (3, 30), (29, 30), (50, 100)]:
        expected = stats.binomtest(successes, n).proportion_ci(method="wilson")
        assert metrics.wilson_interval(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-9)
    with pytest.raises(ValueError, match="n > 0"):
        metrics.wilson_interval(0, 0)


def test_clustered_interval_with_one_sample_is_wilson() -> None:
    groups = [[1]] * 12 + [[0]] * 18
    assert metrics.clustered_interval(groups) == pytest.approx(metrics.wilson_interval(12, 30))


def test_samples_of_one_problem_are_not_independent() -> None:
    """All-or-nothing problems are worth their number (less one, for the variance is estimated), not the samples'."""
    groups = [[1] * 16] * 12 + [[0] * 16] * 18
    assert metrics.effective_samples([1.0] * 12 + [0.0] * 18) == pytest.approx(29)
    low, high = metrics.clustered_interval(groups)
    assert (low, high) == pytest.approx(metrics.wilson_interval(0.4 * 29, 29, metrics.t_quantile(29)))
    naive_low, naive_high = metrics.wilson_interval(12 * 16, 30 * 16)
    assert high - low > 3 * (naive_high - naive_low)


@pytest.mark.parametrize(("a", "b"), [(0.4, 0.6), (0.3, 1.5), (2.0, 2.0)])
def test_intervals_cover_the_truth_at_30_problems(a: float, b: float) -> None:
    """30 problems x 16 samples, difficulties from Beta(a, b), 600 runs: at least 92.5 %.

    The population variance with a normal quantile covers less, a percentile bootstrap of pass@16 41 to 95 %, since
    30 problems that are all solved resample to themselves.
    """
    stream, covered = random.Random(5), {1: 0, 4: 0, 16: 0}
    for _ in range(600):
        rates = [stream.betavariate(a, b) for _ in range(30)]
        groups = [[float(stream.random() < rate) for _ in range(16)] for rate in rates]
        for k in covered:
            truth = 1 - math.prod((b + j) / (a + b + j) for j in range(k))
            low, high = metrics.clustered_interval(groups) if k == 1 else metrics.pass_at_k_interval(groups, k)
            covered[k] += low <= truth <= high
    assert min(covered.values()) >= 0.925 * 600


def test_interval_of_pass_at_k_says_something_where_all_is_solved() -> None:
    """A bootstrap says [1, 1]."""
    low, high = metrics.pass_at_k_interval([[1, 0], [0, 1], [1, 1]] * 10, 2)
    assert (low, high) == (pytest.approx(30 / (30 + metrics.t_quantile(29) ** 2)), 1.0)


def test_interval_of_nothing_right_is_not_empty() -> None:
    """A normal or bootstrap interval of 0/400 is [0, 0], which claims certainty."""
    low, high = metrics.clustered_interval([[0, 0, 0, 0]] * 100)
    assert low == 0.0
    assert high == pytest.approx(0.037, abs=1e-3)


def test_cluster_bootstrap_is_seeded_and_near_the_standard_error() -> None:
    stream = random.Random(0)
    values = [stream.gauss(0.5, 0.2) for _ in range(200)]
    low, high = metrics.cluster_bootstrap(values)
    assert (low, high) == metrics.cluster_bootstrap(values)
    centre = metrics.mean(values)
    error = math.sqrt(sum((v - centre) ** 2 for v in values) / len(values)) / math.sqrt(len(values))
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_sign_flip_test_is_exact_for_few_problems() -> None:
    stats = pytest.importorskip("scipy.stats")
    differences = [0.25, 0.5, -0.25, 0.75, 0.5, 0.25, 0.0, 1.0]
    expected = stats.permutation_test(
        (differences,), lambda x: sum(x) / len(x), permutation_type="samples", n_resamples=100_000
    ).pvalue
    assert metrics.sign_flip_p(differences) == pytest.approx(expected)
    assert metrics.sign_flip_p([1.0] * 5) == pytest.approx(2 / 32)
    assert metrics.sign_flip_p([0.0] * 9) == 1.0


def test_sign_flip_test_by_sampling_never_says_zero() -> None:
    assert metrics.sign_flip_p([1.0] * 60, flips=1000) == pytest.approx(1 / 1001)
    stream = random.Random(3)
    differences = [stream.choice((-0.25, 0.0, 0.25)) for _ in range(60)]
    stats = pytest.importorskip("scipy.stats")
    expected = stats.permutation_test(
        (differences,), lambda x: sum(x) / len(x), permutation_type="samples", n_resamples=20_000, rng=0
    ).pvalue
    assert metrics.sign_flip_p(differences) == pytest.approx(expected, abs=0.02)


def test_paired_difference_uses_the_pairing() -> None:
    """Both models vary a lot over problems; one is better by a little on each. An unpaired test sees nothing."""
    a = [i / 40 + 0.05 for i in range(30)]
    b = [i / 40 for i in range(30)]
    found = metrics.paired_difference(a, b)
    assert found["difference"] == pytest.approx(0.05)
    assert found["p_value"] < 0.001
    assert found["num_problems"] == 30
    assert metrics.paired_difference(a, a)["p_value"] == 1.0
    with pytest.raises(ValueError, match="zip"):
        metrics.paired_difference(a, b[:-1])


def test_percentile_is_numpys() -> None:
    np = pytest.importorskip("numpy")
    values = [3.0, 1.0, 4.0, 1.0, 5.0]
    for q in (0, 10, 50, 97.5, 100):
        assert metrics.percentile(values, q) == pytest.approx(float(np.percentile(values, q)))


def test_repeat_error_is_the_noise_of_sampling_the_same_problems_again() -> None:
    """Against the spread of 1,000 reruns; problems that are always right or wrong add almost nothing to it."""
    shares, k, stream = [0.0, 0.1, 0.5, 0.9, 1.0] * 4, 16, random.Random(1)

    def run() -> list[list[float]]:
        return [[float(stream.random() < p) for _ in range(k)] for p in shares]

    seen = [metrics.avg_at_k(run()) for _ in range(1000)]
    centre = metrics.mean(seen)
    spread = math.sqrt(metrics.mean([(x - centre) ** 2 for x in seen]))
    told = metrics.mean([metrics.repeat_error(run()) for _ in range(200)])
    assert 0.95 * spread < told < 1.05 * spread
    assert metrics.repeat_error([[1, 0] * 8, [1] * 16]) == pytest.approx(math.sqrt(1 / 4 / 15) / 2)
    assert metrics.repeat_error([[1] * 16, [0] * 16]) == pytest.approx(3 / 1.96 / 32, rel=1e-3)
    with pytest.raises(ValueError, match="one sample per problem"):
        metrics.repeat_error([[1], [0]])


def test_agreement_holds_95_percent_of_the_time_and_sees_five_points() -> None:
    stream, shares = random.Random(2), [0.2, 0.6, 1.0, 0.4] * 25

    def agrees(published: float, samples: int | None) -> float:
        """How often a run of k = 16 agrees with another run of so many samples around `published`."""
        hits = []
        for _ in range(300):
            ours = [[float(stream.random() < p) for _ in range(16)] for p in shares]
            theirs = [[float(stream.random() < p) for _ in range(samples)] for p in shares] if samples else [shares]
            value = metrics.avg_at_k(theirs) + published - metrics.mean(shares)
            hits.append(metrics.agreement(ours, value, samples)["agrees"])
        return metrics.mean(hits)

    # Of 300 runs, two standard errors below 95 %.
    assert agrees(0.55, None) >= 0.925
    assert agrees(0.55, 16) >= 0.925
    assert agrees(0.55 - 0.05, None) < 0.05
    found = metrics.agreement([[1, 0], [1, 1]], 0.75, 2, rounding=0.01)
    half = metrics.Z95 * metrics.repeat_error([[1, 0], [1, 1]]) * math.sqrt(2) + 0.01
    assert (found["avg"], found["agrees"]) == (0.75, True)
    assert found["ci"] == [pytest.approx(0.75 - half), pytest.approx(0.75 + half)]
