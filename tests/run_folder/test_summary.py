"""The figures of a run, on rows whose figures are known by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_rows import TEACHERS, made_row, made_rows, write_run

from cord_distill.common.errors import CordError
from cord_distill.decode.figures import HitRate, ModelCost, hit_rate, method_figures
from cord_distill.recipe.experiment import Experiment
from cord_distill.report.summary import build_summary, write_summary
from cord_distill.run_folder.trajectories import read_rows


def test_a_method_of_four_problems() -> None:
    rows = [
        made_row(0),
        made_row(1, wrong_steps=1),  # lucky: the answer is right, a step is not
        made_row(2, correct=False, wrong_steps=6, pipeline="curation"),
        made_row(3, error="engine gone"),
    ]
    found = method_figures(rows)
    assert (found.num_problems, found.failed) == (4, 1)
    assert found.answer_accuracy == pytest.approx(2 / 4, abs=1e-6)  # the failed one is no right one
    low, high = found.answer_accuracy_ci
    assert (round(low, 3), round(high, 3)) == (0.15, 0.85)  # Wilson, 2 of 4
    assert found.all_steps_right == pytest.approx(1 / 3, abs=1e-6)
    assert found.lucky == 0.5
    assert found.tokens_per_problem == 701.0
    assert found.score == pytest.approx(sum(r["score"] for r in rows[:3]) / 3, abs=1e-6)


def test_nothing_gives_nulls_not_zeros() -> None:
    found = method_figures([])
    assert found.num_problems == 0
    assert {found.answer_accuracy, found.answer_accuracy_ci, found.score, found.lucky} == {None}
    assert found.hit_rate == HitRate()


def test_ungraded_and_unchecked_rows_leave_their_figures_out() -> None:
    row = {**made_row(0), "correct": None, "checks": {}}
    found = method_figures([row])
    assert (found.answer_accuracy, found.all_steps_right, found.step_accuracy, found.lucky) == (None,) * 4
    assert found.score is not None


def test_a_problem_tried_again_counts_once_with_its_last_row() -> None:
    found = method_figures([made_row(0, error="engine gone"), made_row(0)])
    assert (found.num_problems, found.failed, found.answer_accuracy) == (1, 0, 1.0)


def test_hit_rate_spreads_each_step_over_its_part_of_the_trace() -> None:
    found = hit_rate([["a", "b"], ["a", "a", "a", "b"]])
    assert found.overall == {"a": 0.666667, "b": 0.333333}
    assert [d["a"] for d in found.deciles] == [1, 1, 1, 1, 1, 0.5, 0.5, 0.25, 0, 0]
    assert all(sum(d.values()) == pytest.approx(1) for d in found.deciles)


def test_hit_rate_of_a_long_trace() -> None:
    found = hit_rate([["a"] * 23 + ["b"] * 23])
    assert [d["b"] for d in found.deciles] == [0] * 5 + [1] * 5


def test_a_whole_run(tmp_path: Path) -> None:
    summary = write_summary(Experiment.load(write_run(tmp_path))).to_json()
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    assert list(summary["methods"]) == ["cord", "curation"]
    assert list(summary["students"]) == ["untrained", "cord", "curation"]
    assert list(summary["teachers"]) == list(TEACHERS)
    assert summary["students"]["cord"]["avg_at_4"] == 0.52
    assert summary["students"]["cord"]["avg_at_4_ci"] == pytest.approx([0.47, 0.57])
    assert summary["students"]["cord"]["suites"]["ledger"]["num_problems"] == 100
    assert summary["teachers"]["ada"]["answer_accuracy"] == 0.04
    assert summary["methods"]["cord"]["seconds"] == 41.5
    assert summary["seconds"]["train:cord"] == 30.0
    assert 0 < summary["methods"]["curation"]["answer_accuracy"] < summary["methods"]["cord"]["answer_accuracy"] < 1


def test_it_is_the_same_twice_and_whatever_the_variant(tmp_path: Path) -> None:
    recipe = write_run(tmp_path)
    first, again, one = (build_summary(Experiment.load(recipe, x)) for x in ([], [], ["variant=cord"]))
    assert first == again == one


def test_half_a_run_gives_half_a_summary(tmp_path: Path) -> None:
    recipe = write_run(tmp_path, stats=False)
    (tmp_path / "out" / "curation" / "trajectories.jsonl").unlink()
    summary = build_summary(Experiment.load(recipe))
    assert list(summary.methods) == ["cord"]
    assert (summary.students, summary.teachers) == ({}, {})
    assert summary.seconds == {"generate:cord": 41.5}


def test_a_run_not_started_has_an_empty_summary(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("name: r\noutput_dir: ./nowhere\n")
    summary = build_summary(Experiment.load(recipe))
    assert (summary.methods, summary.students, summary.seconds) == ({}, {}, {})
    assert not (tmp_path / "nowhere").exists()


def test_a_recipe_without_variants_is_one_method(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("name: r\noutput_dir: ./out\ndecode: {pipeline: curation}\n")
    (tmp_path / "out").mkdir()
    lines = [json.dumps(row) + "\n" for row in made_rows(3, "curation")]
    (tmp_path / "out" / "trajectories.jsonl").write_text("".join(lines))
    assert build_summary(Experiment.load(recipe)).methods["curation"].num_problems == 3


def test_a_torn_last_line_is_left_out_and_a_damaged_one_named(tmp_path: Path) -> None:
    good = json.dumps(made_row(0)) + "\n"
    file = tmp_path / "trajectories.jsonl"
    file.write_text(good + good[:100])
    assert len(list(read_rows(file))) == 1
    file.write_text(good + good[:100] + "\n" + good)
    with pytest.raises(CordError, match=r"trajectories.jsonl, line 2: not a trajectory row"):
        list(read_rows(file))


def test_the_first_suite_of_the_recipe_stands_at_the_top(tmp_path: Path) -> None:
    recipe = write_run(tmp_path)
    path = tmp_path / "out" / "eval" / "cord" / "results.json"
    results: dict[str, Any] = json.loads(path.read_text())
    results["suites"] = {"aime": {"avg_at_k": 0.1, "k": 16}, **results["suites"]}
    path.write_text(json.dumps(results))
    student = build_summary(Experiment.load(recipe)).students["cord"].to_json()
    assert (student["suite"], student["avg_at_4"]) == ("ledger", 0.52)
    assert student["suites"]["aime"]["avg_at_16"] == 0.1


def test_a_damaged_results_file_is_named(tmp_path: Path) -> None:
    recipe = write_run(tmp_path)
    (tmp_path / "out" / "stages.json").write_text("{")
    with pytest.raises(CordError, match=r"stages.json: not readable as JSON"):
        build_summary(Experiment.load(recipe))


def test_students_that_share_no_problem_or_were_stopped_have_no_difference(tmp_path: Path) -> None:
    """Evaluated on other suites, or killed between problems.jsonl and results.json: fails the version in which that
    ends `cord report` and the end of `cord run` with an error."""
    recipe = write_run(tmp_path)
    evaluations = tmp_path / "out" / "eval"
    for label, suite in (("cord", "ledger"), ("curation", "ledger")):
        results = json.loads((evaluations / label / "results.json").read_text())
        protocol = {"suites": {suite: {}}}
        (evaluations / label / "results.json").write_text(json.dumps({**results, "protocol": protocol}))
        row = {"suite": suite, "id": "p0", "avg": 1.0, "correct": [True]}
        (evaluations / label / "problems.jsonl").write_text(json.dumps(row) + "\n")
    assert [one.num_problems for one in build_summary(Experiment.load(recipe)).differences] == [1]
    (evaluations / "curation" / "problems.jsonl").write_text(json.dumps({**row, "suite": "aime24"}) + "\n")
    assert build_summary(Experiment.load(recipe)).differences == []
    (evaluations / "curation" / "results.json").unlink()
    assert build_summary(Experiment.load(recipe)).differences == []


def test_the_figures_of_a_model_are_shares_of_what_it_was_asked() -> None:
    meter = {"requests": 8, "prompt_tokens": 1000, "cached_tokens": 900, "generated_tokens": 640, "discarded": 2}
    found = ModelCost.of(meter)
    assert (found.cache_hit_rate, found.discarded, found.generated_tokens) == (0.9, 0.25, 640)
    assert ModelCost.of({}).cache_hit_rate is None
