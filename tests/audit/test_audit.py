"""`cord audit`: changed numbers, four scores per step, the figures; and a whole run on scripted engines."""

import asyncio
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from scripted_world import write_recipe

from cord_distill.audit.audit import _changed, _effects, audit
from cord_distill.audit.figures import StepEffect, effect_figures
from cord_distill.audit.perturb import perturbed
from cord_distill.cli import main
from cord_distill.common.errors import CordError
from cord_distill.decode.generate import generate
from cord_distill.decode.model import Model
from cord_distill.engines.base import Sampling
from cord_distill.prompts.render import load_renderer
from cord_distill.recipe.file import load_recipe
from cord_distill.report.effects import audited
from cord_distill.run_folder.paths import RunFolder
from cord_distill.search.line_break import LineBreak
from cord_distill.search.segment import StepMarker
from cord_distill.types import Problem, Step, Stop, Trajectory


def test_every_number_of_a_step_changes_and_its_marker_stays():
    """Fails the version that changes the marker's number too, and one that may draw the same digit again."""
    made = {perturbed("### Step 3. 12 + 7 = 19\n\n", "### Step 3. ", "p", seed) for seed in range(200)}
    assert all(text.startswith("### Step 3. 1") and text.endswith("\n\n") for text in made)
    numbers = [text.removeprefix("### Step 3. ").replace("=", "+").split("+") for text in made]
    assert all(int(a) != 12 and int(b) != 7 and int(c) != 19 for a, b, c in numbers)
    assert {int(a) for a, _, _ in numbers} == {10, 11, 13, 14, 15, 16, 17, 18, 19}


def test_the_same_step_is_always_changed_in_the_same_way():
    assert perturbed("x = 4", "", "p", 1) == perturbed("x = 4", "", "p", 1)


def test_a_step_without_numbers_loses_its_words():
    assert perturbed("### Step 2. So we are done.\n\n", "### Step 2. ", "p", 2) == "### Step 2. \n\n"


@pytest.mark.parametrize("text", ["3.14", "1,000", "2.5e3", "x_12"])
def test_numbers_keep_their_length(text):
    changed = perturbed(text, "", "p")
    assert changed != text and len(changed) == len(text)


class Prover:
    """S is 0.9 while the thought holds "= 4", and 0.3 without it."""

    def __init__(self, renderer) -> None:
        self.renderer = renderer

    async def logprobs(self, ids, target_ids):
        said = "= 4\n" in self.renderer.decode(ids)
        return [math.log(0.9 if said else 0.3)] * len(target_ids)


def test_a_step_that_carries_the_answer_matters_and_an_idle_one_does_not(random_models):
    """The first step states the answer, the second repeats nothing of it. Fails the version that compares S before and
    after a step: S does not rise at the second, and neither does it when the first is wrong."""
    renderer = load_renderer(str(random_models["r1"]), name="r1")
    texts = ["### Step 1. 2 + 2 = 4\n\n", "### Step 2. 7 is odd.\n\n</think>"]
    steps = tuple(Step(n, f"t{n}", text, (), 5, 0.5, Stop.STEP) for n, text in enumerate(texts, 1))
    trace = Trajectory(
        "p", Problem("p", "2 + 2?", "4"), "cord", steps, "4", "4", True, 0.9, Stop.THINK_END, {}, "hash", 0,
        checks={"steps_right": [True, False]},
    )  # fmt: skip
    prover = Model("prover", "r1", Prover(renderer), renderer, Sampling(0, 0))
    first, second = asyncio.run(_effects(prover, trace, StepMarker("### Step {t}."), " The final answer is {A}."))
    assert [first.intact, first.step_changed, first.prefix_changed, first.both_changed] == pytest.approx(
        [0.9, 0.3, 0.9, 0.3]
    )
    assert first.effect == pytest.approx(0.6) and (first.teacher, first.right) == ("t1", True)
    assert [second.intact, second.step_changed, second.prefix_changed, second.both_changed] == pytest.approx(
        [0.9, 0.9, 0.3, 0.3]
    )
    assert second.effect == pytest.approx(0.0) and second.right is False


def effect(id, teacher, value, right=None):
    return StepEffect(id, 1, teacher, 0.5 + value, 0.5, 0.5 + value, 0.5, right)


def test_figures_by_teacher_and_by_the_process_check():
    effects = [effect("p", "a", 0.2, True), effect("p", "a", 0.0, True), effect("q", "a", 0.4, False)]
    found = effect_figures([*effects, effect("q", "b", -0.1)])
    assert list(found) == ["a", "b", "right steps", "wrong steps", "all"], "none is needless: no row"
    assert (found["a"].steps, found["a"].effect, found["a"].idle) == (3, pytest.approx(0.2), pytest.approx(1 / 3))
    assert found["b"].hindering == 1.0 and found["b"].interval is None
    low, high = found["all"].interval
    assert low < 0.125 < high and found["all"].effect == pytest.approx(0.125)


def test_needless_steps_have_a_row_of_their_own():
    said = [replace(effect("p", "a", 0.0, True), needless=True), replace(effect("p", "a", 0.4, True), needless=False)]
    found = effect_figures(said)
    assert (found["needless steps"].steps, found["needless steps"].idle, found["right steps"].steps) == (1, 1.0, 2)


def test_no_steps_give_no_figures():
    assert effect_figures([]) == {}


@pytest.fixture
def recipe_path(tmp_path, random_models, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    return write_recipe(tmp_path, random_models)


def test_a_run_is_audited_from_the_command_line(recipe_path, capsys):
    recipe = load_recipe(recipe_path)
    generate([recipe])
    before = RunFolder.of(recipe).trajectories.read_bytes()
    assert main(["audit", str(recipe_path), "--limit", "3"]) == 0
    rows = [json.loads(line) for line in (RunFolder.of(recipe).folder / "audit.jsonl").read_text().splitlines()]
    traces = [json.loads(line) for line in before.splitlines()][:3]
    assert [(row["id"], row["step"]) for row in rows] == [(t["id"], s["n"]) for t in traces for s in t["steps"]]
    assert all(0 < row["intact"] <= 1 for row in rows)
    figures = json.loads((RunFolder.of(recipe).folder / "audit.json").read_text())
    assert figures["all"]["steps"] == len(rows) and "effect on S" in capsys.readouterr().out
    assert RunFolder.of(recipe).trajectories.read_bytes() == before
    assert audited([recipe])[-1][:2] == [f"{RunFolder.of(recipe).method}: all", f"{len(rows):,}"]


def test_an_audit_before_decoding_names_the_command(recipe_path):
    with pytest.raises(CordError, match="decode first"):
        audit([load_recipe(recipe_path)])


@pytest.mark.parametrize(
    ("text", "segmentation"),
    [("</think>", LineBreak()), ("### Step 4.\n</think>", StepMarker("### Step {t}."))],
)
def test_a_step_that_says_nothing_stays(text, segmentation):
    """A teacher may end its trace with the closing tag alone. Fails the version that looks for an empty text in it:
    a ValueError that ends the audit of all traces."""
    step = Step(4, "a", text, (), 1, None, Stop.THINK_END)
    assert _changed(step, "p", segmentation) == step


def test_words_that_stand_in_the_marker_too_are_found_behind_it():
    """Fails the version that takes the first `3` for the step's words, and changes the marker's number."""
    changed = _changed(Step(3, "a", "### Step 3. 3\n\n", (), 1, None, Stop.STEP), "p", StepMarker("### Step {t}."))
    assert changed.text.startswith("### Step 3. ") and changed.text[len("### Step 3. ")] != "3"
