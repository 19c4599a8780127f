import math

import pytest

from cord_distill.search.seeds import keyed_seed
from cord_distill.search.select import is_certain, order_key, predictive_perplexity


def test_predictive_perplexity_is_the_geometric_mean_probability():
    assert predictive_perplexity([math.log(0.5), math.log(0.125)]) == pytest.approx(0.25)
    assert predictive_perplexity([0.0]) == 1.0


def test_an_answer_without_tokens_has_no_score():
    with pytest.raises(ValueError, match="no tokens"):
        predictive_perplexity([])


def test_scores_that_differ_by_less_than_1e_6_are_ties():
    assert order_key(0.5, (), 1, 0) > order_key(0.5 - 4e-7, (), 0, 0)
    assert order_key(0.5, (), 1, 0) < order_key(0.499, (), 0, 0)


@pytest.mark.parametrize(
    ("rank", "outstanding", "certain"), [(1, 3, True), (2, 3, False), (4, 0, True), (5, 0, False), (1, 4, False)]
)
def test_certain_means_that_even_the_best_stragglers_leave_a_slot(rank, outstanding, certain):
    assert is_certain(rank, 4, outstanding) is certain


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
