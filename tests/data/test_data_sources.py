"""Rows of other people: each format, mixing by weight, near duplicates, the card, no upload that nobody asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_dataset import trajectory

from cord_distill.common.errors import CordError
from cord_distill.data.build import build_dataset
from cord_distill.data.near_duplicates import NearDuplicates
from cord_distill.data.sources import copies_per_epoch
from cord_distill.recipe.data import SourceConfig
from cord_distill.recipe.experiment import Experiment
from cord_distill.recipe.file import load_recipe
from cord_distill.recipe.recipe import Recipe
from cord_distill.run.stages import plan_stages

LIMO = {"question": "What is 2+2?", "solution": "I add.\n\n**Final Answer**\n\n\\boxed{4}", "answer": "4"}
S1K11 = {
    "question": "What is 3+3?",
    "deepseek_thinking_trajectory": "Adding.",
    "deepseek_attempt": "It is 6.",
    "deepseek_grade": "Yes",
    "thinking_trajectories": ["no"],
}
S1K = {"question": "What is 4+4?", "thinking_trajectories": ["Adding 4."], "attempt": "It is 8."}
CHAT = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is 5+5?"},
        {"role": "assistant", "content": "<think>Ten?</think>Ten."},
    ]
}
BESIDE = {
    "conversations": [
        {"from": "human", "value": "What is 6+6?"},
        {"from": "gpt", "value": "Twelve.", "thinking": "Sum."},
    ]
}


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def built(tmp_path: Path, sources: list[dict[str, Any]], **data: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    recipe = Recipe.model_validate({"name": "r", "data": {"sources": sources, **data}})
    stats = build_dataset(recipe, tmp_path / "none.jsonl", tmp_path / "dataset")
    lines = (tmp_path / "dataset" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    return stats, [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("format", "row", "question", "completion", "correct"),
    [
        (
            "limo",
            LIMO,
            "What is 2+2?",
            f"<think>\n{LIMO['solution']}\n</think>\n\nThe final answer is $\\boxed{{4}}$.",
            None,
        ),
        ("s1k", S1K11, "What is 3+3?", "<think>\nAdding.\n</think>\n\nIt is 6.", True),
        ("s1k", S1K, "What is 4+4?", "<think>\nAdding 4.\n</think>\n\nIt is 8.", None),
        ("messages", CHAT, "What is 5+5?", "<think>\nTen?</think>Ten.", None),
        ("messages", BESIDE, "What is 6+6?", "<think>\nSum.\n</think>\n\nTwelve.", None),
    ],
)
def test_each_format_makes_a_row_with_its_thought(
    tmp_path: Path, format: str, row: dict[str, Any], question: str, completion: str, correct: bool | None
) -> None:
    """Fails for a reader that trains the answer alone, or Gemini's thought with DeepSeek's answer."""
    from cord_distill.training.rows import exchange

    path = write(tmp_path / "in.jsonl", row)
    stats, (made,) = built(tmp_path, [{"path": path, "format": format, "name": "them"}])
    assert (made["prompt"][-1]["content"], made["completion"][0]["content"]) == (question, completion)
    assert (made["id"], made["pipeline"], made["correct"]) == ("them/000000", "them", correct)
    assert stats["sources"] == {"them": {"read": 1, "kept": 1, "written": 1}}
    read = exchange(made, "line 1")  # what training makes of it
    assert "<think>\n" + read.completion == completion
    assert read.system == ("Be brief." if row is CHAT else "")


DROPPED = {
    "no_thought": {
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "<think></think>a"}]
    },
    "thought_not_closed_once": {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
    "no_final_answer": {
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "<think>a</think> "}]
    },
    "no_question": {
        "messages": [{"role": "user", "content": " "}, {"role": "assistant", "content": "<think>a</think>b"}]
    },
}


@pytest.mark.parametrize("reason", DROPPED)
def test_rows_that_cannot_be_trained_are_counted(tmp_path: Path, reason: str) -> None:
    """Fails for a version that lets training stop at the first bad row of a thousand."""
    path = write(tmp_path / "in.jsonl", DROPPED[reason], CHAT)
    stats, rows = built(tmp_path, [{"path": path, "format": "messages"}])
    assert stats["dropped"] == {reason: 1} and len(rows) == 1


def test_graded_attempts_follow_the_filter(tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", {**S1K11, "question": "other", "deepseek_grade": "No"}, S1K11)
    sources = [{"path": path, "format": "s1k"}]
    assert built(tmp_path, sources)[0]["dropped"] == {"wrong_answer": 1}
    assert built(tmp_path, sources, filters={"correct": False})[0]["kept"] == 2


def test_a_wrong_column_names_line_and_format(tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", LIMO, {"problem": "q"})
    with pytest.raises(CordError, match=r"in\.jsonl, row 2: not a row of format 'limo'.*columns problem"):
        built(tmp_path, [{"path": path, "format": "limo"}])
    with pytest.raises(CordError, match=r"is not there.*data\.sources\.0\.path"):
        built(tmp_path, [{"path": "gone.jsonl", "format": "limo"}])


def test_own_trajectories_and_two_files_are_mixed_by_weight(tmp_path: Path) -> None:
    """Fails for weights that are drawn anew with every run, and for rows of two sources trained twice."""
    own = tmp_path / "trajectories.jsonl"
    own.write_text(json.dumps(trajectory("p1").to_row()) + "\n")
    rows = [{**LIMO, "question": f"Question number {i}?"} for i in range(400)]
    other = [trajectory("p1"), trajectory("p2")]  # p1 is the run's own
    sources = [
        {"path": write(tmp_path / "limo.jsonl", *rows), "format": "limo", "weight": 0.5},
        {"path": write(tmp_path / "run2.jsonl", *(t.to_row() for t in other)), "format": "trajectories", "weight": 2},
    ]
    values = {"name": "r", "data": {"sources": sources}, "teachers": [{"model": "a/b"}]}
    stats = build_dataset(Recipe.model_validate(values), own, tmp_path / "dataset")
    taken = stats["sources"]
    assert taken["own trajectories"] == {"read": 1, "kept": 1, "written": 1}
    assert taken["run2"] == {"read": 2, "kept": 1, "written": 2}
    assert taken["limo"]["written"] == 400 - stats["dropped"]["weight"] and 150 < taken["limo"]["written"] < 250
    assert stats["dropped"]["duplicate"] == 1
    lines = (tmp_path / "dataset/train.jsonl").read_text().splitlines()
    assert len(lines) == 1 + 2 + taken["limo"]["written"]
    assert build_dataset(Recipe.model_validate(values), own, tmp_path / "again")["sha256"] == stats["sha256"]
    card = (tmp_path / "dataset/README.md").read_text()
    assert "| limo | `limo.jsonl` | not said | 0.5 | 400 |" in card
    assert str(tmp_path) not in card and "limo.jsonl" in card.partition("```yaml")[2]


def test_copies_of_a_row() -> None:
    def source(weight: float) -> SourceConfig:
        return SourceConfig(path="x", format="rows", weight=weight)

    assert [copies_per_epoch(source(w), "a", 0) for w in (1, 2, 3)] == [1, 2, 3]
    shares = [sum(copies_per_epoch(source(w), str(i), 7) for i in range(2000)) / 2000 for w in (0.25, 1.5)]
    assert shares == pytest.approx([0.25, 1.5], abs=0.03)


LONG = "Let a, b and c be the three positive real numbers whose sum is 9; find the largest value of their product"


@pytest.mark.parametrize(
    ("question", "near"),
    [
        (LONG.replace("Let a", "Suppose a") + ".", True),
        (LONG.replace("is 9", "is 8"), False),
        (LONG.replace("largest", "smallest").replace("product", "squares"), False),
        ("What is it?", False),
        ("", False),
    ],
)
def test_near_duplicates(question: str, near: bool) -> None:
    """Fails for similarity alone: another number is another problem."""
    seen = NearDuplicates(0.8)
    assert not seen.seen(LONG)
    assert seen.seen(question) is near
    assert seen.seen(LONG)


def test_near_duplicates_agree_with_comparing_all_pairs() -> None:
    """Fails for a prefix that is one too short: pairs at the threshold itself would be missed."""
    import random

    from cord_distill.data.near_duplicates import _runs

    rng = random.Random(0)
    vocabulary = [f"w{chr(97 + i)}" for i in range(6)]
    questions = [" ".join(rng.choices(vocabulary, k=rng.randint(3, 9))) for _ in range(300)]
    for threshold in (0.5, 0.75, 1.0):
        fast, kept = NearDuplicates(threshold), []
        for question in questions:
            runs = _runs(question)
            slow = any(len(runs & other) / len(runs | other) >= threshold for other in kept)
            assert fast.seen(question) is slow
            if not slow:
                kept.append(runs)


def test_near_duplicates_are_dropped_when_asked(tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", {**LIMO, "question": LONG}, {**LIMO, "question": LONG + ".", "solution": "x"})
    sources = [{"path": path, "format": "limo"}]
    assert built(tmp_path, sources)[0]["kept"] == 2
    assert built(tmp_path, sources, near_duplicates=0.8)[0]["dropped"] == {"near_duplicate": 1}


@pytest.mark.parametrize("name", ["sft_limo", "sft_s1k", "sft_messages"])
def test_recipes_without_teachers_have_data_and_training(name: str) -> None:
    """Fails for a plan that makes no data set because nothing was generated."""
    assert [stage.key for stage in plan_stages(Experiment.load(name))] == ["data/sft", "train/sft", "evaluate"]
    assert load_recipe(name).train["global_batch_size"] == 8


def test_two_sources_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="give each its own"):
        Recipe.model_validate({"name": "r", "data": {"sources": [{"path": "a/x.jsonl", "format": "limo"}] * 2}})
    with pytest.raises(ValueError, match="either path"):
        Recipe.model_validate({"name": "r", "data": {"sources": [{"format": "limo"}]}})


def test_real_limo_questions_are_no_near_duplicates(shared_data: Path) -> None:
    lines = (shared_data / "limo_v1_first200/limo_v1_first200.jsonl").read_text().splitlines()
    seen = NearDuplicates(0.8)
    assert sum(seen.seen(json.loads(line)["problem"]) for line in lines) <= 2


def turns(question: Any, answer: Any, **more: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer, **more}]


def parts(*texts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text} for text in texts]


ODD_ROWS: list[tuple[str, dict[str, Any], str]] = [
    ("messages", {"messages": turns("q", None, reasoning_content="9+9, let me")}, "no_final_answer"),
    ("messages", {"messages": turns(None, "<think>a</think>b")}, "no_question"),
    ("messages", {"messages": turns("q", 5, reasoning="a")}, "unusable_value"),
    ("messages", {"messages": turns([{"type": "image_url"}], "<think>a</think>b")}, "unusable_value"),
    ("messages", {"messages": turns("q \ud83d", "<think>a</think>b")}, "unusable_value"),
    ("messages", {"messages": turns("q \0", "<think>a</think>b")}, "unusable_value"),
    ("messages", {"messages": turns("q", "<think>a</think>b"), "correct": "false"}, "wrong_answer"),
    ("messages", {"messages": turns("q", "<think>a</think>b"), "correct": 0}, "wrong_answer"),
    ("messages", {"messages": turns("q", "<think>a</think>b"), "correct": "maybe"}, "unusable_value"),
    ("messages", {"messages": [*turns("q", "a"), *turns("q", "<think>a</think>b")]}, "other_turns"),
    ("messages", {"messages": [{"role": "tool", "content": "5"}, *turns("q", "<think>a</think>b")]}, "other_turns"),
    ("messages", {"messages": [*turns("q", None)[:1], {"role": "assistant", "tool_calls": []}]}, "no_final_answer"),
    ("limo", {**LIMO, "answer": None}, "no_final_answer"),
    ("limo", {**LIMO, "answer": "nan"}, "no_final_answer"),
    ("limo", {**LIMO, "answer": float("nan")}, "unusable_value"),
    ("limo", {**LIMO, "answer": ["3", "4"]}, "unusable_value"),
    ("limo", {**LIMO, "answer": True}, "unusable_value"),
    ("limo", {**LIMO, "question": None}, "no_question"),
    ("s1k", {**S1K, "attempt": None}, "no_final_answer"),
]


@pytest.mark.parametrize(("format", "row", "reason"), ODD_ROWS)
def test_an_odd_row_is_counted_and_the_others_are_kept(
    tmp_path: Path, format: str, row: dict[str, Any], reason: str
) -> None:
    """Fails for `str(content)`, which trains "None" and "[{'type': ...", and for a row that refuses the file."""
    good = {"messages": CHAT, "limo": {**LIMO, "question": "other"}, "s1k": S1K11}[format]
    stats, rows = built(tmp_path, [{"path": write(tmp_path / "in.jsonl", row, good), "format": format}])
    assert (stats["dropped"], len(rows)) == ({reason: 1}, 1)


@pytest.mark.parametrize(
    ("row", "system"),
    [
        ({"messages": turns("What?", "Two.", reasoning="One.")}, ""),
        ({"messages": turns(parts("Wh", "at?"), parts("Two."), reasoning_content="One.")}, ""),
        ({"messages": turns("What?", "Two.", reasoning="One."), "system": "Be brief."}, "Be brief."),
        ({"messages": [{"role": "system", "content": None}, *turns("What?", "Two.", thinking="One.")]}, ""),
        ({"messages": [{"role": "developer", "content": "Hm."}, *turns("What?", "Two.", reasoning="One.")]}, "Hm."),
    ],
)
def test_spellings_of_a_chat(tmp_path: Path, row: dict[str, Any], system: str) -> None:
    """Fails for a reader that knows one name of the thought, or loses a system prompt that stands in a column."""
    _, (made,) = built(tmp_path, [{"path": write(tmp_path / "in.jsonl", row), "format": "messages"}])
    assert made["completion"][0]["content"] == "<think>\nOne.\n</think>\n\nTwo."
    assert made["prompt"][-1]["content"] == "What?"
    assert [m["content"] for m in made["prompt"][:-1]] == ([system] if system else [])


def test_several_traces_of_one_problem_are_rows_of_their_own(tmp_path: Path) -> None:
    """Fails for rows known by their problem's id: a wrong trace would take its right brothers along."""
    rows = [
        {"problem_id": 0, "correct": n > 0, "messages": turns("What is 0+1?", f"<think>try {n}</think>{n}")}
        for n in (0, 1, 2, 2)
    ]
    path = write(tmp_path / "in.jsonl", *rows)
    stats, made = built(tmp_path, [{"path": path, "format": "messages", "name": "k"}])
    assert stats["dropped"] == {"wrong_answer": 1, "duplicate": 1}
    assert [row["id"] for row in made] == ["k/0#2", "k/0#3"]


