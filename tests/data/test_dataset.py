"""Trajectories to rows: what is kept, what is dropped and why, what the row holds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cord_distill.common.errors import CordError
from cord_distill.data.build import build_dataset
from cord_distill.data.decontaminate import Contamination, normalised
from cord_distill.data.near_duplicates import NearDuplicates
from cord_distill.data.rows import marker_pattern, sft_row
from cord_distill.recipe.recipe import Recipe
from cord_distill.run.make_data import kept_and_dropped
from cord_distill.types import Problem, Step, Stop, Trajectory


def trajectory(
    id: str = "p1",
    *,
    question: str = "",
    texts: tuple[str, ...] = ("### Step 1. 2+2=4\n\n", "### Step 2. done\n\n</think>"),
    answer: str = "\n\nThe answer is \\boxed{4}.",
    **other: Any,
) -> Trajectory:
    problem = Problem(id, question or f"What is 2+2? ({id})", "4")
    steps = tuple(Step(n, "ab"[n % 2], text, (n,), 5, 0.9, Stop.STEP) for n, text in enumerate(texts, 1))
    values: dict[str, Any] = {
        "prediction": "4", "correct": True, "score": 0.8, "stop": Stop.THINK_END, "recipe_hash": "h", "seed": 3,
        "num_tokens": {"reasoning": 10, "answer": 4, "generated_total": 90, "scored_total": 400},
    }  # fmt: skip
    return Trajectory(id, problem, "cord", steps, answer, **{**values, **other})


def built(
    tmp_path: Path, rows: list[Trajectory], tail: str = "", **data: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    path = tmp_path / "trajectories.jsonl"
    path.write_text("".join(json.dumps(row.to_row()) + "\n" for row in rows) + tail, encoding="utf-8")
    stats = build_dataset(Recipe.model_validate({"name": "r", "data": data}), path, tmp_path / "dataset")
    lines = (tmp_path / "dataset" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    return stats, [json.loads(line) for line in lines]


def test_the_row_holds_the_whole_thought_and_its_origin() -> None:
    """Fails for a row made of the final answer alone, or one that leaves `<think>` to the chat template."""
    assert sft_row(trajectory()) == {
        "id": "p1",
        "prompt": [{"role": "user", "content": "What is 2+2? (p1)"}],
        "completion": [
            {
                "role": "assistant",
                "content": "<think>\n### Step 1. 2+2=4\n\n### Step 2. done\n\n</think>\n\nThe answer is \\boxed{4}.",
            }
        ],
        "pipeline": "cord",
        "score": 0.8,
        "correct": True,
        "teachers": ["b", "a"],
        "recipe_hash": "h",
        "seed": 3,
    }


def test_markers_are_stripped_at_the_start_of_steps_only() -> None:
    """Fails for a search-and-replace over the whole text, which would also cut a marker that a step talks about."""
    made = trajectory(texts=("### Step 1. as ### Step 9. says\n\n", "### Step 12. end</think>"))
    content = sft_row(made, marker_pattern("### Step {t}."))["completion"][0]["content"]
    assert content.startswith("<think>\nas ### Step 9. says\n\nend</think>")


DROPPED = {
    "error": (trajectory(error="engine gone", correct=None), {}),
    "aborted": (trajectory(stop=Stop.ABORT), {}),
    "thought_not_closed_once": (trajectory(texts=("### Step 1. a",)), {}),
    "no_final_answer": (trajectory(answer=" "), {}),
    "not_graded": (trajectory(correct=None), {}),
    "wrong_answer": (trajectory(correct=False), {}),
    "not_finished": (trajectory(stop=Stop.LENGTH), {"finished": True}),
    "no_box": (trajectory(answer="\n\nIt is 4."), {"boxed": True}),
    "repetition": (trajectory(texts=("### Step 1. a\nwait\nwait\nwait\n</think>",)), {"max_repetition": 0.5}),
    "steps_not_checked": (trajectory(), {"steps_right": True}),
    "wrong_step": (trajectory(checks={"steps_right": [True, False]}), {"steps_right": True}),
}


@pytest.mark.parametrize("reason", DROPPED)
def test_dropped_rows_are_counted_by_reason(tmp_path: Path, reason: str) -> None:
    """Fails for a filter that drops in silence, or for one that counts a row twice."""
    row, filters = DROPPED[reason]
    good = trajectory("p2", checks={"steps_right": [True, True]})
    stats, rows = built(tmp_path, [row, good], filters=filters)
    assert stats["dropped"] == {reason: 1}
    assert (stats["rows"], stats["kept"]) == (2, 1)
    assert [r["id"] for r in rows] == ["p2"]
    assert json.loads((tmp_path / "dataset" / "stats.json").read_text()) == stats


def test_wrong_answers_stay_when_asked(tmp_path: Path) -> None:
    stats, _ = built(tmp_path, [trajectory(correct=False)], filters={"correct": False})
    assert (stats["kept"], stats["correct"]) == (1, 0)


def test_the_order_does_not_depend_on_who_finished_first(tmp_path: Path) -> None:
    """Fails for rows in order of arrival: the student would depend on timing."""
    rows = [trajectory(f"p{i}") for i in range(5)]
    first, _ = built(tmp_path, rows)
    second, made = built(tmp_path, rows[::-1])
    assert first == second
    assert [r["id"] for r in made] == ["p0", "p1", "p2", "p3", "p4"]


def test_duplicates_and_retried_errors(tmp_path: Path) -> None:
    """Fails for a version that counts a problem as failed although its second try succeeded."""
    failed = trajectory("p1", error="timeout", correct=None)
    twin = trajectory("p9", question="What is 2+2? (p1)")
    stats, rows = built(tmp_path, [failed, trajectory("p1"), twin])
    assert stats["dropped"] == {"duplicate": 1}
    assert [r["id"] for r in rows] == ["p1"]


def test_teacher_shares_and_tokens(tmp_path: Path) -> None:
    stats, _ = built(tmp_path, [trajectory("p1"), trajectory("p2")])
    assert stats["teacher_share"] == {"a": 0.5, "b": 0.5}
    assert stats["tokens"]["reasoning"] == 20
    assert stats["tokens"]["longest_row"] == 14
    card = (tmp_path / "dataset" / "README.md").read_text()
    assert "| a | 50.0 % |" in card


def test_nothing_left_says_why_and_what_to_do(tmp_path: Path) -> None:
    """Fails for a version that writes an empty data set and lets training find out."""
    with pytest.raises(CordError, match=r"2 wrong_answer.*data\.filters\.correct=false"):
        built(tmp_path, [trajectory("p1", correct=False), trajectory("p2", correct=False)])
    assert not (tmp_path / "dataset" / "train.jsonl").exists()
    assert not list((tmp_path / "dataset").glob(".*tmp"))


def test_torn_last_line_is_counted_and_damage_elsewhere_is_an_error(tmp_path: Path) -> None:
    """Fails for `except: continue`, which loses rows without a word."""
    stats, rows = built(tmp_path, [trajectory()], tail='{"schema": 1, "id')
    assert stats["dropped"] == {"torn_line": 1}
    assert len(rows) == 1
    with pytest.raises(CordError, match="line 2"):
        built(tmp_path, [trajectory()], tail='{"schema": 1}\n')


def test_missing_trajectories(tmp_path: Path) -> None:
    with pytest.raises(CordError, match="cord generate"):
        build_dataset(Recipe(name="r"), tmp_path / "none.jsonl", tmp_path / "dataset")


LONG = "Let a b c be the three positive real numbers whose sum is one half of nine"


@pytest.mark.parametrize(
    ("question", "hit"),
    [
        ("What is $1 + 1$?", True),
        ("what is 1+1", True),
        ("What is 1 - 1?", False),
        ("What is 1+11?", False),
        ("Now " + LONG.upper() + ", find it.", True),
        ("the three positive real numbers are four", False),
        ("Box 0 = 6. Box 1: Flip to 8 minus it. Box 2: Add 8. Box 3: Multiply by 7. What is in box 2?", False),
    ],
)
def test_decontamination(tmp_path: Path, question: str, hit: bool) -> None:
    """Fails for 8-grams alone, which never match a question of fewer words, and for words without their signs."""
    path = tmp_path / "eval.jsonl"
    other = "Box 0 = 6. Box 1: Flip to 8 minus it. Box 2: Add 8. Box 3: Multiply by 9. What is in box 2?"
    path.write_text("".join(json.dumps({"problem": q}) + "\n" for q in ("What is 1+1?", LONG, other)))
    unwanted = Contamination.load([str(path)])
    assert (unwanted.reason(question) == "contaminated") is hit


ASKED = [
    f"{ask} Find m+n, where the answer is m/n and m and n are relatively prime positive integers."
    for ask in (
        "A gardener plants 12 tulips in a circle and waters every fifth of them until one stays dry for 3 days.",
        "Two trains of length 140 meters leave a tunnel at speeds whose ratio is $\\frac{3}{7}$ while a bird circles.",
        "The polynomial $x^4 - 5x + 1$ has four roots, and a spider joins their images in the plane by 6 threads.",
        "Seven dice are thrown by a juggler who drops each with probability $\\frac{2}{9}$ before it lands on a table.",
    )
]


@pytest.mark.parametrize(
    ("question", "hit"),
    [
        ("Problem 3. " + ASKED[0], True),
        ("Think carefully about what is asked. " + ASKED[1] + " Put the final answer into a box.", True),
        (ASKED[1].replace("\\frac", "\\dfrac").replace("$", "$$").upper(), True),
        (ASKED[0].replace("gardener", "farmer").replace("circle", "ring").replace("stays", "remains"), True),
        (ASKED[0].replace("12 tulips", "13 tulips"), False),
        (ASKED[2].replace("5x", "6x"), False),
        (
            "A merchant sells 40 lamps at a loss on each of his markets. Find m+n, where the answer is m/n and m and n "
            "are relatively prime positive integers.",
            False,
        ),
        ("What is 1+1 when 5 apples are added to both?", False),
        ("7) What is 1 + 1?", True),
        ("The town has 1,234 \\cdot 2 doors", True),
    ],
)
def test_coverage_of_a_question(question: str, hit: bool) -> None:
    """Fails for one shared run of eight words (a set phrase is one, a reworded copy has none) and for runs of equal
    weight; for numbers that are not looked at; for a short question found inside any longer one."""
    unwanted = Contamination()
    for asked in (*ASKED, "What is 1+1?", "The town has $1234 \\times 2$ doors."):
        unwanted.add(asked)
    assert (unwanted.reason(question) == "contaminated") is hit


def test_the_threshold_is_the_share_of_runs() -> None:
    """Fails for a `>` in place of `>=`, and for a key that nothing reads: 9 of 18 runs are held here."""
    words = [f"w{chr(97 + i)}" for i in range(20)]
    half = " ".join([*words[:11], "x"])
    found = []
    for threshold in (0.5, 0.51):
        unwanted = Contamination(threshold)
        unwanted.add(" ".join(words))
        found.append(unwanted.reason(half))
    assert found == ["contaminated", None]


def test_decontamination_on_real_benchmarks(shared_data: Path) -> None:
    """Fails for the set phrases of AIME taken for copies, and for copies lost to a changed word in eight."""

    def questions(name: str) -> list[str]:
        lines = (shared_data / name / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")
        return [json.loads(line)["problem"] for line in lines if line]

    unwanted = Contamination()
    asked = [question for name in ("aime24", "aime25", "math500") for question in questions(name)]
    for question in asked:
        unwanted.add(question)

    def found(change: Callable[[str], str]) -> float:
        return sum(unwanted.reason(change(question)) is not None for question in asked) / len(asked)

    def reworded(question: str) -> str:
        words = question.split()
        words[3::8] = ["quokka"] * len(words[3::8])
        return " ".join(words)

    assert not any(map(unwanted.reason, questions("limo_v1_first200")))
    assert found(lambda q: f"Problem 12. Read this with care, then answer. {q}") >= 0.95
    assert found(lambda q: f"{q} Reason step by step and put the final answer within \\boxed{{}}.") >= 0.95
    assert found(lambda q: q.replace("\\frac", "\\dfrac").replace("$", "$$").replace(" ", "  ").upper()) >= 0.95
    assert found(reworded) >= 0.8
    assert found(lambda q: re.sub(r"\d+", lambda m: str(int(m[0]) + 1), q)) <= 0.05


def test_contaminated_rows_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "eval.jsonl"
    path.write_text('{"question": "What is 2+2? (p1)"}\n')
    stats, _ = built(tmp_path, [trajectory("p1"), trajectory("p2")], decontaminate=[str(path)])
    assert stats["dropped"] == {"contaminated": 1}


def test_decontamination_file_without_questions(tmp_path: Path) -> None:
    path = tmp_path / "eval.jsonl"
    path.write_text('{"answer": 1}\n')
    with pytest.raises(CordError, match="row 1"):
        Contamination.load([str(path)])


def test_normalised() -> None:
    assert normalised("Find  $x$.") == normalised("find x")
    assert normalised("x+1") != normalised("x-1")


def test_a_share_that_is_met_exactly_makes_a_near_duplicate() -> None:
    """14 of 25 runs shared at 0.56. Fails the version without rounding: 0.56 * 25 is a little more than 14."""
    both = " ".join(f"w{i}" for i in range(16))
    near = NearDuplicates(0.56)
    assert not near.seen(both + " a b c d e")
    assert near.seen(both + " f g h i j k")
    assert not near.seen(both + " f g h i j k l")


def test_a_row_of_another_shape_is_named_by_its_line(tmp_path: Path) -> None:
    """Of a file that was edited by hand. Fails the version that finds the number in place of a text when it joins the
    steps: a TypeError without a line. A blank line is none."""
    row = trajectory("p2").to_row()
    row["steps"][0]["text"] = 5
    with pytest.raises(CordError, match=r"line 3: not a trajectory row: steps\[0\]\.text is 5: Input should"):
        built(tmp_path, [trajectory()], tail="\n" + json.dumps(row) + "\n")


def test_the_line_says_what_only_training_can_count(tmp_path: Path) -> None:
    """Fails the version that counts the rows as kept and leaves it to the training to say that some are too long."""
    stats, _ = built(tmp_path, [trajectory()], filters={"max_tokens": 900})
    said = "1 rows kept, of them training leaves out those of more than 900 tokens (data.filters.max_tokens)"
    assert kept_and_dropped(stats) == said
    assert kept_and_dropped(built(tmp_path, [trajectory()])[0]) == "1 rows kept"
