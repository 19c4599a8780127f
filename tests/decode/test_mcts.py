"""Monte Carlo tree search, played by a function; then whole runs on the scripted engine."""

import json
import math
import random
import subprocess
import sys
from collections import Counter

import pytest
from journals import calls, cut_anywhere
from scripted_world import run, write_recipe
from test_cord import answering, outcome

from cord_distill.decode.row_schema import validate_row
from cord_distill.search.beam import Ask, Proposal
from cord_distill.search.mcts import Node, TreeSearch, upper_confidence_bound
from cord_distill.types import Beam, Step, Stop, Trajectory


def proposal(ask: Ask, score: float | None = None, *, usable: bool = True) -> Proposal:
    """With a score the trace is finished, without one it goes on."""
    text = f"{ask.teacher}.{ask.sample};"
    ends = Stop.THINK_END if score is not None else None
    step = Step(ask.step, f"t{ask.teacher}", text, (), 1, score, ends or Stop.STEP)
    return Proposal(step, ends, usable, None if usable else "empty step")


def play(search: TreeSearch, answer) -> list[Ask]:
    """Answers every ask; gives them in order. At most one is open at a time."""
    asked = []
    while not search.done:
        (ask,) = search.expand()
        assert search.expand() == []
        asked.append(ask)
        search.absorb(ask, answer(ask))
    assert search.expand() == []
    return asked


def ending_at(depth: int, reward):
    """Every trace ends at `depth` with `reward(path)`."""

    def answer(ask: Ask) -> Proposal:
        path = (*ask.path, (ask.teacher, ask.sample))
        return proposal(ask, reward(path) if ask.step == depth else None)

    return answer


def visits(search: TreeSearch) -> dict[int, int]:
    return {choice[0]: child.visits for choice, child in search.root.children.items()}


def test_the_bound_is_mean_reward_plus_c_times_root_of_ln_n_over_n():
    node = Node(((0, 0),), Beam(), visits=4, total=2.0)
    assert upper_confidence_bound(node, 16, 1.0) == pytest.approx(0.5 + math.sqrt(math.log(16) / 4))
    assert upper_confidence_bound(node, 16, 0.0) == 0.5


@pytest.mark.parametrize(
    ("exploration", "expected"),
    [
        # After one visit each, teacher 0 (reward 1) is better; with c = 0.5 it keeps the lead until its four traces are
        # found. With c = 3 the fifth bound is 1 + 3 sqrt(ln 4 / 3) = 3.04 against 0 + 3 sqrt(ln 4 / 1) = 3.53.
        (0.5, {0: 4, 1: 1}),
        (3.0, {0: 3, 1: 2}),
    ],
)
def test_five_rollouts_on_a_tiny_tree_have_these_visits(exploration, expected):
    """Fails a bound without its logarithm, with the wrong parent's visits, and rollouts spread evenly."""
    search = TreeSearch(num_teachers=2, rollouts=5, exploration=exploration)
    play(search, ending_at(3, lambda path: float(path[0] == (0, 0))))
    assert visits(search) == expected
    assert search.root.visits == 5 and search.root.total == expected[0]
    assert [child.value for _, child in sorted(search.root.children.items())] == [1.0, 0.0]
    assert search.best.steps[0].teacher == "t0"


def test_the_first_choice_below_known_ground_is_the_expansion_and_every_prefix_is_asked_once():
    """Fails the version that samples a rollout anew through prefixes that it has."""
    search = TreeSearch(num_teachers=2, rollouts=8, exploration=1.0, proposals_per_teacher=2)
    asked = play(search, ending_at(4, lambda path: 0.1 * path[-1][0]))
    names = [(ask.path, ask.teacher, ask.sample) for ask in asked]
    assert len(names) == len(set(names))
    assert len(search.finished) == 8
    # Four rollouts try the four choices of the root; the others expand below it.
    assert [ask.step for ask in asked[:16]] == [1, 2, 3, 4] * 4
    assert [ask.step for ask in asked[16:]] == [2, 3, 4] * 4


