"""The CoRD pipeline on teachers that misbehave: every ending has its name, and nothing passes for a finished trace."""

import asyncio
from dataclasses import replace

import pytest

from cord_distill.decode.model import Model
from cord_distill.decode.pipelines import PIPELINES, Ensemble
from cord_distill.engines.base import Generation, Sampling, stop_of
from cord_distill.recipe.decode import DecodeConfig
from cord_distill.types import Problem, Stop

PROBLEM = Problem("p", "What is $1+1$?", "2")
STEPWISE = ["cord", "mcts"]


class Teacher:
    """Writes what `say(step_number, sampling)` gives: (text, ending); an ending is a stop string, None, "eos" or
    "loop"."""

    def __init__(self, renderer, say) -> None:
        self.renderer, self.say = renderer, say

    async def generate(self, ids, sampling):
        text = self.renderer.decode(ids)
        said, ending = self.say(text.count("### Step"), sampling)
        made = self.renderer.encode(said)
        if len(made) > sampling.max_tokens:
            made = made[: sampling.max_tokens]
            return Generation(tuple(made), self.renderer.decode(made), Stop.LENGTH)
        if ending == "loop":
            return Generation(tuple(made), said, Stop.REPETITION)
        if ending == "eos":
            return Generation((*made, self.renderer.end_of_turn_id), said, Stop.EOS)
        return Generation(tuple(made), said.removesuffix(ending or ""), stop_of(ending, ended_by_eos=False), ending)

    async def logprobs(self, ids, target_ids):
        return [-0.5] * len(target_ids)


def outcome(renderer, say, pipeline="cord", **budgets):
    model = Model("r1", "r1", Teacher(renderer, say), renderer, Sampling(0, 0), None, {"r1": "r1"})
    limits = {"reasoning_tokens": 200, "answer_tokens": 20, "max_step_tokens": 50, **budgets}
    ensemble = Ensemble((model,), replace(model, name="prover"), DecodeConfig(beam_size=1, budgets=limits), 0)
    return asyncio.run(PIPELINES[pipeline](PROBLEM, ensemble))


def answering(step):
    return lambda number, sampling: step(number) if sampling.stop else (" It is \\boxed{2}.", "eos")


def test_a_teacher_that_closes_its_thought_ends_as_think_end(renderer):
    made = outcome(
        renderer,
        answering(lambda n: (" one.\n\n### Step", "### Step") if n < 3 else (" so 2.\n</think>", "</think>")),
    )
    assert made.stop is Stop.THINK_END
    assert [s.text for s in made.steps] == [
        "### Step 1. one.\n\n", "### Step 2. one.\n\n", "### Step 3. so 2.\n</think>",
    ]  # fmt: skip
    assert made.final_answer_text == " It is \\boxed{2}."
    assert [s.stop for s in made.steps] == [Stop.STEP, Stop.STEP, Stop.THINK_END]


@pytest.mark.parametrize("pipeline", STEPWISE)
def test_a_step_that_repeats_for_ever_ends_as_length_within_the_budget(renderer, pipeline):
    """Fails the search that stops only when a teacher wants to."""
    made = outcome(renderer, answering(lambda n: (" again and again.\n\n### Step", "### Step")), pipeline)
    assert made.stop is Stop.LENGTH
    assert made.steps[-1].text.endswith("</think>") and len(made.steps) > 5
    spent = sum(step.num_tokens for step in made.steps)
    assert 200 <= spent < 260


@pytest.mark.parametrize("pipeline", ["cord", "curation"])
def test_a_trace_ends_where_the_engine_found_a_repetition(renderer, pipeline):
    """Its thought is closed and its answer asked for. Fails the version that goes on from the loop as from any step
    that was cut, and the one that calls the problem failed."""
    looped = " so 2 and 2" * 4

    def say(n):
        return (looped, "loop") if n > 2 or pipeline == "curation" else (" one.\n\n### Step", "### Step")

    made = outcome(renderer, answering(say))
    assert made.stop is Stop.REPETITION and made.stop.cut_off
    assert made.steps[-1].text == f"### Step 2.{looped}</think>" or made.steps[-1].text.endswith(f"{looped}</think>")
    assert [row[0].stop for row in made.candidates][-1] is Stop.REPETITION
    assert made.final_answer_text == " It is \\boxed{2}."


