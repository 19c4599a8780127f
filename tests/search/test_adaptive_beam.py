"""More than B candidates live on where the scores hardly differ (`decode.adaptive_beam`)."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_beam import play, proposal, searched

from cord_distill.common.errors import CordError
from cord_distill.recipe.file import load_recipe
from cord_distill.search.adaptive import AdaptiveBeam
from cord_distill.search.beam import Ask, BeamSearch, Proposal
from cord_distill.types import Stop


def test_the_plain_beam_is_always_kept_and_more_while_they_are_close_to_the_best():
    """Fails the version that compares neighbours: here each is close to the one before it."""
    keep = AdaptiveBeam(beam_size=2, max_beam=5, spread=0.25)
    assert keep([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]) == 3
    assert keep([0.9, 0.1, 0.1]) == 2
    assert keep([0.5] * 9) == 5
    assert keep([0.5]) == 1 and keep([]) == 0


def test_a_gap_of_exactly_the_spread_is_too_large():
    """Fails the version that compares unrounded differences: 0.9 - 0.8 is below 0.1 in floating point."""
    assert AdaptiveBeam(1, 4, 0.1)([0.9, 0.8]) == 1
    assert AdaptiveBeam(1, 4, 0.0)([0.5, 0.5]) == 1


def test_a_flat_step_keeps_more_and_the_next_informative_one_prunes_them():
    """Step 1 scores alike and the right prefix is last of three: the plain beam of one has lost it there."""

    def answer(ask: Ask) -> Proposal:
        score = [0.42, 0.41, 0.40][ask.teacher] if ask.step == 1 else 0.9 if ask.path[0] == (2, 0) else 0.1
        return proposal(ask, score)

    def search(width):
        search = BeamSearch(beam_size=1, num_teachers=3, max_steps=2, width=width)
        play(search, answer)
        return search

    wide = search(AdaptiveBeam(1, 3, 0.25))
    assert [sum(c.kept for c in level) for level in wide.candidates()] == [3, 3]
    assert wide.best.score == 0.9
    assert search(None).best.score == 0.1
    assert [sum(c.kept for c in level) for level in search(AdaptiveBeam(1, 2, 0.25)).candidates()] == [2, 2]


@pytest.mark.parametrize("spread", [0.0, 0.3])
@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    beam_size=st.integers(1, 4),
    extra=st.integers(0, 6),
    proposals=st.integers(1, 2),
    p_end=st.sampled_from([0.0, 0.3]),
    p_unusable=st.sampled_from([0.0, 0.4]),
)
def test_spread_0_is_the_plain_beam_and_no_arrival_changes_anything(
    spread, seed, beam_size, extra, proposals, p_end, p_unusable
):
    """Fails the version that decides the width before the last score of a step is in."""

    def answer(ask: Ask) -> Proposal:
        rng = random.Random(f"{seed}{ask.path}{ask.teacher}{ask.sample}")
        ends = Stop.THINK_END if rng.random() < p_end else None
        made = proposal(ask, round(rng.random(), 2), ends=ends)
        return replace(made, usable=False, error="empty step") if rng.random() < p_unusable else made

    def results(width, order=None):
        settings = {"beam_size": beam_size, "proposals_per_teacher": proposals, "width": width}
        search = searched(answer, order, **settings)
        return search.candidates(), search.beams

    keep = AdaptiveBeam(beam_size, beam_size + extra, spread)
    waited = results(keep)
    assert results(keep, order=1) == waited
    if spread == 0:
        assert waited == results(None)
    for level in waited[0]:
        kept = [c.score for c in level if c.kept]
        assert len(kept) <= beam_size + extra
        assert all(round(kept[0] - score, 6) < spread for score in kept[beam_size:])
        assert len(kept) >= min(beam_size, sum(c.error is None for c in level))


def test_a_maximum_below_the_beam_is_refused_with_the_fix():
    with pytest.raises(CordError, match=r"max_beam 3 is less than beam_size 4.*raise it, or lower beam_size"):
        load_recipe("quickstart", ["decode.adaptive_beam={max_beam: 3, spread: 0.25}"])


def test_more_room_is_kept_for_a_wider_beam():
    """Fails the version that admits problems by beam_size alone: their wider beams would not fit into the KV cache."""
    from cord_distill.decode.admission import growth

    recipe = load_recipe("quickstart", ["decode.adaptive_beam={max_beam: 8, spread: 0.25}"])
    assert growth(recipe.decode) == 2 * growth(load_recipe("quickstart").decode) == 8 * 2 * 30
