"""Do the 95 % intervals hold the truth in 95 of 100 cases? python benchmarks/coverage.py [--runs 1500] [--quick]

Problems with difficulties from a Beta distribution are drawn, k answers to each; an interval is right when it holds the
mean of that distribution (avg@k, pass@k: over problems), or for `--calibrate` when a second run on the same problems
agrees with the first. docs/evaluation.md quotes the shares. Two minutes on one core; --quick shows that it runs.
"""

from __future__ import annotations

import argparse
import random

from cord_distill import metrics

# Alpha and beta of the difficulties: spread to both ends, hard, in the middle, easy.
SHAPES = ((0.4, 0.6), (0.3, 1.5), (2.0, 2.0), (1.5, 0.3))
PROBLEMS, SAMPLES, PUBLISHED = 30, 16, 16
PASS_KS = (4, 16)
CALIBRATION = ((30, 4), (30, 8), (30, 16), (500, 4))
POPULATION = 20_000


def drawn(stream: random.Random, shares: list[float], k: int) -> list[list[bool]]:
    return [[stream.random() < share for _ in range(k)] for share in shares]


def coverage(shape: tuple[float, float], runs: int) -> dict[str, float]:
    """The share of intervals that hold the truth, by figure."""
    stream = random.Random(0)
    alpha, beta = shape
    population = [stream.betavariate(alpha, beta) for _ in range(POPULATION)]
    truth = {"avg": alpha / (alpha + beta)}
    truth |= {f"pass@{k}": metrics.mean([1 - (1 - share) ** k for share in population]) for k in PASS_KS}
    hits = dict.fromkeys(truth, 0)
    for _ in range(runs):
        groups = drawn(stream, [stream.betavariate(alpha, beta) for _ in range(PROBLEMS)], SAMPLES)
        found = {"avg": metrics.clustered_interval(groups)}
        found |= {f"pass@{k}": metrics.pass_at_k_interval(groups, k) for k in PASS_KS}
        for name, (low, high) in found.items():
            hits[name] += low <= truth[name] <= high
    return {name: count / runs for name, count in hits.items()}


def calibrated(shape: tuple[float, float], problems: int, k: int, runs: int) -> float:
    """How often two runs of one model on the same problems agree (95 % is due)."""
    stream = random.Random(0)
    agree = 0
    for _ in range(runs):
        shares = [stream.betavariate(*shape) for _ in range(problems)]
        published = metrics.avg_at_k(drawn(stream, shares, PUBLISHED))
        agree += bool(metrics.agreement(drawn(stream, shares, k), published, PUBLISHED)["agrees"])
    return agree / runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1500)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    runs = 20 if arguments.quick else arguments.runs
    for shape in SHAPES:
        said = ", ".join(f"{name} {share:.1%}" for name, share in coverage(shape, runs).items())
        print(f"Beta{shape}, {PROBLEMS} x {SAMPLES}: {said}", flush=True)
    for problems, k in CALIBRATION:
        said = ", ".join(f"{calibrated(shape, problems, k, max(runs // 3, 1)):.1%}" for shape in SHAPES)
        print(f"--calibrate, {problems} x {k}: {said}", flush=True)


if __name__ == "__main__":
    main()