def test_the_row_behind_the_limit_is_not_read(tmp_path: Path) -> None:
    """Fails the version that counts a row after it was read: a file that is damaged further on could not be begun."""
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(LIMO) + "\n" + "no row\n")
    stats, _ = built(tmp_path, [{"path": str(path), "format": "limo", "limit": 1}])
    assert stats["sources"]["rows"] == {"read": 1, "kept": 1, "written": 1}


def test_odd_trajectories_of_others_are_counted(tmp_path: Path) -> None:
    """Half a surrogate pair cannot be written as UTF-8, and a count may be null. Fails the version that looks at all
    formats but this one: a UnicodeEncodeError or a TypeError without a file."""
    odd = trajectory("p1", answer="\n\n\\boxed{\ud835}").to_row()
    null = {**trajectory("p2").to_row(), "num_tokens": {"reasoning": None, "answer": 4}}
    stats, rows = built(tmp_path, [{"path": write(tmp_path / "other.jsonl", odd, null), "format": "trajectories"}])
    assert stats["dropped"] == {"unusable_value": 1} and stats["tokens"]["answer"] == 4
    assert [row["id"] for row in rows] == ["other/p2"]


def test_a_row_whose_equal_was_dropped_is_no_duplicate(tmp_path: Path) -> None:
    """The first source's weight takes none of its rows. Fails the version that remembers the texts of dropped rows: the
    question would be lost from both."""
    path = write(tmp_path / "rows.jsonl", LIMO)
    first = {"path": path, "format": "limo", "name": "first", "weight": 1e-9}
    stats, rows = built(tmp_path, [first, {"path": path, "format": "limo", "name": "second"}])
    assert stats["dropped"] == {"weight": 1} and [row["pipeline"] for row in rows] == ["second"]
