"""A check of the user's own decides which steps may be selected (`decode.step_filter`)."""

import asyncio
from dataclasses import replace

import pytest
from test_cord import PROBLEM, Teacher

from cord_distill.common.errors import CordError
from cord_distill.decode.check import check_decode
from cord_distill.decode.model import Model
from cord_distill.decode.pipelines import PIPELINES, Ensemble
from cord_distill.decode.pipelines.hooks import REFUSED
from cord_distill.engines.base import Sampling
from cord_distill.recipe.decode import DecodeConfig
from cord_distill.recipe.file import load_recipe
from cord_distill.types import Stop
from cord_distill.worlds.ledger.world import make_problem, steps_are_right


def no_guessing(problem, step_texts):
    """All steps so far are given, the last one included."""
    assert problem.id == "p" and step_texts[0].startswith("### Step 1.")
    return "guess" not in step_texts[-1]


def findings(problem, step_texts):
    return {"all_right": False}


class Scored(Teacher):
    """Every step looks equally good to the meta-prover; `scored` are the texts that it was asked about."""

    def __init__(self, renderer, say) -> None:
        super().__init__(renderer, say)
        self.scored: list[str] = []

    async def logprobs(self, ids, target_ids):
        self.scored.append(self.renderer.decode(ids))
        return [-0.5] * len(target_ids)


def searched(renderer, say, step_filter):
    """Two teachers: `say(teacher, step)` gives (text, stop string)."""

    def engine(name):
        return Scored(renderer, lambda n, sampling: say(name, n) if sampling.stop else (" \\boxed{2}.", "eos"))

    one = Model("a", "v", engine("a"), renderer, Sampling(0, 0), None, {"a": "v", "b": "v"})
    two = replace(one, name="b", engine=engine("b"))
    limits = {"reasoning_tokens": 300, "answer_tokens": 20, "max_step_tokens": 60}
    decode = DecodeConfig(beam_size=1, budgets=limits, step_filter=f"test_step_filter:{step_filter}")
    prover = replace(one, name="prover", engine=engine("prover"))
    return asyncio.run(PIPELINES["cord"](PROBLEM, Ensemble((one, two), prover, decode, 0))), prover.engine.scored


def test_a_step_that_fails_is_recorded_with_its_reason_unscored_and_never_selected(renderer):
    """Teacher a would win every tie. Fails the version that filters after the choice, and one that still scores it."""

    def say(name, n):
        if name == "b" and n == 3:
            return " so 2.\n</think>", "</think>"
        return (" I guess.\n\n### Step" if name == "a" else " one.\n\n### Step"), "### Step"

    made, scored = searched(renderer, say, "no_guessing")
    assert [s.teacher for s in made.steps] == ["b", "b", "b"] and made.stop is Stop.THINK_END
    for level in made.candidates:
        assert [(c.teacher, c.kept, c.score is None, c.error) for c in level if c.error] == [
            ("a", False, True, REFUSED)
        ]
    assert len(scored) == 3 and not any("guess" in text for text in scored)
    assert made.generated > sum(len(s.ids) for s in made.steps)


def test_when_every_step_fails_the_problem_ends_as_abort_with_what_was_right(renderer):
    said = {1: " one.\n\n### Step", 2: " I guess.\n\n### Step"}
    made, _ = searched(renderer, lambda name, n: (said[n], "### Step"), "no_guessing")
    assert made.stop is Stop.ABORT and [s.text for s in made.steps] == ["### Step 1. one.\n\n"]
    assert made.final_answer_text == "" and [c.error for c in made.candidates[1]] == [REFUSED, REFUSED]


def test_a_check_that_gives_findings_in_place_of_a_bool_is_refused(renderer):
    """Fails `if check(...)`: a dict is true whatever it holds, and nothing would ever be filtered."""
    with pytest.raises(CordError, match=r"decode.step_filter: .* gave a dict; it must return True or False"):
        searched(renderer, lambda name, n: (" one.\n\n### Step", "### Step"), "findings")


def test_a_check_that_is_not_there_is_named_before_any_engine_starts():
    """Fails the version that loads it at the first step, when the models are up."""
    for key in ("step_filter", "deduplicate"):
        recipe = load_recipe("quickstart", [f"decode.{key}=cord_distill.worlds.ledger.world:nothing"])
        with pytest.raises(CordError, match=rf"decode\.{key}: .* has no 'nothing'"):
            check_decode(recipe)


def test_the_toy_worlds_check_holds_the_steps_so_far_and_asks_for_no_more():
    """Fails all_right of check_steps, which is false until the last step is there."""
    problem = make_problem("p", 6, ["~8", "+8"])
    right, wrong = (
        "### Step 1. Flip to 8 minus it. It was 6, so box 1 = 2\n\n",
        "### Step 1. Flip to 8 minus it. It was 6, so box 1 = 4\n\n",
    )
    follows = "### Step 2. Add 8. It was 4, so box 2 = 2\n\n</think>"
    assert steps_are_right(problem, [right]) is True
    assert steps_are_right(problem, [wrong]) is False
    assert steps_are_right(problem, [wrong, follows]) is False
    assert steps_are_right(problem, [right, "### Step 2. Add 8. It was 2, so box 2 = 0\n\n</think>"]) is True
