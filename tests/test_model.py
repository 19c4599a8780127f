"""Text to ids and back: the prompt, the segments, what is handed from teacher to teacher, the answer's tokens."""

import asyncio
from dataclasses import replace

import pytest
from doubles import RandomEngine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cord_distill.decode.model import Model
from cord_distill.decode.pipelines import Ensemble
from cord_distill.decode.pipelines.cord import cord
from cord_distill.engines.base import Generation, Sampling
from cord_distill.prompts.render import load_renderer
from cord_distill.recipe.decode import DecodeConfig
from cord_distill.search.segment import StepMarker
from cord_distill.types import Problem, Step, Stop

MARKER = StepMarker("### Step {t}.")
QUESTION = "Find $\\frac{1}{2}x$ for 数学 🙂 <b>."


@pytest.fixture(scope="module")
def renderers(random_models):
    return {name: load_renderer(str(path), name=name) for name, path in random_models.items()}


def model(renderer, engine=None) -> Model:
    return Model(renderer.name, renderer.name, engine, renderer, Sampling(0, 0))


class Says:
    """An engine that writes given texts one after the other, with the ids of its tokenizer."""

    def __init__(self, renderer, *answers: tuple[str, Stop, str | None]) -> None:
        self.renderer, self.answers, self.asked = renderer, list(answers), []

    async def generate(self, ids, sampling):
        self.asked.append((list(ids), sampling))
        text, stop, matched = self.answers.pop(0)
        made = self.renderer.encode(text)
        return Generation(
            (*made, self.renderer.end_of_turn_id) if stop is Stop.EOS else tuple(made), text, stop, matched
        )


def proposed(renderer, *answers, steps=(), max_tokens=512):
    engine = Says(renderer, *answers)
    written = asyncio.run(model(renderer, engine).propose(QUESTION, steps, MARKER, max_tokens=max_tokens, seed=7))
    return written, engine


@pytest.mark.parametrize("name", ["r1", "qwq", "phi4", "prover"])
def test_the_prompt_is_the_template_with_one_open_think_and_one_bos(renderers, name):
    """Fails the version that appends `<think>` to templates that write it themselves, and the one that adds a second
    BOS."""
    renderer = renderers[name]
    ids = renderer.prompt_ids(QUESTION)
    text = renderer.decode(ids)
    assert text == renderer.prompt_text(QUESTION)
    turn = text.partition(QUESTION)[2]
    assert turn.endswith("<think>\n") and turn.count("<think>") == 1
    bos = renderer.tokenizer.bos_token
    if name == "r1":
        assert text.count(bos) == 1 and ids.count(renderer.tokenizer.bos_token_id) == 1
    template = renderer.tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], tokenize=True, add_generation_prompt=True, return_dict=False
    )
    assert ids[: len(template) - 3] == list(template)[: len(template) - 3]


@pytest.mark.parametrize("name", ["r1", "phi4"])
def test_step_instructions_stand_behind_the_question_of_proposals_and_scores(renderers, name):
    """Fails the version that tells the teachers alone: S would be that of a trace under another prompt."""
    renderer = renderers[name]
    told = replace(model(renderer), instructions="\n\nNumber your steps.")
    expected = renderer.prompt_text(QUESTION + "\n\nNumber your steps.")
    assert renderer.decode(told.context_ids(QUESTION, ())) == expected
    assert model(renderer).context_ids(QUESTION, ()) == renderer.prompt_ids(QUESTION)
    assert renderer.training_ids(QUESTION, "x")[0][: len(renderer.prompt_ids(QUESTION))] == renderer.prompt_ids(
        QUESTION
    )


def test_a_step_ends_before_the_next_marker_and_keeps_the_ids_that_were_generated(renderers):
    written, engine = proposed(renderers["r1"], (" First, $x=3$.\n\n### Step", Stop.STEP, "### Step"))
    renderer = renderers["r1"]
    assert written.text == "### Step 1. First, $x=3$.\n\n"
    assert renderer.decode(written.ids) == written.text
    assert written.stop is Stop.STEP
    ids, sampling = engine.asked[0]
    assert ids == renderer.prompt_ids(QUESTION) + renderer.encode("### Step 1.")
    assert sampling.stop == ("### Step", "</think>")


