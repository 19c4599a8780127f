"""What traces show about answers, on rows whose figures are known by hand; and the rivals that a search finds."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from cord_distill.decode.answer_figures import AnswerFacts, MarginFigures, answer_facts, answer_figures, holds
from cord_distill.decode.figures import method_figures
from cord_distill.decode.pipelines import Ensemble, Outcome
from cord_distill.decode.pipelines.rivals import rival_answers, with_rivals
from cord_distill.grading import load_grader
from cord_distill.recipe.decode import DecodeConfig
from cord_distill.types import Candidate, Problem, Rival, Step, Stop, Trajectory

PROBLEM = Problem("p", "What is 9 * 2?", "18")


def row(*steps: tuple[str, float | None], **values: Any) -> dict[str, Any]:
    made = [{"teacher": "t", "text": text, "score": score} for text, score in steps]
    return {"id": "p", "problem": {"answer": "18"}, "steps": made, "correct": True, "prediction": "18", **values}


@pytest.mark.parametrize(
    ("text", "answer", "there", "whole"),
    [
        ("it is 18.", "18", True, True),
        ("so $18$ or 18%", "18", True, True),
        ("it is 18.00", "18", True, True),
        ("it is 180", "18", True, False),
        ("it is 18.5 or 0.18", "18", True, False),
        ("x18", "18", True, False),
        ("it is 70,000", "70000", True, True),
        ("it is 170,000", "70000", True, False),
        ("it is 1,7", "17", False, False),
        ("it is $\\frac{1}{2}$", "\\frac{1}{2}", True, True),
        ("yesterday", "yes", True, False),
    ],
)
def test_an_answer_stands_as_a_whole_or_inside_something_longer(text, answer, there, whole):
    assert holds(text, answer) == (there, whole)


@pytest.mark.parametrize(
    ("steps", "leap", "inside"),
    [
        ([("2 * 9", 0.1), ("so 18", 0.9)], True, False),
        # The issue of a lucky trace: S jumps because of a wrong 180.
        ([("2 * 9", 0.1), ("so 180", 0.99), ("18", 0.995)], True, True),
        ([("16 + 2 = 18", 0.2), ("that is it", 0.9)], False, False),
        ([("18", 0.9), ("that is it", 0.95)], True, False),
        ([("never said", 0.1), ("nor here", 0.9)], False, False),
        ([("whole", None), ("trace 18", 0.9)], None, None),
        ([("a single step, 18", 0.9)], None, None),
        ([("words", 12), ("18", 30)], None, None),
    ],
)
def test_a_leap_is_where_the_answers_text_first_appears(steps, leap, inside):
    """Fails the version that looks at the last step, and the one that takes a length for an S."""
    facts = answer_facts(row(*steps))
    assert facts is not None and (facts.leap, facts.inside) == (leap, inside)


@pytest.mark.parametrize(
    ("values", "group"),
    [
        ({}, "right"),
        ({"correct": False}, "wrong"),
        ({"correct": None}, None),
        ({"checks": {"all_right": False}}, "lucky"),
        ({"checks": {"all_right": True}}, "right"),
    ],
)
def test_a_right_answer_by_a_wrong_step_is_lucky(values, group):
    """Fails the version that counts a leap inside something longer too: the report's `lucky %` does not."""
    facts = answer_facts(row(("9", 0.1), ("18", 0.9), **values))
    assert facts is not None and facts.group == group
    inside = answer_facts(row(("9", 0.1), ("180", 0.9), **values))
    assert inside is not None and inside.group == group


def test_a_margin_is_over_the_best_rival_and_means_are_over_those_that_have_one():
    """Fails the margin over the first rival, and the mean that takes a trace without rivals for 0."""
    rivals = [{"answer": "9", "score": 0.25}, {"answer": "20", "score": 0.5}]
    rows = [
        row(("9", 0.1), ("18", 0.75), id="a", score=0.75, rivals=rivals),
        row(("9", 0.1), ("18", 0.25), id="b", score=0.25, rivals=rivals),
        row(("9", 0.1), ("18", 0.75), id="c", score=0.75, answer_rule="answer_opening"),
        row(("9", 0.1), ("7", 0.2), id="d", score=0.2, correct=False, prediction=None),
        {"id": "e", "problem": {"answer": "18"}, "steps": [], "correct": None, "prediction": None},
        row(("9", 0.1), id="f", error="engine gone"),
    ]
    found = method_figures(rows).answers
    assert found is not None and found.margins == {"right": MarginFigures(traces=2, mean=0.0, below=0.5)}
    assert (found.traces, found.gradable, found.traced) == (4, 0.75, 4)
    assert found.rules == {"at_once": 3, "answer_opening": 1}
    assert found.leaps == 0.75
    assert answer_figures([None]) is None and method_figures([]).answers is None
    alone = AnswerFacts("at_once", True, None, None, None, None)
    assert answer_figures([alone]).leaps is None


