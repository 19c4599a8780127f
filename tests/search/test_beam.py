"""The search, played by a function: no engine, no clock."""

import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cord_distill.search.beam import CARRIED, Ask, BeamSearch, Proposal
from cord_distill.types import Step, Stop


def proposal(ask: Ask, score: float, *, ends: Stop | None = None, usable: bool = True) -> Proposal:
    text = f"{ask.path}/{ask.teacher}.{ask.sample};"
    stop = ends or Stop.STEP
    return Proposal(Step(ask.step, f"t{ask.teacher}", text, (), 1, score, stop), ends, usable)


def searched(answer, order: int | None = None, **settings) -> BeamSearch:
    """A search of two teachers and four steps, played out; answers come in random order when `order` is given."""
    search = BeamSearch(num_teachers=2, max_steps=4, **settings)
    play(search, answer, random.Random(order) if order is not None else None)
    return search


def play(search: BeamSearch, answer, order: random.Random | None = None) -> int:
    """Answers every ask, in random order when `order` is given; returns how many were asked."""
    waiting: list[Ask] = []
    asked = 0
    while not search.done:
        new = search.expand()
        asked += len(new)
        waiting += new
        ask = waiting.pop(order.randrange(len(waiting)) if order else 0)
        search.absorb(ask, answer(ask))
    return asked


def test_greedy_follows_the_best_teacher_at_each_step():
    search = BeamSearch(beam_size=1, num_teachers=2, max_steps=3)
    scores = {(1, 0): 0.2, (1, 1): 0.3, (2, 0): 0.9, (2, 1): 0.1, (3, 0): 0.4, (3, 1): 0.5}
    play(search, lambda ask: proposal(ask, scores[ask.step, ask.teacher]))
    assert [step.teacher for step in search.best.steps] == ["t1", "t0", "t1"]
    assert search.best.stop is Stop.LENGTH
    assert search.best.score == 0.5


def test_selection_is_global_without_a_quota_per_parent():
    """Fails the version that keeps one child of every parent: here both survivors come from one parent."""
    search = BeamSearch(beam_size=2, num_teachers=2, max_steps=2)
    good_parent = ((0, 0),)
    play(search, lambda ask: proposal(ask, (0.8 if ask.path == good_parent else 0.3) + 0.01 * ask.teacher))
    second = search.candidates()[1]
    assert [c.parent for c in second if c.kept] == [1, 1]
    assert [c.score for c in second] == [0.81, 0.8, 0.31, 0.3]


def test_a_finished_beam_keeps_its_slot_and_its_score_while_others_go_on():
    search = BeamSearch(beam_size=2, num_teachers=1, first_step_proposals=2, max_steps=9)

    def answer(ask: Ask) -> Proposal:
        if ask.step == 1 and ask.sample == 0:
            return proposal(ask, 0.7, ends=Stop.THINK_END)
        return proposal(ask, 0.1 * ask.step, ends=Stop.THINK_END if ask.step == 4 else None)

    play(search, answer)
    assert search.best.score == 0.7
    assert [beam.score for beam in search.beams] == [0.7, 0.4]
    carried = [c for level in search.candidates()[1:] for c in level if c.sample == CARRIED]
    assert len(carried) == 3
    assert all(c.kept and c.score == 0.7 and c.text == "" for c in carried)


def test_a_finished_beam_can_be_pushed_out_by_better_live_ones():
    """Fails the version that takes a finished beam for safe."""
    search = BeamSearch(beam_size=1, num_teachers=2, max_steps=3)
    first_ends = {0: Stop.THINK_END, 1: None}

    def answer(ask: Ask) -> Proposal:
        return (
            proposal(ask, 0.5 - 0.1 * ask.teacher, ends=first_ends[ask.teacher])
            if ask.step == 1
            else proposal(ask, 0.9)
        )

    play(search, answer)
    assert search.best.stop is Stop.THINK_END and search.best.score == 0.5
    wide = BeamSearch(beam_size=2, num_teachers=2, max_steps=2)
    play(wide, answer)
    assert [beam.score for beam in wide.beams] == [0.9, 0.9]