def test_a_closed_thought_keeps_its_tag_and_eos_is_left_out(renderers):
    closed, _ = proposed(renderers["qwq"], (" So 4.\n</think>", Stop.THINK_END, "</think>"))
    assert closed.text == "### Step 1. So 4.\n</think>"
    ended, _ = proposed(renderers["qwq"], (" So 4.", Stop.EOS, None))
    assert ended.text == "### Step 1. So 4." and ended.stop is Stop.EOS
    assert renderers["qwq"].end_of_turn_id not in ended.ids


def test_a_marker_inside_a_line_does_not_end_the_step(renderers):
    """Fails the version that takes every stop string for the end of the step: the sentence would be cut in two."""
    written, engine = proposed(
        renderers["phi4"],
        (" as ### Step", Stop.STEP, "### Step"),
        (" 1 says.\n### Step", Stop.STEP, "### Step"),
    )
    assert written.text == "### Step 1. as ### Step 1 says.\n"
    first, second = engine.asked
    assert second[0] == first[0] + renderers["phi4"].encode(" as ### Step")
    assert second[1].seed != first[1].seed


def test_a_length_cut_inside_a_character_drops_its_first_bytes(renderers):
    renderer = renderers["r1"]
    whole = renderer.encode("🙂")
    assert len(whole) > 1

    class Cut(Says):
        async def generate(self, ids, sampling):
            return Generation((*self.renderer.encode(" so "), *whole[:-1]), " so ", Stop.LENGTH)

    written = asyncio.run(model(renderer, Cut(renderer)).propose(QUESTION, (), MARKER, max_tokens=9, seed=0))
    assert written.text == "### Step 1. so "
    assert renderer.decode(written.ids) == written.text


def test_a_thought_may_be_closed_once_and_control_tokens_never_come(renderers):
    """Fails the version whose final answer holds a second `</think>`, and the one whose step may open a new turn."""
    renderer = renderers["qwq"]
    close = renderer.tokenizer.convert_tokens_to_ids("</think>")
    engine = Says(renderer, (" 4", Stop.EOS, None), (" 4\n</think>", Stop.THINK_END, "</think>"))
    asyncio.run(model(renderer, engine).answer("Q", (), max_tokens=9, seed=0))
    asyncio.run(model(renderer, engine).propose("Q", (), MARKER, max_tokens=9, seed=0))
    (_, answering), (_, stepping) = engine.asked
    assert close in answering.banned_ids and close not in stepping.banned_ids
    for token in ("<|im_start|>", "<think>"):
        assert renderer.tokenizer.convert_tokens_to_ids(token) in stepping.banned_ids
    assert renderer.end_of_turn_id not in stepping.banned_ids


@pytest.mark.parametrize("name", ["r1", "prover"])
@pytest.mark.parametrize("answer", ["25", "\\frac{1}{2}", "x=3", "A whole paragraph, with\ntwo lines.", "答案是四十二"])
def test_the_answer_tokens_are_those_whose_characters_overlap_the_answer(renderers, name, answer):
    """Fails the version that encodes suffix and answer apart, where a blank or a brace moves to another token."""
    renderer = renderers[name]
    before, target = model(renderer).answer_ids(" </think> The final answer is {A}.", answer)
    assert before + target == renderer.encode(" </think> The final answer is " + answer)
    assert answer in renderer.decode(target)
    assert answer not in renderer.decode(target[1:])


def test_ids_are_handed_on_only_within_one_vocabulary(renderers):
    """Fails the version that hands a teacher's ids to an engine with another tokenizer."""
    r1, qwq = renderers["r1"], renderers["qwq"]
    odd = tuple(i for c in "### Step 1. x = 12" for i in r1.encode(c))
    step = Step(1, "r1", "### Step 1. x = 12", odd, 1, 0.5, Stop.STEP)
    vocabularies = {"r1": "r1", "qwq": "qwq"}
    own = replace(model(r1), vocabularies=vocabularies).context_ids("Q", (step,))
    other = replace(model(qwq), vocabularies=vocabularies).context_ids("Q", (step,))
    assert own == r1.prompt_ids("Q") + list(odd) != r1.prompt_ids("Q") + r1.encode(step.text)
    assert other == qwq.prompt_ids("Q") + qwq.encode(step.text)