# Rivals


class Prover:
    """S of an answer is what `scores` says."""

    def __init__(self, scores: dict[str, float]) -> None:
        self.scores = scores

    async def score(self, question, steps, suffix, answer):
        from cord_distill.decode.model import Scored

        return Scored(self.scores[answer], 3, 10)


def ensemble(prover: Prover | None, wanted: int = 3) -> Ensemble:
    decode = DecodeConfig(rival_answers=wanted)
    return Ensemble((), prover, decode, 0, grade=load_grader("math"))  # type: ignore[arg-type]


def candidate(text: str) -> Candidate:
    return Candidate(0, "t", 0, text, 0.5, False, Stop.EOS)


def outcome(*texts: str) -> Outcome:
    steps = (Step(1, "t", "### Step 1. so \\boxed{18}</think>", (), 5, 0.9, Stop.EOS),)
    return Outcome(steps, "\n\nIt is \\boxed{18}.", Stop.EOS, 0.9, 5, 50, 100, (tuple(map(candidate, texts)),))


TEXTS = (
    "### Step 1. so \\boxed{9}", "### Step 1. The answer is 20.", "### Step 1. so \\boxed{18.0}", "### Step 1. so 7",
    "### Step 1. so it is.</think>\n\nThe answer is \\boxed{20}.",
)  # fmt: skip


def test_rivals_are_the_other_answers_of_the_problems_traces():
    """Fails the version that takes another spelling of the known answer for a rival (18.0), and the one that reads a
    number which nobody announced (7)."""
    assert rival_answers(PROBLEM, ensemble(None), outcome(*TEXTS)) == ["20", "9"]
    assert rival_answers(PROBLEM, ensemble(None, 1), outcome(*TEXTS)) == ["20"]
    assert rival_answers(PROBLEM, ensemble(None, 0), outcome(*TEXTS)) == []
    assert rival_answers(replace(PROBLEM, answer=""), ensemble(None), outcome(*TEXTS)) == []


def test_rivals_are_scored_behind_the_kept_trace_and_stand_in_the_row_best_first():
    prover = Prover({"9": 0.5, "20": 0.25})
    made = asyncio.run(with_rivals(PROBLEM, ensemble(prover), outcome(*TEXTS)))
    assert made.rivals == (Rival("9", 0.5), Rival("20", 0.25)) and made.scored == 120
    assert replace(made, rivals=(), scored=100) == outcome(*TEXTS)
    alone = outcome("### Step 1. so \\boxed{18}")
    assert asyncio.run(with_rivals(PROBLEM, ensemble(prover), alone)) is alone


def test_rivals_come_back_from_a_row_and_a_row_without_has_no_such_key():
    base: dict[str, Any] = {
        "id": "p", "problem": PROBLEM, "pipeline": "cord", "steps": (), "final_answer_text": "", "prediction": None,
        "correct": None, "score": None, "stop": Stop.ABORT, "num_tokens": {}, "recipe_hash": "0" * 16, "seed": 0,
    }  # fmt: skip
    bare, told = Trajectory(**base), Trajectory(**base, rivals=(Rival("9", 0.5),))
    assert "rivals" not in bare.to_row() and Trajectory.from_row(bare.to_row()) == bare
    assert told.to_row()["rivals"] == ({"answer": "9", "score": 0.5},) and Trajectory.from_row(told.to_row()) == told


def test_a_row_without_its_problem_has_no_leap():
    """Another tool's row may leave the problem out. Fails the version that reads it: a KeyError in `cord report`."""
    steps = [{"teacher": "a", "text": "4", "score": 0.1}, {"teacher": "a", "text": "4", "score": 0.9}]
    found = answer_facts({"id": "p", "steps": steps})
    assert found is not None and (found.leap, found.inside, found.margin) == (None, None, None)
