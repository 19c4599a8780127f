"""The report's other tables: the paper's figures beside ours, drop counts, cost, protocol, and the loss curve."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_rows import MALICE, made_summary, write_run

from cord_distill.decode.answer_figures import AnswerFigures, MarginFigures
from cord_distill.decode.figures import MethodFigures, ModelCost
from cord_distill.evaluation.figures import ModelScores, SuiteFigures
from cord_distill.evaluation.paper import paper
from cord_distill.recipe.experiment import Experiment
from cord_distill.recipe.recipe import Recipe
from cord_distill.report.losses import loss_curves, losses, thinned
from cord_distill.report.page import write_report
from cord_distill.report.pictures import pictures
from cord_distill.report.sections import (
    checkpoints,
    cost,
    final_answers,
    known_answer,
    paper_data,
    paper_students,
    rows_of,
    sections,
)
from cord_distill.report.summary import Summary
from cord_distill.run_folder.paths import RunFolder
from cord_distill.run_folder.training_folder import TrainingFolder

TEACHERS = [{"model": "Qwen/QwQ-32B", "name": "a"}, {"model": "microsoft/Phi-4-reasoning-plus", "name": "b"}]
STUDENT = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
METHOD = MethodFigures(100, answer_accuracy=0.9, answer_accuracy_ci=[0.88, 0.92], score=0.7)


def made(tmp_path: Path, **values: Any) -> Recipe:
    base = {"name": "r", "output_dir": str(tmp_path), "teachers": TEACHERS, "train": {"model_name_or_path": STUDENT}}
    base |= {"problems": {"dataset": "GAIR/LIMO"}}
    return Recipe.model_validate({**base, **values})


# The paper.


def test_our_data_stand_beside_the_papers_of_the_same_method_and_teachers(tmp_path: Path) -> None:
    """Fails a table that shows the heterogeneous row beside homogeneous teachers, and one beside other problems."""
    summary = made_summary(methods={"cord": METHOD})
    for other in ({"path": "mine.jsonl"}, {"dataset": "openai/gsm8k"}):
        assert paper_data([made(tmp_path, problems=other)], summary).rows == []
    assert paper_data([made(tmp_path)], summary).rows == [["cord", "90.0 [88.0, 92.0]", "93.1", "0.700", "0.774"]]
    one = [{"model": "Qwen/QwQ-32B", "name": name, "temperature": t} for name, t in (("x", 0.5), ("y", 0.7))]
    assert paper_data([made(tmp_path, teachers=one)], summary).rows == [
        ["cord", "90.0 [88.0, 92.0]", "90.0", "0.700", "0.726"]
    ]


@pytest.mark.parametrize("decode", [{"pipeline": "mcts"}, {"selector": "random", "pipeline": "curation"}])
def test_what_the_paper_has_no_such_row_of_is_left_out(tmp_path: Path, decode: dict[str, Any]) -> None:
    recipe = made(tmp_path, decode=decode)
    assert paper_data([recipe], made_summary(methods={decode["pipeline"]: METHOD})).rows == []


def test_our_students_stand_beside_the_papers_of_the_same_size(tmp_path: Path) -> None:
    scores = ModelScores(
        {
            "aime24": SuiteFigures(avg_at_k=0.6, avg_at_k_ci=[0.5, 0.7], k=16),
            "gsm8k": SuiteFigures(avg_at_k=0.9, k=16),
        }
    )
    summary = made_summary(students={"untrained": scores, "cord": scores})
    assert paper_students([made(tmp_path)], summary).rows == [
        ["untrained", "aime24", "60.0 [50.0, 70.0]", "51.3"],
        ["cord", "aime24", "60.0 [50.0, 70.0]", "60.8"],
    ]
    mine = made(tmp_path, problems={"path": "mine.jsonl"})
    assert [row[0] for row in paper_students([mine], summary).rows] == ["untrained"]
    other = made(tmp_path, train={"model_name_or_path": "built:student"})
    assert paper_students([other], summary).rows == []


def test_the_papers_figures_of_the_data_are_six_rows() -> None:
    assert {key: tuple(value) for key, value in paper()["data"].items()} == {
        "curation-hom": (77.4, 0.664), "integration-hom": (88.6, 0.215), "cord-hom": (90.0, 0.726),
        "curation-het": (84.8, 0.652), "integration-het": (91.2, 0.223), "cord-het": (93.1, 0.774),
    }  # fmt: skip


# Counts.


def test_dropped_rows_are_counted_by_reason_over_all_methods(tmp_path: Path) -> None:
    recipes = [made(tmp_path, variants={"one": {}, "two": {}}, variant=name) for name in ("one", "two")]
    for name, dropped in (("one", {"wrong_answer": 7}), ("two", {"error": 2})):
        (tmp_path / name / "dataset").mkdir(parents=True)
        stats = {"rows": 100, "kept": 100 - sum(dropped.values()), "dropped": dropped}
        (tmp_path / name / "dataset/stats.json").write_text(json.dumps(stats))
    section = rows_of(recipes)
    assert section.head == ["", "traces", "kept", "error", "wrong answer"]
    assert section.rows == [["one", "100", "93", "0", "7"], ["two", "100", "98", "2", "0"]]


ANSWERS = AnswerFigures(
    traces=40, gradable=0.975, rules={"at_once": 2, "answer_opening": 30, "stated_in_thought": 8}, traced=40,
    leaps=0.25, inside=0.05,
    margins={"right": MarginFigures(7, mean=0.8125, below=0.0), "wrong": MarginFigures(30, mean=-0.1, below=0.9)},
)  # fmt: skip


def with_answers(**methods: AnswerFigures | None) -> Summary:
    return made_summary(methods={name: MethodFigures(40, answers=one) for name, one in methods.items()})


def test_final_answers_are_counted_by_their_rule() -> None:
    """Fails a table that holds the rules of the first method alone."""
    other = replace(ANSWERS, rules={"at_once": 3, "another_seed": 37})
    section = final_answers(with_answers(cord=ANSWERS, curation=other))
    assert section.head[2:] == ["gradable %", "at once", "another seed", "answer opening", "stated in thought"]
    assert section.rows == [
        ["cord", "40", "97.5", "2", "0", "30", "8"],
        ["curation", "40", "97.5", "3", "37", "0", "0"],
    ]
    plain = replace(ANSWERS, rules={"at_once": 40})
    assert final_answers(with_answers(cord=plain, old=None)).rows == []


def test_the_known_answer_has_leaps_and_margins(tmp_path: Path) -> None:
    """Fails a table that calls a reward's rise a leap of S."""
    summary = with_answers(cord=ANSWERS)
    right, wrong = "+0.812 (n=7, below 0: 0.0 %)", "-0.100 (n=30, below 0: 90.0 %)"
    assert known_answer([made(tmp_path)], summary).rows == [["cord", "25.0", "5.0", right, "–", wrong]]
    by_length = made(tmp_path, decode={"selector": "process_reward"})
    assert known_answer([by_length], summary).rows == [["cord", "–", "–", right, "–", wrong]]
    bare = with_answers(cord=replace(ANSWERS, margins={}, leaps=None))
    assert known_answer([made(tmp_path)], bare).rows == []


