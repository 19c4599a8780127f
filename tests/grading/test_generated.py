"""Known answers mutated and rendered anew, graded end to end. The lazy version that fails each: `in` on strings, a
tolerance, a grader that takes the last number, one that takes a matrix for a list, one that knows one spelling."""

from __future__ import annotations

import random
import runpy
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from generated import golds_of, mutations, own_golds, renderings

from cord_distill.grading import load_grader
from cord_distill.types import Problem

MATH_FILES = ("math500/math500.jsonl", "gsm8k/gsm8k_test.jsonl", "limo_v1_first200/limo_v1_first200.jsonl")
AIME_FILES = ("aime24/aime24.jsonl", "aime25/aime25.jsonl")
MOST_OF_A_FILE = 320


def false_accepts(golds: Sequence[str], grader: str = "math") -> tuple[int, list[tuple[str, str, str]]]:
    """(how many wrong answers were graded, those that were accepted)."""
    grade = load_grader(grader)
    stream = random.Random(20)
    made = [(kind, gold, wrong) for gold in golds for kind, wrong in mutations(gold, stream)]
    accepted = [
        (kind, gold, wrong)
        for kind, gold, wrong in made
        if grade(f"x</think>\\boxed{{{wrong}}}", Problem("p", "?", gold))[1]
    ]
    return len(made), accepted


def misses(golds: Sequence[str], grader: str = "math") -> tuple[int, list[tuple[str, str, str]]]:
    """(how many right answers were graded, those that were not accepted)."""
    grade = load_grader(grader)
    made = [(kind, gold, text) for gold in golds for kind, text in renderings(gold)]
    missed = [m for m in made if not grade(f"x</think>{m[2]}", Problem("p", "?", m[1]))[1]]
    return len(made), missed


def test_no_mutated_answer_is_accepted() -> None:
    made, accepted = false_accepts(own_golds())
    assert not accepted
    assert made > 200


def test_rendered_answers_are_found() -> None:
    made, missed = misses(own_golds())
    assert len(missed) <= 0.01 * made, missed
    assert made > 600


def test_mutations_are_of_every_kind() -> None:
    """A generator that yields next to nothing would pass the tests above."""
    stream = random.Random(20)
    kinds = Counter(kind for gold in own_golds() for kind, _ in mutations(gold, stream))
    wanted = "digit sign bracket order unit entry member relation letter choice word"
    assert set(kinds) == set(wanted.split())
    assert all(count > 1 or kind in ("choice", "letter", "word") for kind, count in kinds.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "grader", "bound"), [(MATH_FILES, "math", 0.01), (AIME_FILES, "integer", 0.0)], ids=["math", "aime"]
)
def test_golds_of_the_data_sets(shared_data: Path, files: tuple[str, ...], grader: str, bound: float) -> None:
    """`-s` prints the counts that docs/evaluation.md quotes."""
    golds = [gold for file in files for gold in golds_of(shared_data / file)[:MOST_OF_A_FILE]]
    made, accepted = false_accepts(golds, grader)
    rendered, missed = misses(golds, grader)
    print(
        f"{grader}: {len(golds)} golds; {len(accepted)} of {made} mutations accepted; {len(missed)} of {rendered} "
        f"renderings missed {Counter(kind for kind, _, _ in missed)}"
    )
    assert not accepted
    assert len(missed) <= bound * rendered, missed[:20]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "file", "others"),
    [("pubmedqa", "pubmedqa/pqal_test_500.jsonl", None), ("tatqa", "tatqa/tatqa_test_gold_500.jsonl", "digits")],
)
def test_golds_of_suites_with_graders_of_their_own(shared_data: Path, task: str, file: str, others: str | None) -> None:
    """TAT-QA rounds to two decimals by its own rules: digits are changed only in front of them."""
    import json

    module = runpy.run_path(str(Path(__file__).parents[2] / "eval" / f"{task}.py"))
    suite = module["SUITES"][task]
    rows = [json.loads(line) for line in (shared_data / file).read_text(encoding="utf-8").splitlines()]
    problems = [problem for row in rows for problem in suite.read(row)]
    grade: Callable[[str, Problem], tuple[str | None, bool]] = suite.grader
    stream = random.Random(20)
    for problem in problems:
        wrong = [w for w in ("yes", "no", "maybe") if w != problem.answer]
        if others == "digits":
            whole = problem.answer.replace(",", "").lstrip("-$").partition(".")[0]
            if not whole.isdigit() or len(whole) < 2:
                continue
            place = problem.answer.index(whole[0])
            other = stream.choice([c for c in "123456789" if c != whole[0]])
            wrong = [problem.answer[:place] + other + problem.answer[place + 1 :]]
        for answer in wrong:
            assert not grade(f"x</think>\\boxed{{{answer}}}", problem)[1], (problem.answer, answer)
