"""The nouns: what is derived, and that a row on disk is the whole trajectory."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest
from made_rows import MALICE, made_row

from cord_distill.types import Beam, Step, Stop, Trajectory


def step(n: int, text: str, score: float | None, num_tokens: int = 3) -> Step:
    return Step(n, "ada", text, (1, 2), num_tokens, score, Stop.STEP)


def test_a_beam_without_steps_is_live_and_unscored() -> None:
    assert (Beam().live, Beam().score, Beam().text, Beam().num_tokens) == (True, None, "", 0)


def test_a_beam_has_the_score_of_its_last_step_and_the_text_of_all() -> None:
    beam = Beam((step(1, "### Step 1. a\n", 0.25), step(2, "### Step 2. b</think>", 0.5, 4)), Stop.THINK_END)
    assert (beam.live, beam.score, beam.num_tokens) == (False, 0.5, 7)
    assert beam.text == "### Step 1. a\n### Step 2. b</think>"


@pytest.mark.parametrize("pipeline", ["cord", "curation"])
def test_a_row_read_back_is_the_same_trajectory(pipeline: str) -> None:
    row = made_row(3, pipeline=pipeline, text=MALICE)
    trajectory = Trajectory.from_row(row)
    assert json.loads(json.dumps(trajectory.to_row())) == row
    assert next(iter(trajectory.to_row())) == "schema"
    assert trajectory.steps[0].ids == (1, 7, 9)
    assert trajectory.stop is Stop.THINK_END


def test_a_failed_row_is_read_back_too() -> None:
    row = made_row(1, error="engine ada: out of memory")
    assert Trajectory.from_row(row).error == "engine ada: out of memory"


def test_the_completion_is_the_steps_and_the_final_answer() -> None:
    trajectory = Trajectory.from_row(made_row(1))
    assert trajectory.completion == "".join(s.text for s in trajectory.steps) + trajectory.final_answer_text
    assert trajectory.reasoning.endswith("</think>")


@pytest.mark.parametrize("damage", [{"stop": "tired"}, {"teacher": "ada"}])
def test_a_row_of_another_schema_is_refused(damage: dict[str, str]) -> None:
    with pytest.raises((TypeError, ValueError)):
        Trajectory.from_row({**made_row(1), **damage})


def test_nouns_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        step(1, "x", None).n = 2  # type: ignore[misc]


def test_types_need_nothing_heavy() -> None:
    code = "import sys; before = set(sys.modules); import cord_distill.types; print(*(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    outside = {m.split(".")[0] for m in loaded} - set(sys.stdlib_module_names) - {"cord_distill"}
    assert outside <= {"annotated_types", "typing_extensions"}
