"""What a data set takes from a search besides its winner: further traces, cut tails, preference pairs, step values.

One scripted search of three steps, small enough to be read: B = 2, and at each step the two best are kept.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted_world import write_recipe

from cord_distill.common.errors import CordError
from cord_distill.data.beam_tree import columns
from cord_distill.data.build import build_dataset
from cord_distill.data.cut_tail import cut_tail
from cord_distill.data.preferences import preference_pairs
from cord_distill.data.step_values import step_values
from cord_distill.recipe.data import PreferencesConfig
from cord_distill.recipe.file import load_recipe
from cord_distill.recipe.recipe import Recipe
from cord_distill.types import Candidate, Problem, Step, Stop, Trajectory

ANSWER = "\n\nThe answer is \\boxed{4}."
PROBLEM = Problem("p", "What is 2+2?", "4")
S, END = Stop.STEP, Stop.THINK_END


def proposal(parent: int, teacher: str, text: str, score: float | None, kept: bool, stop: Stop = S) -> Candidate:
    return Candidate(parent, teacher, 0, text, score, kept, stop, None if score is not None else "empty step")


# Step 1 keeps A and B; step 2 A's child C, which ends, and B's child D; at step 3 C is carried and D's child E ends.
SEARCH = (
    (
        proposal(0, "x", "### Step 1. A\n\n", 0.6, True),
        proposal(0, "y", "### Step 1. B\n\n", 0.5, True),
        proposal(0, "z", "### Step 1. bad\n\n", 0.1, False),
        proposal(0, "z", "", None, False),
    ),
    (
        proposal(0, "x", "### Step 2. C</think>", 0.9, True, END),
        proposal(1, "y", "### Step 2. D\n\n", 0.8, True),
        proposal(0, "y", "### Step 2. c\n\n", 0.7, False),
        proposal(1, "z", "### Step 2. d</think>", 0.2, False, END),
    ),
    (
        Candidate(0, "x", -1, "", 0.9, True, END),
        proposal(1, "y", "### Step 3. E</think>", 0.85, True, END),
        proposal(1, "z", "### Step 3. e\n\n", 0.3, False),
    ),
)


def steps(*told: tuple[str, str, float | None]) -> tuple[Step, ...]:
    return tuple(Step(n, who, text, (n,), 5, score, S) for n, (who, text, score) in enumerate(told, 1))


def searched(**other: Any) -> Trajectory:
    made = Trajectory(
        "p", PROBLEM, "cord", steps(("x", "### Step 1. A\n\n", 0.6), ("x", "### Step 2. C</think>", 0.9)), ANSWER,
        "4", True, 0.9, END, {"reasoning": 10, "answer": 4, "generated_total": 90, "scored_total": 400}, "h", 3, SEARCH,
    )  # fmt: skip
    return replace(made, **other)


def built(
    folder: Path, rows: list[Trajectory], grade: Any = None, **data: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    path = folder / "trajectories.jsonl"
    path.write_text("".join(json.dumps(row.to_row()) + "\n" for row in rows))
    stats = build_dataset(Recipe.model_validate({"name": "r", "data": data}), path, folder / "dataset", grade)
    return stats, read(folder / "dataset/train.jsonl")


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def text_of(row: dict[str, Any], key: str = "completion") -> str:
    return row[key][0]["content"]


@pytest.mark.parametrize(
    ("scores", "left"),
    [
        ((0.2, 0.95, 0.4, 0.95, 0.96), 4),
        ((0.2, 0.95, 0.96, 0.97, 0.99), 2),
        ((0.95, 0.95, 0.95, 0.95, 0.95), 1),
        ((0.2, 0.3, 0.4, 0.5, 0.95), 5),
        ((0.95, 0.95, 0.95, 0.95, 0.5), 5),
        ((0.9, 0.9, 0.9, 0.9, 0.9), 5),
        ((None, None, None, None, 0.99), 5),
    ],
    ids=["a relapse", "from the second on", "from the first on", "only the last", "unsure at the end",
         "equal is not above", "no S per step"],
)  # fmt: skip
def test_the_tail_goes_where_s_stays_above(scores: tuple[float | None, ...], left: int) -> None:
    """Fails for the lazy cut at the first step above the threshold: S falls again at a mistake that is mended later."""
    told = [("x", f"### Step {n}. s\n\n", score) for n, score in enumerate(scores, 1)]
    told[-1] = ("x", "### Step 5. s\n\n</think>", scores[-1])
    whole = searched(steps=steps(*told), checks={"steps_right": [True, True, True, True, False], "all_right": False})
    cut = cut_tail(whole, 0.9)
    assert len(cut.steps) == left
    assert cut.completion == "".join(text for _, text, _ in told[:left]).removesuffix("</think>") + "</think>" + ANSWER
    assert (cut is whole) == (left == 5)
    assert cut.checks["steps_right"] == [True, True, True, True, False][:left]
    assert cut.num_tokens["reasoning"] == (10 if left == 5 else 5 * left)


def test_cut_rows_are_counted(tmp_path: Path) -> None:
    told = (("x", "### Step 1. s\n\n", 0.95), ("y", "### Step 2. s\n\n", 0.96), ("y", "### Step 3. s</think>", 0.97))
    stats, rows = built(tmp_path, [searched(steps=steps(*told)), searched(id="q", correct=False)], cut_tail=0.9)
    assert text_of(rows[0]) == "<think>\n### Step 1. s\n\n</think>" + ANSWER
    assert (rows[0]["score"], rows[0]["teachers"]) == (0.95, ["x"])
    assert stats["cut_tail"] == {"above": 0.9, "traces": 1, "steps": 2}
    assert "1 traces end where S stays above 0.9: 2 steps are cut off." in (tmp_path / "dataset/README.md").read_text()


def test_final_beams_become_rows_with_the_winners_answer(tmp_path: Path) -> None:
    """Fails for one that takes pruned candidates, loses the beam that was carried, or asks the carried one twice."""
    stats, rows = built(tmp_path, [searched()], rows_per_problem=4)
    assert [(row["id"], text_of(row), row["score"], row["teachers"]) for row in rows] == [
        ("p", "<think>\n### Step 1. A\n\n### Step 2. C</think>" + ANSWER, 0.9, ["x", "x"]),
        ("p#2", "<think>\n### Step 1. B\n\n### Step 2. D\n\n### Step 3. E</think>" + ANSWER, 0.85, ["y", "y", "y"]),
    ]
    assert (stats["kept"], stats["rows_per_problem"], stats["tokens"]["mean_per_row"]) == (2, 4, 14)
    assert len(built(tmp_path, [searched()])[1]) == 1


def test_an_answer_is_not_put_behind_a_thought_that_does_not_give_it(tmp_path: Path) -> None:
    """Fails for one that lends a wrong answer to other beams, or a right one to a beam whose S is low."""
    wrong, rows = built(tmp_path, [searched(correct=False)], rows_per_problem=4, filters={"correct": False})
    assert len(rows) == wrong["kept"] == 1
    unsure = (*SEARCH[:2], (SEARCH[2][0], replace(SEARCH[2][1], score=0.5), SEARCH[2][2]))
    assert len(built(tmp_path, [searched(candidates=unsure)], rows_per_problem=4)[1]) == 1


def test_near_equal_traces_are_dropped_and_siblings_are_no_near_duplicates(tmp_path: Path) -> None:
    """Fails for a comparison of texts, which other numbers and blanks tell apart; and for `near_duplicates` that takes
    the second trace of a question for the question again."""
    text = "### Step 1. B\n\n### Step 2. D\n\n### Step 3. E\n\n### Step 4. F\n\n"
    near = "### Step 1.  b\n\n### Step 2. D\n\n### Step 3. E\n\n### Step 9. F\n\n### Step 10. G</think>"
    last = (proposal(0, "y", near, 0.9, True, END), proposal(0, "x", "### Step 1. other</think>", 0.8, True, END))
    row = searched(steps=steps(("y", text + "### Step 5. G</think>", 0.9)), candidates=(last,))
    stats, rows = built(tmp_path, [row], rows_per_problem=3, near_duplicates=0.8)
    assert stats["dropped"] == {"near_equal_trace": 1}
    assert [text_of(row)[8:22] for row in rows] == ["### Step 1. B\n", "### Step 1. ot"]


def curated(*told: tuple[str, float]) -> Trajectory:
    column = tuple(
        Candidate(0, "xyz"[n % 3], n, text, score, n == 0, END if "</think>" in text else Stop.LENGTH)
        for n, (text, score) in enumerate(told)
    )
    thought, close, answer = told[0][0].partition("</think>")
    return searched(
        pipeline="curation",
        steps=steps(("x", thought + close, told[0][1])),
        final_answer_text=answer,
        candidates=(column,),
    )


CURATED = curated(
    ("### Step 1. a\n\n### Step 2. b\n</think>\n\\boxed{4}", 0.9),
    ("### Step 1. c\n</think>\n\\boxed{5}", 0.8),
    ("### Step 1. d\n\n### Step 2. e\n</think>\n\\boxed{4}", 0.7),
    ("### Step 1. never ends", 0.1),
)


def grade(text: str, problem: Problem) -> tuple[str, bool]:
    return text[-2], text.endswith(f"{{{problem.answer}}}")


def test_curations_other_traces_are_graded(tmp_path: Path) -> None:
    """Fails for one that trusts S: the second trace scores 0.8 and ends in another answer."""
    stats, rows = built(tmp_path, [CURATED], grade, rows_per_problem=4)
    assert [(row["id"], row["score"], row["correct"], row["teachers"]) for row in rows] == [
        ("p", 0.9, True, ["x"]),
        ("p#3", 0.7, True, ["z", "z"]),
    ]
    assert text_of(rows[1]) == "<think>\n### Step 1. d\n\n### Step 2. e\n</think>\n\\boxed{4}"
    assert stats["dropped"] == {"thought_not_closed_once": 1, "wrong_answer": 1}
    assert built(tmp_path, [CURATED], rows_per_problem=4)[0]["dropped"]["not_graded"] == 2


def pairs(row: Trajectory, **config: Any) -> list[tuple[Any, ...]]:
    made = preference_pairs(row, PreferencesConfig(**config))
    return [
        (one["kind"], one["step"], text_of(one, "chosen")[8:], text_of(one, "rejected")[8:], round(one["margin"], 9))
        for one in made
    ]


def test_pairs_of_steps_share_their_prefix_and_of_traces_end_alike() -> None:
    """Fails for pairs across prefixes (D against c), for a carried beam taken for a proposal, for a pair with what an
    engine failed to write, and for a whole trace with its answer against one without."""
    a, b = "### Step 1. A\n\n", "### Step 1. B\n\n"
    c, d = a + "### Step 2. C</think>", b + "### Step 2. D\n\n"
    assert pairs(searched(), per_problem=None) == [
        ("step", 2, d, b + "### Step 2. d</think>", 0.6),
        ("step", 3, d + "### Step 3. E</think>", d + "### Step 3. e\n\n", 0.55),
        ("step", 1, a, "### Step 1. bad\n\n", 0.5),
        ("step", 2, c, a + "### Step 2. c\n\n", 0.2),
        ("trace", 0, c, b + "### Step 2. d</think>", 0.7),
    ]
    wide = pairs(searched(), kinds=["traces"], min_margin=0.01)
    assert wide[1] == ("trace", 0, c, d + "### Step 3. E</think>", 0.05)
    assert [one[4] for one in pairs(searched(), kinds=["steps"], per_problem=2)] == [0.6, 0.55]
    assert pairs(searched(error="gone")) == []


def test_a_pair_is_a_row_that_trl_reads(tmp_path: Path) -> None:
    """Fails where TRL takes the columns for plain text and not for a conversation with an explicit prompt."""
    stats, _ = built(tmp_path, [searched(), searched(id="q", correct=False)], preferences={"per_problem": 1})
    rows = read(tmp_path / "dataset/preferences.jsonl")
    assert [row["id"] for row in rows] == ["p/step-1", "p/trace-2"]
    step = rows[0]
    assert step["prompt"] == [{"role": "user", "content": "What is 2+2?"}]
    assert text_of(step, "chosen")[: step["shared"]] == text_of(step, "rejected")[: step["shared"]]
    assert text_of(step, "chosen")[: step["shared"]] == "<think>\n### Step 1. B\n\n"
    assert (step["score_chosen"], step["score_rejected"], step["teachers"]) == (0.8, 0.2, ["y", "z"])
    assert {key: stats["preferences"][key] for key in ("pairs", "step", "trace", "problems")} == {
        "pairs": 2, "step": 1, "trace": 1, "problems": 1,
    }  # fmt: skip
    assert "2 pairs of 1 problems" in (tmp_path / "dataset/README.md").read_text()
    built(tmp_path, [searched()])
    assert not (tmp_path / "dataset/preferences.jsonl").exists()
    with pytest.raises(CordError, match=r"data\.preferences\.min_margin"):
        built(tmp_path, [searched()], preferences={"min_margin": 0.95})


def test_markers_go_from_pairs_too(tmp_path: Path) -> None:
    built(tmp_path, [searched()], preferences={"kinds": ["traces"]}, step_values=True, keep_markers=False)
    (row,) = read(tmp_path / "dataset/preferences.jsonl")
    assert text_of(row, "chosen") == "<think>\nA\n\nC</think>"
    assert row["shared"] == len("<think>\n")
    assert read(tmp_path / "dataset/step_values.jsonl")[0]["completions"] == ["A\n\n", "C</think>"]


def test_complete_traces_are_paired_with_their_answers() -> None:
    made = pairs(CURATED, kinds=["steps", "traces"])
    assert [(one[0], one[3][12:13], one[4]) for one in made] == [("trace", "d", 0.2), ("trace", "c", 0.1)]
    assert made[0][2].endswith("\\boxed{4}") and made[1][3].endswith("\\boxed{5}")


def test_step_values_hold_the_siblings_of_the_same_prefix() -> None:
    """Fails for one that lists every candidate of a step: d and D continue B, which the trace does not hold."""
    row = step_values(searched())
    assert row is not None
    assert (row["completions"], row["values"]) == (["### Step 1. A\n\n", "### Step 2. C</think>"], [0.6, 0.9])
    assert [[(one["text"][12:-2], one["value"]) for one in beside] for beside in row["siblings"]] == [
        [("B", 0.5), ("bad", 0.1)],
        [("c", 0.7)],
    ]
    assert step_values(searched(steps=steps(("x", "a</think>", None)))) is None


@pytest.mark.parametrize(
    ("selector", "data"),
    [
        ("process_reward", {"cut_tail": 0.9}),
        ("longest", {"rows_per_problem": 2}),
        ("random", {"preferences": {}}),
        ("longest", {"step_values": True}),
    ],
)
def test_scores_that_say_nothing_are_not_read(selector: str, data: dict[str, Any]) -> None:
    """Fails for a version that cuts where a length is above 0.9, or prefers what a die preferred."""
    recipe = {"name": "r", "teachers": [{"model": "m"}], "data": data}
    with pytest.raises(ValueError, match=rf"data\.{next(iter(data))} reads .*selector {selector}"):
        Recipe.model_validate({**recipe, "decode": {"selector": selector}})
    assert Recipe.model_validate(recipe)


@pytest.mark.parametrize("data", [{"rows_per_problem": 2}, {"preferences": {}}])
def test_a_pipeline_that_leaves_one_trace_has_no_more_of_them(data: dict[str, Any]) -> None:
    """Fails for a version that asks in vain for a smaller margin once the decoding is paid for."""
    recipe = {"name": "r", "teachers": [{"model": "m"}], "data": data, "decode": {"pipeline": "mcts"}}
    with pytest.raises(ValueError, match=rf"data\.{next(iter(data))} needs several rated traces.*pipeline mcts"):
        Recipe.model_validate(recipe)


def test_a_real_search_leaves_pairs_and_values(tmp_path: Path, random_models: dict[str, Path]) -> None:
    """A run of the scripted world, from its own file: the tree holds every row, and each pair keeps its promises."""
    from cord_distill.decode.generate import generate
    from cord_distill.run.make_data import make_data
    from cord_distill.run_folder.paths import RunFolder

    asked = ["data.preferences={}", "data.step_values=true", "data.rows_per_problem=3", "data.filters.correct=false"]
    recipe = load_recipe(write_recipe(tmp_path, random_models, problems=5), [*asked, "track.wandb.mode=disabled"])
    generate([recipe])
    stats, run = make_data(recipe), RunFolder.of(recipe)
    for line in run.trajectories.read_text().splitlines():
        tree = columns(Trajectory.from_row(json.loads(line)))
        assert all(node.parent is None or node.parent.candidate.kept for column in tree for node in column)
    made = read(run.dataset / "preferences.jsonl")
    assert len(made) == stats["preferences"]["pairs"] > 5
    for row in made:
        chosen, rejected, shared = text_of(row, "chosen"), text_of(row, "rejected"), row["shared"]
        assert chosen[:shared] == rejected[:shared] and chosen != rejected
        assert row["margin"] == row["score_chosen"] - row["score_rejected"] > 0.1 - 1e-8
        assert row["kind"] == "step" or (chosen.endswith("</think>") and rejected.endswith("</think>"))
    assert stats["step_values"]["rows"] == 5


def test_a_trace_of_many_steps_has_a_chain() -> None:
    """Fails the version that asks parent by parent: a RecursionError from a thousand steps on."""
    levels = tuple((proposal(0, "x", f"{n}\n\n", 0.5, True),) for n in range(1500))
    (last,) = columns(searched(candidates=levels))[-1]
    assert "".join(one.text for one in last.chain) == "".join(f"{n}\n\n" for n in range(1500))


def test_a_sibling_that_the_step_begins_with_is_a_sibling() -> None:
    """A teacher's second proposal was cut off where the first went on. Fails the version that takes every beginning of
    the step for the step itself, which may have our `</think>` behind it."""
    level = (
        Candidate(0, "x", 0, "So it is 4.", 0.9, True, Stop.LENGTH),
        Candidate(0, "x", 1, "So it", 0.4, False, Stop.LENGTH),
    )
    trace = searched(steps=steps(("x", "So it is 4.</think>", 0.9)), candidates=(level,))
    row = step_values(trace)
    assert row is not None and row["siblings"] == [[{"teacher": "x", "text": "So it", "value": 0.4}]]