def test_a_teacher_that_never_writes_the_marker_is_cut_continued_and_closed(renderer):
    made = outcome(renderer, answering(lambda n: (" words without end" * 60, None)))
    assert made.stop is Stop.LENGTH
    assert [s.stop for s in made.steps] == [Stop.LENGTH] * len(made.steps)
    assert "".join(s.text for s in made.steps).count("### Step") == 1
    assert made.steps[-1].text.endswith("</think>")


@pytest.mark.parametrize("pipeline", STEPWISE)
def test_an_end_of_turn_without_a_closed_thought_is_eos_and_not_think_end(renderer, pipeline):
    """Fails the version that takes the end of the turn for a finished trace."""
    made = outcome(renderer, answering(lambda n: (" I stop here.", "eos")), pipeline)
    assert made.stop is Stop.EOS
    assert made.steps[-1].stop is Stop.EOS
    assert made.steps[-1].text == "### Step 1. I stop here.</think>"
    assert made.candidates[0][0].text == "### Step 1. I stop here."


@pytest.mark.parametrize("pipeline", STEPWISE)
def test_empty_steps_end_as_abort_with_their_reason_and_no_answer(renderer, pipeline):
    made = outcome(renderer, answering(lambda n: ("\n\n### Step", "### Step")), pipeline)
    assert made.stop is Stop.ABORT
    assert made.steps == () and made.final_answer_text == ""
    assert [c.error for c in made.candidates[0]] == ["empty step"]


@pytest.mark.parametrize("left", [1, 2])
def test_a_budget_too_short_for_another_step_ends_as_length_with_its_answer(renderer, left):
    """The blanks that fit into the rest say nothing. Fails the version that takes them for silence and throws the whole
    trace away as an abort."""
    step = " one.\n\n"
    used = len(renderer.encode("### Step 1. one.\n\n"))
    assert len(renderer.encode("\n\n\n\n\n\n")) >= left
    made = outcome(
        renderer,
        answering(lambda n: (f"{step}### Step", "### Step") if n == 1 else ("\n" * 60, None)),
        reasoning_tokens=used + left,
        max_step_tokens=used + left,
    )
    assert made.stop is Stop.LENGTH
    assert [s.text for s in made.steps] == ["### Step 1. one.\n\n</think>"]
    assert made.final_answer_text == " It is \\boxed{2}."
    assert [c.error for c in made.candidates[1]] == ["empty step"]


@pytest.mark.parametrize("pipeline", STEPWISE)
def test_max_steps_bounds_a_search_of_short_steps(renderer, pipeline):
    made = outcome(renderer, answering(lambda n: (" a.\n\n### Step", "### Step")), pipeline, max_steps=3)
    assert made.stop is Stop.LENGTH and len(made.steps) == 3 and made.score is not None


def test_curation_keeps_a_whole_trace_and_splits_it_at_its_markers(renderer):
    def say(number, sampling):
        if sampling.stop:
            return " one.\n\n### Step 2. two.\n\n</think>", "</think>"
        return " It is 2.", "eos"

    made = outcome(renderer, say, "curation")
    assert [s.text for s in made.steps] == ["### Step 1. one.\n\n", "### Step 2. two.\n\n</think>"]
    assert made.stop is Stop.THINK_END and made.steps[-1].score == made.score
    (traces,) = made.candidates
    assert len(traces) == 4 and [c.kept for c in traces] == [True, False, False, False]
    assert traces[0].text == "### Step 1. one.\n\n### Step 2. two.\n\n</think> It is 2."