def test_ties_go_by_parent_then_teacher_then_sample_never_by_arrival():
    """Fails the version that sorts by score alone, where whoever arrives first wins."""
    kept = set()
    for seed in range(20):
        search = BeamSearch(beam_size=2, num_teachers=3, max_steps=2)
        play(search, lambda ask: proposal(ask, 0.5 + 1e-9 * random.Random(str(ask)).random()), random.Random(seed))
        kept.add(tuple(c.text for c in search.candidates()[1] if c.kept))
    assert kept == {("((0, 0),)/0.0;", "((0, 0),)/1.0;")}


def test_unusable_proposals_are_recorded_and_never_kept():
    search = BeamSearch(beam_size=2, num_teachers=2, max_steps=1)
    play(search, lambda ask: proposal(ask, 0.9 - ask.teacher * 0.5, usable=ask.teacher == 1))
    (only,) = search.candidates()
    assert [(c.teacher, c.kept) for c in only] == [("t1", True), ("t0", False)]


def test_when_nobody_says_anything_the_search_aborts_with_what_it_had():
    search = BeamSearch(beam_size=2, num_teachers=2, max_steps=5)
    play(search, lambda ask: proposal(ask, 0.5, usable=ask.step < 2))
    assert search.best.stop is Stop.ABORT
    assert len(search.best.steps) == 1


def test_fewer_candidates_than_slots_are_all_kept():
    search = BeamSearch(beam_size=4, num_teachers=1, max_steps=2)
    play(search, lambda ask: proposal(ask, 0.5))
    assert [len(level) for level in search.candidates()] == [1, 1]


def test_an_answer_to_a_question_that_was_not_asked_is_an_error():
    search = BeamSearch(beam_size=1, num_teachers=1)
    (ask,) = search.expand()
    search.absorb(ask, proposal(ask, 0.5))
    with pytest.raises(KeyError):
        search.absorb(ask, proposal(ask, 0.5))


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    beam_size=st.integers(1, 6),
    teachers=st.integers(1, 3),
    first=st.integers(1, 3),
    proposals=st.integers(1, 3),
    digits=st.sampled_from([1, 2, 8]),
    p_end=st.sampled_from([0.0, 0.2, 0.6]),
    p_unusable=st.sampled_from([0.0, 0.1, 0.5]),
)
def test_the_order_of_arrival_changes_nothing(seed, beam_size, teachers, first, proposals, digits, p_end, p_unusable):
    """Random scores with ties, random arrival, finished beams, failed requests: the same candidates and beams.

    Fails the version that breaks ties by arrival, or numbers parents in the order in which they came in.
    """

    def answer(ask: Ask) -> Proposal:
        rng = random.Random(f"{seed}{ask.path}{ask.teacher}{ask.sample}")
        ends = Stop.THINK_END if rng.random() < p_end else None
        return proposal(ask, round(rng.random(), digits), ends=ends, usable=rng.random() >= p_unusable)

    def searched(order: int | None) -> BeamSearch:
        search = BeamSearch(
            beam_size=beam_size,
            num_teachers=teachers,
            proposals_per_teacher=proposals,
            first_step_proposals=first,
            max_steps=5,
        )
        play(search, answer, random.Random(order) if order is not None else None)
        return search

    in_turn = searched(None)
    for order in range(3):
        shuffled = searched(order)
        assert shuffled.candidates() == in_turn.candidates()
        assert shuffled.beams == in_turn.beams


def test_a_step_begins_when_the_last_proposal_of_the_one_before_is_in():
    """Fails the version that goes on with some beams while proposals are missing that could push them out."""
    search = BeamSearch(beam_size=2, num_teachers=3)
    asks = search.expand()
    for rank, ask in enumerate(asks):
        assert search.expand() == []
        search.absorb(ask, proposal(ask, 0.5 + 0.1 * rank))
    assert [ask.path for ask in search.expand()] == [((2, 0),)] * 3 + [((1, 0),)] * 3


def test_the_search_loads_no_engine():
    heavy = "torch vllm transformers trl datasets"
    loaded = f"print([m for m in '{heavy}'.split() if m in sys.modules])"
    code = f"import sys, cord_distill.search.beam, cord_distill.decode.model; {loaded}"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