def test_cost_is_per_method_and_model_without_columns_of_zeros() -> None:
    one = ModelCost(1200, 34567, 0, request_seconds=61.0, cache_hit_rate=0.931, discarded=None)
    section = cost(made_summary(methods={"cord": MethodFigures(4, models={"r1": one})}))
    assert section.head == ["", "requests", "generated tokens", "prompt tokens from the cache %"]
    assert section.rows == [["cord: r1", "1,200", "34,567", "93.1"]]


def test_checkpoints_stand_by_their_updates_and_only_those_of_this_training(tmp_path: Path) -> None:
    """Fails the version that sorts by name (10 before 4), and the one that shows a training that was set aside."""
    recipe = made(tmp_path)
    trained = TrainingFolder.of(recipe)
    trained.begin({"lr": 1}, 1, 0)
    now = trained.fingerprint
    for step, share, made_by in ((10, 0.6, now), (4, 0.25, now), (99, 0.9, "another")):
        folder = RunFolder.of(recipe).eval / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        figures = {"avg_at_k": share, "avg_at_k_ci": [0.1, 0.8], "k": 4}
        results = {"step": step, "training": made_by, "suites": {"aime24": figures}}
        (folder / "results.json").write_text(json.dumps(results))
    section = checkpoints([recipe])
    assert section.rows == [
        ["cord", "4", "aime24", "25.0 [10.0, 80.0]", "4"],
        ["cord", "10", "aime24", "60.0 [10.0, 80.0]", "4"],
    ]


