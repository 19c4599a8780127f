"""The sentences at the top of a report: the figures of the run, and no claim that the figures do not carry."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_rows import made_row, made_scores, made_summary, write_run

from cord_distill.decode.figures import MethodFigures
from cord_distill.recipe.experiment import Experiment
from cord_distill.report.page import telling_problem
from cord_distill.report.story import compared_methods, story
from cord_distill.report.summary import StudentDifference, Summary, build_summary

CORD = MethodFigures(
    100, answer_accuracy=0.86, tokens_per_problem=593, scored_tokens_per_problem=5900, teacher_changes=3.35,
    steps_per_trace=6.0,
)  # fmt: skip
CURATION = MethodFigures(
    100, answer_accuracy=0.34, tokens_per_problem=1972, scored_tokens_per_problem=900, teacher_changes=0,
    steps_per_trace=6.0,
)  # fmt: skip
WINS = StudentDifference("cord", "curation", "ledger", 0.665, 0.2175, 0.4475, [0.36, 0.535], 0.0001, 80, True)


def figures(**changes: Any) -> Summary:
    """A run whose student on CoRD's data is better, with every figure known."""
    shares = {"untrained": 0.0, "cord": 0.665, "curation": 0.2175}
    made = made_summary(
        methods={"cord": CORD, "curation": CURATION},
        students={name: made_scores(share, num_problems=80) for name, share in shares.items()},
        teachers={"adder": made_scores(0.03), "flipper": made_scores(0.07)},
        differences=[WINS],
    )
    noted = replace(made, protocol=replace(made.protocol, teacher_notes={"adder": "cannot flip"}))
    return replace(noted, **changes)


def test_a_whole_run_is_told_in_three_sentences() -> None:
    assert story(figures()) == [
        "The student trained on CoRD's traces answers 66.5 % of 80 unseen problems, the one trained on Curation's "
        "21.8 %: +44.8 points [36.0, 53.5], p < 0.001. Before fine-tuning it answers 0.0 %.",
        "CoRD's traces end in the right answer for 86 % of 100 training problems, Curation's for 34 %; per problem "
        "593 tokens were generated and 5,900 read for scores, against 1,972 and 900.",
        "A likely reason: no teacher alone is right in more than 7.0 % of the unseen problems and CoRD changes teacher "
        "3.4 times in a trace of 6.0 steps. The teachers: adder cannot flip.",
    ]


@pytest.mark.parametrize("low", [0.0, -0.02])
def test_a_difference_that_may_be_nothing_gets_no_why(low: float) -> None:
    """Fails the story that gives CoRD's reasons for a win that the interval does not show."""
    one = replace(WINS, ci=[low, 0.1], p_value=0.21)
    students, _, why = story(figures(differences=[one]))
    assert "p = 0.21" in students and why.startswith("No teacher alone")


def test_what_is_not_known_is_not_said() -> None:
    assert story(made_summary()) == []
    assert story(made_summary(methods={"cord": MethodFigures(4)})) == []
    data, why = story(figures(students={}, differences=[], teachers={}))
    assert data.startswith("CoRD's traces end") and why.startswith("CoRD changes")
    without = story(figures(differences=[]))[0]
    assert without.endswith("Curation's 21.8 %. Before fine-tuning it answers 0.0 %.")
    one = figures(methods={"mine": CORD}, students={}, differences=[])
    assert story(one)[0] == (
        "mine's traces end in the right answer for 86 % of 100 training problems; "
        "per problem 593 tokens were generated and 5,900 read for scores."
    )


def test_scores_that_nobody_counted_are_not_said() -> None:
    bare = {name: replace(one, scored_tokens_per_problem=None) for name, one in figures().methods.items()}
    assert story(figures(methods=bare))[1].endswith("per problem 593 tokens were generated, against 1,972.")


def test_cord_is_held_against_curation_whatever_the_order() -> None:
    protocol = replace(made_summary().protocol, pipelines={"base": "curation", "wide": "cord", "narrow": "cord"})
    methods = dict.fromkeys(("base", "wide", "narrow"), MethodFigures(0))
    assert compared_methods(made_summary(protocol=protocol, methods=methods)) == ["wide", "base"]
    assert compared_methods(made_summary(students={"untrained": made_scores(), "x": made_scores()})) == ["x"]


def test_the_paired_difference_of_the_students_is_in_the_summary(tmp_path: Path) -> None:
    """Fails the report that sets each student beside the untrained model alone."""
    recipe = write_run(tmp_path)
    assert build_summary(Experiment.load(recipe)).differences == []  # evaluated without the answers to each problem
    for label, right in (("cord", [True] * 4), ("curation", [True, False, False, False])):
        folder = tmp_path / "out/eval" / label
        results = json.loads((folder / "results.json").read_text())
        suites = {"ledger": {"samples": 1, "problems": 4}}
        results["protocol"] = {"suites": suites}
        (folder / "results.json").write_text(json.dumps(results))
        rows = [{"suite": "ledger", "id": f"p{i}", "correct": [x], "avg": float(x)} for i, x in enumerate(right)]
        (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (one,) = build_summary(Experiment.load(recipe)).differences
    assert (one.a, one.b, one.suite, one.difference) == ("cord", "curation", "ledger", 0.75)
    assert (one.share_a, one.share_b, one.num_problems) == (1.0, 0.25, 4)
    assert "the one trained on Curation's 16.0 %: +75.0 points" in story(build_summary(Experiment.load(recipe)))[0]


def test_stages_side_by_side_count_once_by_the_clock(tmp_path: Path) -> None:
    """Fails the sum of the parts, which is more than the run took."""
    recipe = write_run(tmp_path)
    stages = {"generate": (60.0, "10:01:00"), "train/cord": (30.0, "10:01:30"), "train/curation": (28.0, "10:01:28")}
    made = {key: {"seconds": s, "ended": f"2026-01-01T{end}", "fingerprint": "x"} for key, (s, end) in stages.items()}
    (tmp_path / "out/stages.json").write_text(json.dumps(made))
    assert build_summary(Experiment.load(recipe)).wall_seconds == 90.0


def test_the_telling_problem_is_right_in_every_step_and_wrong_under_the_other(tmp_path: Path) -> None:
    """Fails the choice of a lucky trace, and of a problem that failed under the other method."""

    def rows(name: str, *made: dict[str, Any]) -> Path:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in made))
        return tmp_path / name

    first = rows("a", made_row(0), made_row(1, wrong_steps=1), made_row(2), made_row(3), made_row(4))
    other = rows("b", made_row(0), made_row(1, correct=False), made_row(2, error="gone"), made_row(3, correct=False))
    assert telling_problem(first, other) == "p3"
    assert telling_problem(other, rows("c")) is None