def test_one_rollout_is_one_trace():
    search = TreeSearch(num_teachers=3, rollouts=1, exploration=1.0)
    asked = play(search, ending_at(5, lambda path: 0.25))
    assert [ask.step for ask in asked] == [1, 2, 3, 4, 5]
    assert search.best.score == 0.25 and search.best.stop is Stop.THINK_END
    assert [len(level) for level in search.candidates()] == [1] * 5


def test_all_finished_at_step_one_ends_when_nothing_is_left_to_find():
    """Fails the version that goes on to visit finished traces until its rollouts are spent."""
    search = TreeSearch(num_teachers=3, rollouts=12, exploration=1.0)
    assert len(play(search, ending_at(1, lambda path: 0.1 + 0.1 * path[0][0]))) == 3
    assert search.root.visits == 3
    assert search.best.score == pytest.approx(0.3)
    (only,) = search.candidates()
    assert [(c.teacher, c.kept, c.parent) for c in only] == [("t2", True, 0), ("t1", True, 0), ("t0", True, 0)]


def test_all_rollouts_fail_at_step_one():
    search = TreeSearch(num_teachers=3, rollouts=12, exploration=1.0)
    assert len(play(search, lambda ask: proposal(ask, usable=False))) == 3
    assert search.best == Beam((), Stop.ABORT)
    (only,) = search.candidates()
    assert [(c.kept, c.score, c.error) for c in only] == [(False, None, "empty step")] * 3


def test_all_rollouts_fail_later_within_their_number():
    """Fails the version in which a dead end costs no rollout: it would look through the whole tree."""
    search = TreeSearch(num_teachers=3, rollouts=4, exploration=1.0)
    asked = play(search, lambda ask: proposal(ask, usable=ask.step < 6))
    assert search.best.stop is Stop.ABORT
    assert search.root.visits == 4 and search.root.total == 0.0
    assert len(asked) <= 4 * (5 + 3)


def test_silence_in_a_rollout_is_recorded_and_another_choice_is_taken():
    search = TreeSearch(num_teachers=2, rollouts=1, exploration=1.0)
    asked = play(search, lambda ask: proposal(ask, 0.5 if ask.step == 3 else None, usable=ask.teacher == 1))
    assert [step.teacher for step in search.best.steps] == ["t1"] * 3
    silent = [c for level in search.candidates() for c in level if not c.kept]
    assert len(asked) == 3 + len(silent) and {c.teacher for c in silent} <= {"t0"}


def test_ties_go_by_teacher_and_the_first_found():
    """Four equal rewards: the fourth rollout goes on under teacher 0; the best of equal traces is the first."""
    search = TreeSearch(num_teachers=3, rollouts=4, exploration=1.0, seed=5)
    asked = play(search, ending_at(2, lambda path: 0.5 + 1e-9 * path[0][0]))
    assert visits(search) == {0: 2, 1: 1, 2: 1}
    assert search.best.steps[0].teacher == f"t{asked[0].teacher}"


def test_untried_choices_are_drawn_without_favour():
    """Fails the version that always begins with the first teacher."""
    first = Counter(
        search.expand()[0].teacher
        for search in (TreeSearch(num_teachers=3, rollouts=1, exploration=1.0, seed=seed) for seed in range(300))
    )
    assert all(70 <= first[teacher] <= 130 for teacher in range(3))


def test_the_tree_can_be_read_from_the_candidates():
    """parent is the place among the kept of the depth before; a score is the mean reward of the rollouts through it."""
    rng = random.Random(1)
    rewards: dict = {}
    search = TreeSearch(num_teachers=2, rollouts=9, exploration=0.7)
    play(search, ending_at(4, lambda path: rewards.setdefault(path, round(rng.random(), 2))))
    columns = search.candidates()
    kept = [[c for c in column if c.kept] for column in columns]
    through: dict = {}
    for candidate in columns[-1]:
        chain = [candidate]
        for column in reversed(kept[:-1]):
            chain.insert(0, column[chain[0].parent])
        path = tuple((int(c.teacher[1:]), c.sample) for c in chain)
        assert candidate.score == rewards[path]
        for one in chain:
            through.setdefault(id(one), []).append(rewards[path])
    assert len(rewards) == 9
    for column in columns:
        assert [c.score for c in column] == sorted((c.score for c in column), reverse=True)
        for candidate in column:
            found = through[id(candidate)]
            assert candidate.score == pytest.approx(sum(found) / len(found))