def test_single_is_one_trace_of_the_first_teacher(renderer):
    made = outcome(renderer, answering(lambda n: (" one.\n</think>", "</think>")), "single")
    assert len(made.candidates[0]) == 1 and made.stop is Stop.THINK_END


def silent(*answers, ends="eos"):
    """A thought that states 2 and ends so, and then these final answers, one for each time it is asked."""
    left = list(answers)
    return lambda number, sampling: (" so \\boxed{2}.", ends) if sampling.stop else (left.pop(0), "eos")


@pytest.mark.parametrize("pipeline", ["cord", "curation"])
@pytest.mark.parametrize(
    ("answers", "text", "rule"),
    [
        (["It is \\boxed{2}."], "It is \\boxed{2}.", None),
        (["I think so."], "I think so.", None),
        (["", "It is \\boxed{2}."], "It is \\boxed{2}.", "another_seed"),
        (["", "\n"], "\n\nThe final answer is \\boxed{2}.", "stated_in_thought"),
    ],
)
def test_an_empty_final_answer_is_asked_again_and_then_taken_from_the_thought(renderer, pipeline, answers, text, rule):
    """Fails the version that records an empty answer as wrong, and the one that replaces what a model did say."""
    made = outcome(renderer, silent(*answers * 4), pipeline)
    assert (made.final_answer_text, made.answer_rule, made.stop) == (text, rule, Stop.EOS)


@pytest.mark.parametrize(
    ("answers", "text", "rule"),
    [
        (["It is \\boxed{2}."], "It is \\boxed{2}.", None),
        (["I think so.", "", "2}"], "The answer is \\boxed{2}", "answer_opening"),
        (["I think so.", "", ""], "\n\nThe final answer is \\boxed{2}.", "stated_in_thought"),
    ],
)
def test_with_an_opening_an_answer_that_cannot_be_read_is_asked_for_behind_it(renderer, answers, text, rule):
    """Fails the version that looks for empty answers alone, and the one whose opening is not in the answer. The thought
    is cut by its budget here, so that the model was not done."""
    made = answered_behind_an_opening(renderer, silent(*answers, ends=None))
    assert (made.final_answer_text, made.answer_rule, made.stop) == (text, rule, Stop.LENGTH)


def test_a_turn_that_ended_with_its_answer_in_the_thought_is_not_asked_for_another(renderer):
    """Fails the version whose opening makes the model answer 50000 behind a thought that concludes -50000."""
    made = answered_behind_an_opening(renderer, silent("I think so.", "", "3}"))
    assert (made.final_answer_text, made.answer_rule) == ("\n\nThe final answer is \\boxed{2}.", "stated_in_thought")


def test_a_box_that_is_copied_out_of_the_instructions_is_no_answer(renderer):
    """Fails the version whose small teachers all answer `number`."""
    say = silent("\\boxed{number}", "It is \\boxed{7}.")
    made = answered_behind_an_opening(renderer, say, step_instructions="End with \\boxed{number}.")
    assert (made.final_answer_text, made.answer_rule) == ("It is \\boxed{7}.", "another_seed")
    made = answered_behind_an_opening(renderer, silent("\\boxed{number}"))
    assert made.answer_rule is None


def answered_behind_an_opening(renderer, say, **keys):
    model = Model("r1", "r1", Teacher(renderer, say), renderer, Sampling(0, 0), None, {"r1": "r1"})
    budgets = {"reasoning_tokens": 200, "answer_tokens": 20, "max_step_tokens": 50}
    decode = DecodeConfig(beam_size=1, budgets=budgets, answer_opening="The answer is \\boxed{", **keys)
    return asyncio.run(PIPELINES["cord"](PROBLEM, Ensemble((model,), replace(model, name="prover"), decode, 0)))


def test_a_thought_that_states_nothing_leaves_the_answer_empty(renderer):
    """Fails the version that makes an answer up."""
    made = outcome(renderer, lambda n, sampling: (" so it is.", "eos") if sampling.stop else ("", "eos"))
    assert (made.final_answer_text, made.answer_rule) == ("", None)
