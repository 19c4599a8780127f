"""What an ablation says of a variant, on results whose figures are known by hand."""

from __future__ import annotations

import pytest
from made_rows import made_row

from cord_distill.ablation.figures import Difference, Result, at_equal_tokens, difference, figures, results_of, verdict


def results(right: str, tokens: int = 100, valid: str | None = None, seed: int = 0) -> dict:
    """One result per character: `1` right, `0` wrong, `x` failed. valid: the same for the steps (default: as right)."""
    made = {}
    for i, (r, v) in enumerate(zip(right, valid or right, strict=True)):
        if r == "x":
            made[seed, f"p{i}"] = Result(0.0, 0.0, failed=True)
        else:
            made[seed, f"p{i}"] = Result(float(r), float(v), (v == "1",), 0.5, tokens, 10 * tokens)
    return made


def test_a_failed_problem_is_wrong_and_said_and_its_zero_tokens_lower_no_mean() -> None:
    """Fails the share over finished problems only, which a variant gains by failing on what is hard."""
    found = figures(results("110x", tokens=80))
    assert (found.num_problems, found.failed, found.wrong) == (4, 1, 2)
    assert (found.right, found.valid) == (0.5, 0.5)
    assert found.right_ci == pytest.approx([0.15004, 0.84996], abs=1e-5)  # Wilson, 2 of 4
    assert (found.generated, found.scored, found.score) == (80.0, 800.0, 0.5)
    assert found.step_accuracy == pytest.approx(2 / 3, abs=1e-6)


def test_seeds_are_pooled_and_shown_apart() -> None:
    found = figures({**results("1110", seed=0), **results("10", seed=7)})
    assert found.right == pytest.approx(4 / 6, abs=1e-6)
    assert found.right_by_seed == {"0": 0.75, "7": 0.5}
    assert found.right_sd == pytest.approx(0.176777, abs=1e-6)
    assert figures(results("10")).right_sd is None


def test_lucky_is_the_share_of_right_answers_with_a_wrong_step() -> None:
    assert figures(results("1110", valid="1000")).lucky == pytest.approx(2 / 3, abs=1e-6)
    assert figures(results("000")).lucky is None


def test_without_a_process_check_nothing_is_said_of_steps() -> None:
    """Fails the version that takes what was not measured for wrong."""
    row = {**made_row(0), "checks": {}}
    found = figures(results_of([row, made_row(1, error="gone")], seed=0, checked=False))
    assert (found.valid, found.valid_ci, found.valid_by_seed, found.lucky) == (None, None, {}, None)
    assert (found.right, found.failed) == (0.5, 1)
    both = results_of([row], 0, checked=False)
    assert difference(both, both, "valid") is None and at_equal_tokens(both, {"plain": both}, "valid") is None


def test_rows_become_results_and_the_last_of_a_problem_counts() -> None:
    rows = [made_row(0, error="gone"), made_row(0, wrong_steps=1), made_row(1, correct=False)]
    found = results_of(rows, seed=3, checked=True)
    assert list(found) == [(3, "p0"), (3, "p1")]
    assert (found[3, "p0"].right, found[3, "p0"].valid, found[3, "p0"].generated) == (1.0, 0.0, 700)
    assert (found[3, "p1"].right, found[3, "p1"].valid, found[3, "p1"].failed) == (0.0, 1.0, False)


def test_a_difference_is_paired_by_problem() -> None:
    """Fails the difference of two independent shares, whose interval would leave room for 0 here."""
    b = results("1100110011" * 10)
    a = {key: Result(1.0, 1.0) if i % 10 == 2 else r for i, (key, r) in enumerate(b.items())}
    found = difference(a, b)
    assert found is not None
    assert (found.difference, found.num_problems, found.by_seed) == (0.1, 100, {"0": 0.1})
    assert 0 < found.ci[0] < 0.1 < found.ci[1] < 0.2


def test_a_difference_is_over_the_problems_that_both_have() -> None:
    """Fails the difference of the two pooled shares, here 0.5 - 0.75, where the second seed is not done yet."""
    a = results("10")
    b = {**results("10"), **results("11", seed=1)}
    found = difference(a, b)
    assert found is not None and (found.difference, found.num_problems) == (0.0, 2)
    assert difference(results("1", seed=0), results("1", seed=1)) is None
    assert difference({}, {}) is None


def test_the_reference_at_equal_tokens_is_a_mixture_that_spends_the_same() -> None:
    """Fails the nearest size as reference, and any that compares at unequal cost."""
    plain = {"small": results("1000", tokens=100), "large": results("1110", tokens=300)}
    found = at_equal_tokens(results("1111", tokens=150), plain)
    assert found is not None
    assert found.reference == {"small": 0.75, "large": 0.25}
    assert (found.reference_share, found.reference_tokens, found.tokens) == (0.375, 150.0, 150.0)
    assert found.difference == 0.625  # 0, 0.75, 0.75, 1 over four problems


def test_a_size_that_is_cheaper_and_better_is_the_reference() -> None:
    """Fails interpolation alone: where more tokens made the plain search worse, it would hand the option a win."""
    plain = {"small": results("1110", tokens=100), "large": results("1000", tokens=300)}
    found = at_equal_tokens(results("1110", tokens=200), plain)
    assert found is not None
    assert (found.reference, found.difference, found.verdict) == ({"small": 1.0}, 0.0, "no clear difference")


def test_dearer_than_every_size_is_held_against_the_best_and_cheaper_than_all_against_none() -> None:
    plain = {"small": results("1000", tokens=100), "large": results("1110", tokens=300)}
    dear = at_equal_tokens(results("1111", tokens=900), plain)
    assert dear is not None and (dear.reference, dear.reference_tokens) == ({"large": 1.0}, 300.0)
    assert at_equal_tokens(results("1111", tokens=99), plain) is None


def test_equal_tokens_are_counted_on_the_shared_problems() -> None:
    plain = {"one": {**results("11", tokens=100), **results("00", tokens=900, seed=1)}}
    found = at_equal_tokens(results("11", tokens=100), plain)
    assert found is not None and (found.reference_tokens, found.difference) == (100.0, 0.0)
    assert at_equal_tokens(results("1", seed=2), plain) is None


@pytest.mark.parametrize(
    ("low", "high", "seeds", "said"),
    [
        (0.01, 0.2, {"0": 0.1, "1": 0.02}, "wins"),
        (-0.2, -0.01, {"0": -0.1, "1": -0.02}, "loses"),
        (-0.01, 0.2, {"0": 0.1, "1": 0.1}, "no clear difference"),
        (0.01, 0.2, {"0": 0.3, "1": -0.01}, "no clear difference"),  # one seed says the opposite
        (0.0, 0.2, {"0": 0.1, "1": 0.1}, "no clear difference"),
    ],
)
def test_a_verdict_needs_an_interval_without_0_and_all_seeds(low, high, seeds, said) -> None:
    assert verdict(Difference(0.0, [low, high], seeds, 1)) == said
