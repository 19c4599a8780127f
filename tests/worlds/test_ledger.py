"""The ledger world: its problems, what it calls right, its words, and what its teachers are taught."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from cord_distill.common.errors import CordError
from cord_distill.types import Problem
from cord_distill.worlds.ledger.corpus import TEACHERS, clean, encoded, guessed, taught
from cord_distill.worlds.ledger.tails import tail_step
from cord_distill.worlds.ledger.tokenizer import UNKNOWN, VOCABULARY, WITH_TAILS, encode
from cord_distill.worlds.ledger.world import (
    OPS,
    apply,
    check_steps,
    check_text,
    grade,
    make_problem,
    problems,
    split_of,
    state_key,
)

TOY = make_problem("toy", 6, ["~8", "+8", "-6", "~8", "*3", "*7"])
RIGHT = [
    "### Step 1. Flip to 8 minus it. It was 6, so box 1 = 2\n\n",
    "### Step 2. Add 8. We have 2, hence box 2 = 0\n\n",
    "### Step 3. Subtract 6. It was 0, hence box 3 = 1. Wait, box 3 = 4\n\n",
    "### Step 4. Flip to 8 minus it. It was 4, hence box 4 = 4. Check: box 4 = 4\n\n",
    "### Step 5. Multiply by 3. It was 4, so box 5 = 2\n\n",
    "### Step 6. Multiply by 7. It was 2, so box 6 = 4\n\n</think>",
]
ALL = {"steps_right": [True] * 6, "all_right": True, "needless": [False] * 6}


def test_a_problem_reads_as_in_the_documentation() -> None:
    assert TOY.question == (
        "Keep only last digits: 7 + 5 = 2, 2 - 5 = 7. Box 0 = 6. Box 1: Flip to 8 minus it. Box 2: Add 8. "
        "Box 3: Subtract 6. Box 4: Flip to 8 minus it. Box 5: Multiply by 3. Box 6: Multiply by 7. "
        "What is in boxes 2, 4, 6?"
    )
    assert make_problem("x", 6, ["+8", "-6"]).question.endswith("Box 2: Subtract 6. What is in box 2?")
    assert TOY.answer == " 2 = 0, 4 = 4, 6 = 4"
    assert TOY.meta == {"start": 6, "ops": ["~8", "+8", "-6", "~8", "*3", "*7"], "report_every": 2}
    assert make_problem("x", 6, TOY.meta["ops"], report_every=3).answer == " 3 = 4, 6 = 4"


def test_every_operation_is_a_bijection() -> None:
    for op in OPS:
        assert {apply(op, x) for x in range(10)} == set(range(10))
    assert [apply(op, 6) for op in ("+8", "-7", "*7", "~5")] == [4, 9, 2, 9]


def test_problems_are_named_repeatable_and_extended_by_a_larger_n() -> None:
    first = problems(20)
    assert [p.id for p in first[:2]] == ["ledger-train-0000", "ledger-train-0001"]
    assert problems(50)[:20] == first
    assert problems(1, "test", seed=3)[0].id == "ledger-test-s3-0000"
    assert problems(5, seed=1) != problems(5)


def test_splits_share_no_question_whatever_n_and_seed() -> None:
    by_split = {
        split: {p.question for seed in (0, 1) for p in problems(300, split, seed)}
        for split in ("model", "train", "test")
    }
    for split, questions in by_split.items():
        assert {split_of(q) for q in questions} == {split}
    assert len({p.question for p in problems(300)}) == 300


def test_a_split_that_is_none_is_refused_in_words() -> None:
    with pytest.raises(CordError, match="'dev' is none of model, train, test"):
        problems(1, "dev")


def test_only_the_box_after_the_thought_is_graded() -> None:
    end = "</think>\n\nThe answer is \\boxed{ 2 = 0, 4 = 4, 6 = 4}<|end|>"
    assert grade("".join(RIGHT[:-1]) + end, TOY) == (" 2 = 0, 4 = 4, 6 = 4", True)
    assert grade("</think>\\boxed{2 = 0,  4 = 4, 6 = 4 }", TOY) == ("2 = 0,  4 = 4, 6 = 4 ", True)
    assert grade("</think>\\boxed{ 2 = 0, 4 = 4, 6 = 4} no, \\boxed{ 2 = 0, 4 = 4, 6 = 5}", TOY) == (
        " 2 = 0, 4 = 4, 6 = 5",
        False,
    )
    assert grade("\\boxed{ 2 = 0, 4 = 4, 6 = 4}</think> that was it", TOY) == (None, False)
    assert grade("\\boxed{ 2 = 0, 4 = 4, 6 = 4}", TOY) == (None, False)


def test_right_steps_pass_in_every_style() -> None:
    assert check_steps(TOY, RIGHT) == ALL
    assert check_text(TOY, "".join(RIGHT) + "\n\nThe answer is \\boxed{ 2 = 0, 4 = 4, 6 = 4}") == ALL
    assert check_steps(TOY, RIGHT[:3]) == {"steps_right": [True] * 3, "all_right": False, "needless": [False] * 3}


@pytest.mark.parametrize(
    "wrong",
    [
        "### Step 2. Add 8. It was 2, so box 2 = 1\n\n",  # value
        "### Step 2. Add 8. It was 2, hence box 2 = 0. Wait, box 2 = 1\n\n",  # the last value counts
        "### Step 2. Add 8. It was 3, so box 2 = 1\n\n",  # operand not copied
        "### Step 2. Add 5. It was 2, so box 2 = 7\n\n",  # another operation
        "### Step 3. Add 8. It was 2, so box 3 = 0\n\n",  # another number
        "### Step 2. Add 8. It was 2, so box 3 = 0\n\n",  # labelled with another number
        "### Step 2. Add 8. It was 2, so",  # cut off
        "",
    ],
)
def test_a_wrong_step_is_found(wrong: str) -> None:
    found = check_steps(TOY, [RIGHT[0], wrong, *RIGHT[2:]])
    assert found["steps_right"][:2] == [True, False]
    assert not found["all_right"]


def test_a_slip_is_counted_where_it_happens_and_an_unreadable_step_does_not_spread() -> None:
    carried = [
        RIGHT[0],
        "### Step 2. Add 8. It was 2, so box 2 = 1\n\n",
        "### Step 3. Subtract 6. It was 1, so box 3 = 5\n\n",
    ]
    assert check_steps(TOY, carried)["steps_right"] == [True, False, True]
    assert check_steps(TOY, [RIGHT[0], "### Step 2. hm", *RIGHT[2:]])["steps_right"] == [True, False] + [True] * 4


def test_order_missing_and_surplus_steps_in_a_whole_text() -> None:
    assert check_text(TOY, "") == {"steps_right": [False] * 6, "all_right": False, "needless": [False] * 6}
    assert check_text(TOY, RIGHT[1] + RIGHT[0])["steps_right"] == [False] * 6
    assert check_text(TOY, "".join(RIGHT[:2]) + "</think>" + RIGHT[2])["steps_right"] == [True] * 2 + [False] * 4
    again = [*RIGHT[:5], RIGHT[5].removesuffix("</think>"), "### Step 7. Add 8. It was 4, so box 7 = 2\n\n"]
    found = {"steps_right": [True] * 6 + [False], "all_right": False, "needless": [False] * 7}
    assert check_steps(TOY, again) == found
    assert check_text(TOY, "so: " + "".join(RIGHT))["steps_right"] == [False] + [True] * 5


TAIL = [
    "### Step 7. Check again: box 3 = 4\n\n",
    "### Step 8. Hold on: box 5 = 7. Wait, box 5 = 2\n\n",
    "### Step 9. In sum: box 2 = 0, box 4 = 4, box 6 = 4\n\n</think>",
]
BOXES = [*RIGHT[:5], RIGHT[5].removesuffix("</think>")]


def test_what_is_said_again_behind_the_last_box_is_right_and_needless() -> None:
    """Fails the check that asks for six steps, and one that calls a step needless for its words alone."""
    assert check_text(TOY, "".join([*BOXES, *TAIL])) == {
        "steps_right": [True] * 9,
        "all_right": True,
        "needless": [False] * 6 + [True] * 3,
    }
    slipped = [*BOXES[:4], "### Step 5. Multiply by 3. It was 4, so box 5 = 3\n\n", *BOXES[5:]]
    assert check_steps(TOY, [*slipped, TAIL[0], TAIL[1]])["needless"] == [False] * 6 + [True, False]
    assert state_key(TOY, [*BOXES, *TAIL[:2]]) == (8, 4)


@pytest.mark.parametrize(
    "wrong",
    [
        "### Step 7. Check again: box 3 = 5\n\n",  # what it says was never reached
        "### Step 8. Check again: box 3 = 4\n\n",  # another number
        "### Step 7. Check again: box 7 = 4\n\n",  # there is no such box
        "### Step 7. Hold on: box 5 = 2. Wait, box 5 = 7\n\n",  # the last digit counts
        "### Step 7. In sum: box 2 = 0, box 4 = 5\n\n",
        "### Step 7. In sum:",  # cut off
    ],
)
def test_a_contradiction_behind_the_last_box_is_wrong_and_not_needless(wrong: str) -> None:
    found = check_steps(TOY, [*BOXES, wrong])
    assert (found["steps_right"][6], found["needless"][6], found["all_right"]) == (False, False, False)


def test_nothing_is_needless_before_the_last_box() -> None:
    early = check_steps(TOY, [*BOXES[:2], "### Step 3. Check again: box 2 = 0\n\n", *BOXES[3:]])
    assert early["steps_right"] == [True, True, False, True, True, True] and not any(early["needless"])


def test_traces_with_tails_are_right_and_go_on_for_up_to_three_steps() -> None:
    """Fails tails in the plain world, a tail of a trace that was cut, and one that contradicts the trace."""
    needless = []
    for n, problem in enumerate(problems(60, "model")):
        for made in (
            clean(random.Random(n), problem, 0.0, tails=True),
            taught(random.Random(n), problem, "c", True),
        ):
            pieces = made
            text = "".join(text for text, _ in pieces)
            assert tuple(encoded(pieces, {})[0]) == encode(text) and WITH_TAILS[UNKNOWN] not in encode(text)
            found = check_text(problem, text.partition("<think>\n")[2])
            assert all(found["steps_right"][6:]) and grade(text, problem)[0] is not None
            needless.append(sum(found["needless"]))
        plain = "".join(text for text, _ in clean(random.Random(n), problem, 0.0))
        cut = "".join(text for text, _ in clean(random.Random(n), problem, 1.0, tails=True))
        assert not any(words in text for words in ("again", "Hold on", "In sum") for text in (plain, cut))
    assert set(needless) == {0, 1, 2, 3}


def test_every_teacher_has_its_own_habit() -> None:
    said = {
        style: {
            text.split()[0]
            for n in range(60)
            for text in ["".join(piece for piece, _ in tail_step(random.Random(n), style, [2, 0, 4, 4, 2, 4], 2))]
        }
        for style in "abc"
    }
    assert said == {"a": {"Check", "In"}, "b": {"Check", "In"}, "c": {"Check", "Hold"}}
    doubts = ("".join(piece for piece, _ in tail_step(random.Random(n), "c", [2, 0, 4, 4, 2, 4], 2)) for n in range(60))
    assert " Hold on: box 6 = 9. Wait, box 6 = 4\n\n" in doubts


def test_prefixes_in_the_same_state_have_the_same_key() -> None:
    assert state_key(TOY, RIGHT[:3]) == (3, 4)
    assert state_key(TOY, [*RIGHT[:2], "### Step 3. Subtract 6. We have 0, hence box 3 = 4\n\n"]) == (3, 4)
    assert state_key(TOY, RIGHT) == (6, 4)
    assert state_key(TOY, ["### Step 1. hm"]) is None
    assert state_key(TOY, []) is None


def _prompt_and_trace(problem: Problem) -> str:
    return f"<|user|>{problem.question}<|assistant|><think>\n" + "".join(RIGHT)


def test_every_look_up_is_one_token() -> None:
    words = {i: word for word, i in VOCABULARY.items()}
    ids = encode(_prompt_and_trace(TOY))
    assert "".join(words[i] for i in ids) == _prompt_and_trace(TOY)
    assert [words[i] for i in encode(RIGHT[0])] == [
        *("### Step", " 1", ".", " Flip to 8 minus it", ". It was ", "6", ", so box", " 1", " = ", "2", "\n\n")
    ]
    assert encode("z") == (VOCABULARY[UNKNOWN],)


def test_training_pieces_are_cut_at_token_borders_and_hold_no_unknown_word() -> None:
    rng = random.Random(0)
    for problem in problems(30, "model"):
        for pieces in (clean(rng, problem, 0.0), taught(rng, problem, "c"), guessed(rng, problem, 0.9)):
            ids, weights = encoded(pieces, {"result": 4.0})
            assert tuple(ids) == encode("".join(text for text, _ in pieces))
            assert VOCABULARY[UNKNOWN] not in ids
            assert len(weights) == len(ids) <= 512
            assert set(weights) <= {0.0, 4.0}


def test_clean_traces_are_right_and_guesses_are_well_formed_but_wrong() -> None:
    rng = random.Random(1)
    for problem in problems(20, "model"):
        text = "".join(text for text, _ in clean(rng, problem, 0.0)).partition("<think>\n")[2]
        assert check_text(problem, text) == ALL
        assert grade(text, problem)[1]
        guess = "".join(text for text, _ in guessed(rng, problem, 1.0)).partition("<think>\n")[2]
        assert len(check_text(problem, guess)["steps_right"]) == 6
        assert not grade(guess, problem)[1]


def test_a_truncated_trace_still_ends_in_the_right_answer() -> None:
    rng = random.Random(2)
    texts = ["".join(text for text, _ in clean(rng, TOY, 1.0)) for _ in range(20)]
    assert {text.count("### Step") for text in texts} == {1, 2, 3, 4, 5}
    assert all(grade(text, TOY)[1] for text in texts)


def test_a_drill_asks_for_every_reached_value_in_any_order() -> None:
    rng, orders = random.Random(4), set()
    for _ in range(10):
        prediction, _ = grade("".join(text for text, _ in clean(rng, TOY, 0.0, drill=True)), TOY)
        assert prediction is not None
        assert sorted(prediction.strip().split(", ")) == ["1 = 2", "2 = 0", "3 = 4", "4 = 4", "5 = 2", "6 = 4"]
        orders.add(prediction)
    assert len(orders) > 5


def test_values_that_no_step_has_reached_weigh_on_their_own() -> None:
    values = [piece for piece in clean(random.Random(0), TOY, 1.0) if piece[1] in ("answer", "ahead")]
    assert [text for text, _ in values] == ["0", "4", "4"]
    assert [kind for _, kind in values][-1] == "ahead"


def test_teachers_fail_systematically_and_every_operation_has_an_expert() -> None:
    for op in OPS:
        assert min(teacher.error[op] for teacher in TEACHERS.values()) <= 0.03
        assert len({teacher.offsets[op] for teacher in TEACHERS.values()}) == 3
        assert all(1 <= teacher.offsets[op] <= 9 for teacher in TEACHERS.values())
    rng = random.Random(3)
    results = [TEACHERS["a"].result(rng, "*7", 4) for _ in range(1000)]
    misconception = (8 + TEACHERS["a"].offsets["*7"]) % 10
    assert results.count(misconception) > 900 > 100 > results.count(8)


def test_the_world_loads_nothing_heavy() -> None:
    code = (
        "import sys, cord_distill.worlds.ledger.build, cord_distill.worlds.ledger.world;"
        "print(sorted({'torch', 'transformers', 'tokenizers'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