def test_what_was_not_asked_or_has_no_reward_is_an_error():
    search = TreeSearch(num_teachers=1, rollouts=2, exploration=1.0)
    (ask,) = search.expand()
    with pytest.raises(ValueError, match="without a score"):
        search.absorb(ask, Proposal(Step(1, "t0", "x", (), 1, None, Stop.EOS), Stop.EOS))
    search.absorb(ask, proposal(ask))
    with pytest.raises(KeyError):
        search.absorb(ask, proposal(ask))


def test_the_search_loads_no_engine():
    loaded = "print([m for m in 'torch vllm transformers asyncio'.split() if m in sys.modules])"
    code = f"import sys, cord_distill.search.mcts; {loaded}"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


# The pipeline, with a teacher that misbehaves.


def test_the_best_rollout_gets_an_answer(renderer):
    say = answering(lambda n: (" one.\n\n### Step", "### Step") if n < 3 else (" so 2.\n</think>", "</think>"))
    made = outcome(renderer, say, "mcts")
    assert made.stop is Stop.THINK_END and made.final_answer_text == " It is \\boxed{2}."
    assert [s.text for s in made.steps] == [
        "### Step 1. one.\n\n", "### Step 2. one.\n\n", "### Step 3. so 2.\n</think>",
    ]  # fmt: skip
    assert [s.score for s in made.steps] == [None, None, pytest.approx(math.exp(-0.5))]
    assert made.score == made.steps[-1].score


# Whole runs on the scripted engine.


@pytest.fixture
def recipe_path(tmp_path, random_models):
    return write_recipe(tmp_path, random_models, pipeline="mcts")


def test_rows_are_whole_and_hold_as_many_rollouts_as_the_beam_has_proposals_per_step(recipe_path):
    rows = [json.loads(line) for line in run(recipe_path).splitlines()]
    assert len(rows) == 7
    for row in rows:
        validate_row(row)
        made = Trajectory.from_row(row)
        assert row["pipeline"] == "mcts" and row["error"] is None
        assert made.reasoning.endswith("</think>") and made.score == made.steps[-1].score
        ended = [c for column in made.candidates for c in column if c.stop is Stop.THINK_END]
        assert len(ended) == 6  # beam_size 2 x 3 teachers
        assert max(c.score for c in ended) == made.score
        assert len({c.teacher for column in made.candidates for c in column}) == 3


def test_any_number_in_flight_and_a_journal_cut_anywhere_give_the_same_bytes(recipe_path, tmp_path, kept_calls):
    """Fails draws from one stream, results that hang on arrival, and a resume that asks finished calls again."""
    one = run(recipe_path, f"output_dir={tmp_path}/1", "decode.problems_in_flight=1")
    seven = run(recipe_path, f"output_dir={tmp_path}/7", "decode.problems_in_flight=7")
    assert one == seven
    journal = tmp_path / "1" / "journal"
    made = sorted(calls(journal))
    rng = random.Random(0)
    for _ in range(4):
        cut_anywhere(journal, rng)
        assert run(recipe_path, f"output_dir={tmp_path}/1") == one
        assert sorted(calls(journal)) == made and len(made) == len(set(made))


def test_rollouts_and_exploration_are_keys_that_change_something(recipe_path, tmp_path):
    few = run(recipe_path, f"output_dir={tmp_path}/few", "decode.mcts.rollouts=2")
    ended = [
        sum(c["stop"] == "think_end" for column in json.loads(line)["candidates"] for c in column)
        for line in few.splitlines()
    ]
    assert ended == [2] * 7
    greedy, curious = (
        run(recipe_path, f"output_dir={tmp_path}/{c}", f"decode.mcts.exploration={c}", "decode.mcts.rollouts=20")
        for c in (0.0, 9.0)
    )
    assert greedy != curious
