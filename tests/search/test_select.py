import math

import pytest

from cord_distill.search.seeds import keyed_seed
from cord_distill.search.select import (
    aggregate,
    order_key,
    predictive_perplexity,
    random_value,
    share_right,
    step_reward,
)


def test_predictive_perplexity_is_the_geometric_mean_probability():
    assert predictive_perplexity([math.log(0.5), math.log(0.125)]) == pytest.approx(0.25)
    assert predictive_perplexity([0.0]) == 1.0


def test_an_answer_without_tokens_has_no_score():
    with pytest.raises(ValueError, match="no tokens"):
        predictive_perplexity([])


def test_a_reward_is_the_probability_that_the_head_gives_to_a_good_step():
    """Two outputs (bad, good) as Qwen2.5-Math-PRM has, one output as a plain reward head has."""
    assert step_reward([0.0, math.log(3)]) == pytest.approx(0.75)
    assert step_reward([0.0, math.log(3)], output=0) == pytest.approx(0.25)
    assert step_reward([math.log(3)]) == pytest.approx(0.75)
    assert step_reward([-2.5], "none") == -2.5
    assert step_reward([1.0, math.log(3)], "sigmoid") == pytest.approx(0.75)


def test_a_head_that_is_very_sure_overflows_nothing():
    assert step_reward([5000.0, -5000.0]) == pytest.approx(0.0, abs=1e-300)
    assert step_reward([-5000.0, 5000.0]) == 1.0
    assert step_reward([-5000.0]) == pytest.approx(0.0, abs=1e-300)


def test_an_output_that_the_head_does_not_have():
    with pytest.raises(IndexError):
        step_reward([0.0, 1.0], output=2)


@pytest.mark.parametrize(("how", "value"), [("last", 0.5), ("min", 0.25), ("mean", 0.5)])
def test_rewards_become_one_value(how, value):
    assert aggregate([0.75, 0.25, 0.5], how) == value
    assert aggregate([0.125], how) == 0.125


def test_a_trace_without_steps_has_no_reward():
    with pytest.raises(ValueError, match="no steps"):
        aggregate([], "last")


def test_the_share_of_right_completions():
    assert share_right([True, False, True, True]) == 0.75
    assert share_right([False]) == 0.0
    with pytest.raises(ValueError, match="no completion"):
        share_right([])


def test_a_random_value_is_its_seed_between_0_and_1():
    assert random_value(0) == 0.0
    assert random_value(2**47) == 0.5
    assert random_value(2**48 - 1) < 1.0
    values = [random_value(keyed_seed(0, "random", i)) for i in range(4000)]
    assert 0.49 < sum(values) / 4000 < 0.51 and len(set(values)) == 4000


def test_scores_that_differ_by_less_than_1e_6_are_ties():
    assert order_key(0.5, 0, 1, 0) > order_key(0.5 - 4e-7, 0, 0, 0)
    assert order_key(0.5, 0, 1, 0) < order_key(0.499, 0, 0, 0)


def test_seeds_depend_on_every_part_and_on_nothing_else():
    """Fails the version with one global stream, where a seed depends on how many were drawn before."""
    a = keyed_seed(0, "p1", [[0, 0]], 2, 1, 0)
    assert a == keyed_seed(0, "p1", [[0, 0]], 2, 1, 0) == keyed_seed(0, "p1", ((0, 0),), 2, 1, 0)
    others = [
        keyed_seed(1, "p1", [[0, 0]], 2, 1, 0),
        keyed_seed(0, "p2", [[0, 0]], 2, 1, 0),
        keyed_seed(0, "p1", [], 2, 1, 0),
    ]
    assert len({a, *others}) == 4
    assert 0 <= a < 2**48
