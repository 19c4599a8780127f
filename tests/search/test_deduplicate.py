"""Of the candidates of one step that say the same, the best alone takes part (`decode.deduplicate`)."""

import random
from collections.abc import Hashable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_beam import play, searched

from cord_distill.common.errors import CordError
from cord_distill.decode.pipelines.hooks import state_key
from cord_distill.recipe.decode import DecodeConfig
from cord_distill.search.beam import CARRIED, Ask, BeamSearch, Proposal
from cord_distill.search.deduplicate import REPEATED, text_key
from cord_distill.types import Beam, Problem, Step, Stop
from cord_distill.worlds.ledger.world import make_problem

PROBLEM = Problem("p", "Q", "1")


def says(ask: Ask, text: str, score: float, ends: Stop | None = None) -> Proposal:
    return Proposal(Step(ask.step, f"t{ask.teacher}", text, (), 1, score, ends or Stop.STEP), ends)


def test_equal_steps_of_one_prefix_keep_only_the_best_whatever_their_white_space():
    """Fails the version that keeps the first to arrive, and the one that compares texts letter by letter."""
    search = BeamSearch(beam_size=2, num_teachers=3, max_steps=1, state_key=text_key)
    said = [(" so  3.\n\n", 0.5), (" so 3.\n", 0.7), (" so 4.\n", 0.2)]
    play(search, lambda ask: says(ask, *said[ask.teacher]))
    (level,) = search.candidates()
    assert [(c.teacher, c.kept, c.error) for c in level] == [
        ("t1", True, None), ("t2", True, None), ("t0", False, REPEATED),
    ]  # fmt: skip
    assert level[2].score == 0.5


def test_equal_words_after_different_prefixes_are_different():
    """Fails the version that compares the last step alone: "So done." after 3 and after 4 are two traces."""
    search = BeamSearch(beam_size=2, num_teachers=2, max_steps=2, state_key=text_key)
    play(search, lambda ask: says(ask, f"x={ask.teacher};" if ask.step == 1 else "So done.", 0.5))
    assert [(c.parent, c.kept) for c in search.candidates()[1]] == [(0, True), (1, True), (0, False), (1, False)]


def test_a_finished_trace_and_a_live_one_are_never_the_same():
    """Fails the version in which the end of a turn removes the equal step that would have gone on."""
    search = BeamSearch(beam_size=2, num_teachers=2, max_steps=2, state_key=lambda beam: "one state")
    play(search, lambda ask: says(ask, "a", 0.5 - 0.1 * ask.teacher, None if ask.teacher else Stop.EOS))
    first, second = search.candidates()
    assert [c.kept for c in first] == [True, True]
    assert [(c.sample, c.stop, c.kept) for c in second if c.kept] == [(CARRIED, Stop.EOS, True), (0, Stop.STEP, True)]


def test_a_key_of_none_equals_nothing():
    search = BeamSearch(beam_size=3, num_teachers=3, max_steps=1, state_key=lambda beam: None)
    play(search, lambda ask: says(ask, "a", 0.5))
    assert [c.kept for c in search.candidates()[0]] == [True] * 3


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    beam_size=st.integers(1, 5),
    proposals=st.integers(1, 3),
    keys=st.integers(1, 4),
    p_end=st.sampled_from([0.0, 0.3]),
)
def test_no_two_kept_are_equal_each_key_keeps_its_best_and_arrival_changes_nothing(
    seed, beam_size, proposals, keys, p_end
):
    def key(beam: Beam) -> Hashable:
        return random.Random(f"{seed}{beam.text}").randrange(keys)

    def answer(ask: Ask) -> Proposal:
        rng = random.Random(f"{seed}{ask.path}{ask.teacher}{ask.sample}")
        ends = Stop.THINK_END if rng.random() < p_end else None
        return says(ask, f"{ask.path}/{ask.teacher}.{ask.sample};", round(rng.random(), 1), ends)

    settings = {"beam_size": beam_size, "proposals_per_teacher": proposals, "state_key": key}
    waited = searched(answer, **settings)
    late = searched(answer, order=1, **settings)
    assert (late.candidates(), late.beams) == (waited.candidates(), waited.beams)
    survivors = [(beam.stop is Stop.LENGTH, key(beam)) for beam in waited.beams]
    assert len(set(survivors)) == len(survivors)
    for level in waited.candidates():
        kept = [c.score for c in level if c.kept]
        assert 1 <= len(kept) <= min(beam_size, 2 * keys)
        assert kept == sorted(kept, reverse=True) and kept[0] == max(c.score for c in level)


def test_the_toy_worlds_key_is_step_and_value_and_an_unreadable_step_equals_none():
    """Two teachers reach 1=2 in different words; a third slips. Fails the text key, for which all three differ."""
    problem = make_problem("p", 6, ["~8", "+8"])
    texts = [
        "### Step 1. Flip to 8 minus it. It was 6, so box 1 = 2\n\n",
        "### Step 1. Flip to 8 minus it. We have 6, hence box 1 = 2\n\n",
        "### Step 1. Flip to 8 minus it. It was 6, so box 1 = 4\n\n",
        "?",
    ]
    beams = [Beam((Step(1, "t", text, (), 1, 0.5, Stop.STEP),)) for text in texts]
    by_state = state_key(DecodeConfig(deduplicate="cord_distill.worlds.ledger.world:state_key"), problem)
    assert [by_state(beam) for beam in beams] == [(1, 2), (1, 2), (1, 4), None]
    assert len({text_key(beam) for beam in beams}) == 4


def unhashable(problem, step_texts):
    return [step_texts]


def failing(problem, step_texts):
    raise ZeroDivisionError("division by zero")


def test_a_key_function_that_cannot_be_used_is_named():
    beam = Beam((Step(1, "t", "a", (), 1, 0.5, Stop.STEP),))
    with pytest.raises(CordError, match=r"decode.deduplicate: 'test_deduplicate:unhashable' gave a list"):
        state_key(DecodeConfig(deduplicate="test_deduplicate:unhashable"), PROBLEM)(beam)
    with pytest.raises(CordError, match=r"decode.deduplicate: .* on problem 'p' failed \(.*, line \d+\): ZeroDivision"):
        state_key(DecodeConfig(deduplicate="test_deduplicate:failing"), PROBLEM)(beam)
    with pytest.raises(ValueError, match=r"not of the form package.module:function"):
        DecodeConfig(deduplicate="texts")