def test_scoring_cuts_a_closed_thought_before_its_tag(renderers):
    """Fails the version that scores `</think> </think> The final answer is`."""
    renderer = renderers["prover"]
    engine = RandomEngine(renderer)
    step = Step(1, "r1", "### Step 1. So 4.\n</think>", (), 1, None, Stop.THINK_END)
    scored = asyncio.run(model(renderer, engine).score("Q", (step,), " </think> The final answer is {A}.", "4"))
    kind, ids, target = engine.requests[0]
    assert kind == "logprobs"
    assert (
        renderer.decode(ids + target)
        == renderer.prompt_text("Q") + "### Step 1. So 4.\n </think> The final answer is 4"
    )
    assert 0 < scored.score < 1


@pytest.mark.parametrize("name", ["prover", "qwq", "phi4"])
def test_under_score_ending_the_answer_is_scored_up_to_the_end_of_the_turn(renderers, name):
    """13 is not predicted where 13.5 is. Fails the version that scores the dot alone, which 13.5 has too, and the one
    that changes what stands before the answer."""
    renderer, suffix = renderers[name], " </think> The final answer is {A}."
    plain = model(renderer).answer_ids(suffix, "13")
    before, target = replace(model(renderer), score_ending=True).answer_ids(suffix, "13")
    assert before == plain[0]
    assert target[-1] == renderer.end_of_turn_id
    assert renderer.decode(target[:-1]) == renderer.decode(plain[1]) + "."


texts = st.lists(
    st.sampled_from(["$\\frac{1}{2}$", "数学", "🙂", "\n\n", "### Step 3. ", "```py\n### Step 1\n```", " x=3",
    "</think>", "<b>", "é"]), min_size=1, max_size=8,
).map("".join)  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=texts, second=texts)
def test_segment_wise_ids_decode_to_exactly_the_text(renderers, first, second):
    for renderer in renderers.values():
        steps = tuple(
            Step(n, "x", f"### Step {n}.{text}", (), 1, None, Stop.STEP) for n, text in enumerate((first, second), 1)
        )
        ids = model(renderer).context_ids("Q", steps)
        assert renderer.decode(ids) == renderer.prompt_text("Q") + "".join(step.text for step in steps)


@pytest.mark.parametrize("order", [("r1", "qwq", "phi4"), ("phi4", "r1", "qwq")])
def test_each_engine_gets_its_own_encoding_of_template_and_text(renderers, order):
    """A whole search over three vocabularies, in two orders of the teachers: every request decodes to template +
    text, and differs from the plain encoding only inside steps that this very teacher generated.
    """
    engines = {name: RandomEngine(renderers[name], name=name) for name in renderers}
    vocabularies = {name: name for name in renderers}
    models = {name: replace(model(renderers[name], engines[name]), vocabularies=vocabularies) for name in renderers}
    decode = DecodeConfig(beam_size=3, budgets={"reasoning_tokens": 160, "answer_tokens": 16, "max_step_tokens": 40})
    ensemble = Ensemble(tuple(models[name] for name in order), models["prover"], decode, seed=3)
    outcome = asyncio.run(cord(Problem("p", QUESTION, "42"), ensemble))
    assert outcome.steps and outcome.steps[-1].text.endswith("</think>")
    assert {c.teacher for level in outcome.candidates for c in level} == set(order)
    handed_over = 0
    for name, engine in engines.items():
        renderer = renderers[name]
        prompt = renderer.prompt_ids(QUESTION)
        for _, ids, _ in engine.requests:
            assert ids[: len(prompt)] == prompt
            text = renderer.decode(ids)
            turn = text[len(renderer.prompt_text(QUESTION)) - len("<think>\n") :]
            assert turn.count("<think>") == 1
            if renderer.tokenizer.bos_token_id is not None and name == "r1":
                assert ids.count(renderer.tokenizer.bos_token_id) == 1
            handed_over += 1
    whole = renderers["r1"].prompt_text(QUESTION) + "".join(s.text for s in outcome.steps) + outcome.final_answer_text
    last = engines[outcome.steps[-1].teacher]
    answered = [ids for kind, ids, sampling in last.requests if kind == "generate" and sampling.stop == ()]
    assert last.renderer.decode(answered[-1]).endswith("".join(s.text for s in outcome.steps))
    assert whole.count("</think>") >= 1 and handed_over > 20
    for step in outcome.steps:
        assert renderers[step.teacher].decode(step.ids) == step.text