def test_a_run_with_nothing_has_no_sections(tmp_path: Path) -> None:
    assert sections([made(tmp_path)], made_summary()) == []


# The loss.


def write_state(folder: Path, step: int, history: list[dict[str, Any]]) -> None:
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": step, "log_history": history}))
    for name in ("model.safetensors", "optimizer.pt"):
        (checkpoint / name).write_bytes(b"x")


def test_losses_are_those_of_the_log_and_nothing_else() -> None:
    history = [{"step": 1, "loss": 2.0}, {"step": 2, "eval_loss": 9.0}, {"step": 3, "loss": 1.0}]
    assert losses({"log_history": history}) == [(1, 2.0), (3, 1.0)]
    assert losses({}) == []


def test_a_long_curve_keeps_its_last_point() -> None:
    curve = [(i, float(i)) for i in range(1001)]
    kept = thinned(curve)
    assert len(kept) <= 300 and kept[-1] == (1000, 1000.0)
    assert thinned(curve[:5]) == curve[:5]


# The pages.


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose drop reasons, protocol and teachers' names try to break out of the page."""
    recipe = write_run(tmp_path, text=MALICE)
    out = tmp_path / "out"
    for method in ("cord", "curation"):
        (out / method / "dataset").mkdir()
        stats = {"rows": 20, "kept": 17, "dropped": {MALICE: 3}}
        (out / method / "dataset/stats.json").write_text(json.dumps(stats))
    write_state(out / "cord/checkpoints", 40, [{"step": s, "loss": 3.0 / s} for s in range(1, 41)])
    write_report(Experiment.load(recipe))
    return out


def test_both_pages_hold_the_sections_and_no_markup_from_outside(run: Path) -> None:
    page, text = (run / "report.html").read_text(), (run / "report.md").read_text()
    for title in ("The data", "Training rows"):
        assert html.escape(title) in page and f"## {title}" in text
    assert "beside the paper" not in page  # other problems than the paper's
    assert "Training loss per token" in page and MALICE not in page and page.count("<script") == 2
    assert "<script" not in text


def test_the_loss_curve_is_drawn_in_the_colours_of_the_page() -> None:
    ((title, svg),) = pictures(made_summary(), {"cord": [(1, 2.0), (2, 1.0)], "curation": [(1, 2.5), (2, 2.0)]})
    assert title == "Training loss per token"
    assert not re.findall(r"(?:fill|stroke): ?#", svg) and "var(--ink)" in svg and svg.count("stroke-dasharray") > 0
    assert "var(--t0)" not in svg  # colours are the teachers'


def test_the_newest_complete_checkpoint_remembers_the_losses(run: Path) -> None:
    """Fails a curve that ends at the first checkpoint that was kept."""
    recipe = Recipe.model_validate(
        {"name": "made", "output_dir": str(run), "variants": {"cord": {}}, "variant": "cord"}
    )
    before = loss_curves([recipe])["cord"]
    assert before[0] == (1, 3.0) and before[-1][0] == 40
    write_state(run / "cord/checkpoints", 80, [{"step": s, "loss": 1.0} for s in range(1, 81)])
    assert loss_curves([recipe])["cord"][-1] == (80, 1.0)
