"""Steps by line break and by prefix phrase: one rule splits complete traces and stops generations."""

import asyncio
import json
import re
from dataclasses import replace

import pytest
from doubles import Reciter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cord_distill.decode.model import Model
from cord_distill.decode.pipelines import PIPELINES, Ensemble
from cord_distill.engines.base import Generation, Sampling
from cord_distill.prompts.render import load_renderer
from cord_distill.recipe.decode import PHRASES, DecodeConfig
from cord_distill.search.line_break import LineBreak
from cord_distill.search.prefix_phrases import PrefixPhrases
from cord_distill.search.segment import Segmentation, StepMarker
from cord_distill.types import Problem, Step, Stop

LINES, PHRASED = LineBreak(), PrefixPhrases(PHRASES)
QUESTION = "What is $1+1$?"


@pytest.fixture(scope="module")
def renderers(random_models):
    return {name: load_renderer(str(path), name=name) for name, path in random_models.items()}


def proposals(renderer, segmentation, text: str, max_tokens: int = 4000) -> tuple[list[Step], Reciter]:
    """The steps of a teacher that writes `text` and `</think>`, proposed one after the other."""
    engine = Reciter(renderer, QUESTION, text + "</think>")
    teacher = Model("t", "t", engine, renderer, Sampling(0, 0), None, {"t": "t"})
    steps: list[Step] = []
    while not steps or steps[-1].stop is not Stop.THINK_END:
        written = asyncio.run(
            teacher.propose(QUESTION, tuple(steps), segmentation, max_tokens=max_tokens, seed=len(steps))
        )
        assert renderer.decode(written.ids) == written.text
        steps.append(Step(len(steps) + 1, "t", written.text, written.ids, len(written.ids), None, written.stop))
    return steps, engine


# Line break


def test_a_line_break_belongs_to_the_step_that_it_ends():
    assert LINES.split("First, $x=3$.\n\nSo\nit is 4.\n\nDone.") == [
        "First, $x=3$.\n\n", "So\nit is 4.\n\n", "Done.",
    ]  # fmt: skip
    assert LINES.opening(()) == ""


def test_one_line_of_latex_is_a_step_and_an_empty_line_is_none():
    """Fails a lower limit in words or characters, and the version that ends a step at every empty line."""
    assert LINES.split("$$x=3$$\n\n\n\n\n\ny\n\n") == ["$$x=3$$\n\n", "\n\n\n\ny\n\n"]
    assert LINES.split("\n\nOkay.\n\n") == ["\n\nOkay.\n\n"]
    assert LINES.split("") == [] and LINES.split("\n\n") == ["\n\n"]


@pytest.mark.parametrize("name", ["r1", "phi4"])
def test_a_proposal_goes_on_behind_an_empty_line_that_ends_nothing(renderers, name):
    """Fails the version whose first proposal is an empty step, because the thought begins with an empty line."""
    steps, engine = proposals(renderers[name], LINES, "\n\nOkay, $x$.\n\n\nSo 2.\n\n")
    assert [s.text for s in steps] == ["\n\nOkay, $x$.\n\n", "\nSo 2.\n\n", "</think>"]
    assert [s.stop for s in steps] == [Stop.STEP, Stop.STEP, Stop.THINK_END]
    assert engine.asked == 4


def once(renderer, segmentation, pieces: list[str], matched: str):
    """One proposal of a teacher whose tokens are those of `pieces`, stopped by `matched`."""

    class Once:
        async def generate(self, ids, sampling):
            made = [i for piece in pieces for i in renderer.encode(piece)]
            return Generation(tuple(made), "".join(pieces).partition(matched)[0], Stop.STEP, matched)

    teacher = Model("t", "t", Once(), renderer, Sampling(0, 0))
    return asyncio.run(teacher.propose(QUESTION, (), segmentation, max_tokens=99, seed=0))


def test_of_two_breaks_in_what_was_written_last_the_first_ends_the_step(renderers):
    """Some vocabularies have a token of four line ends. Fails a search for the stop string from the end."""
    written = once(renderers["r1"], LINES, ["So 4.", "\n\n\n\n"], "\n\n")
    assert written.text == "So 4.\n\n" and renderers["r1"].decode(written.ids) == written.text


class InsideAWord(Segmentation):
    """Cuts in the middle of its stop string."""

    stops = ("the",)

    def end(self, before, stop):
        return len(before) + 1


def test_a_step_that_ends_inside_a_token_is_encoded_anew(renderers):
    """Fails the version that keeps whole tokens: its ids would say less, or more, than its text."""
    renderer = renderers["qwq"]
    assert len(renderer.encode(" the")) == 1
    written = once(renderer, InsideAWord(), ["So", " the"], "the")
    assert written.text == "So t" and renderer.decode(written.ids) == "So t"


# Prefix phrases


def test_a_step_begins_with_a_phrase_at_the_start_of_a_sentence_or_line():
    trace = (
        "So 4. Wait, is it? I can't wait. But wait, no.\n\nalternatively, 5.\n"
        '  LET ME CHECK: he said "yes." Another way is 6.\n(that\'s 7!) That’s impossible.'
    )
    assert PHRASED.split(trace) == [
        "So 4.", " Wait, is it? I can't wait. But wait, no.\n\n", "alternatively, 5.\n",
        '  LET ME CHECK: he said "yes."', " Another way is 6.\n(that's 7!)", " That’s impossible.",
    ]  # fmt: skip


def test_the_papers_phrases_are_the_default_and_others_can_be_given():
    assert len(PHRASES) == 15 and {"wait", "alternatively", "the error is"} <= set(PHRASES)
    assert PrefixPhrases(("hmm",)).split("4. Wait. Hmm. 5") == ["4. Wait.", " Hmm. 5"]
    assert DecodeConfig().phrases == list(PHRASES)


def test_a_phrase_alone_says_nothing_and_two_in_a_row_are_one_step():
    """Fails the version that hands over after "Wait.", with a step of one word."""
    assert PHRASED.said(" Wait...\n") == "" and PHRASED.said("Wait, so 3.") == "so 3."
    assert PHRASED.split("So 4. Wait. Let me check. 5? Wait. Wait. 6") == [
        "So 4.", " Wait. Let me check. 5?", " Wait. Wait. 6",
    ]  # fmt: skip


def test_a_teacher_may_open_its_step_with_the_phrase_that_stopped_the_one_before(renderers):
    """Fails the version in which a proposal stops on its own first word, for ever."""
    steps, engine = proposals(renderers["qwq"], PHRASED, "So I wait for 4. Wait, 5. Alternatively 6.")
    assert [s.text for s in steps] == ["So I wait for 4.", " Wait, 5.", " Alternatively 6.</think>"]
    # one request per step, one more for each phrase that ended nothing: "I wait", " Wait" and " Alternatively"
    assert engine.asked == 6


def test_stop_strings_come_in_every_case_and_the_longest_first():
    """Fails the lower-case list alone, which never stops at a sentence that begins with "Wait"."""
    stops = PrefixPhrases(("wait", "that's it")).stops
    assert set(stops) == {
        "wait", "Wait", "WAIT", "that's it", "That's it", "THAT'S IT", "that’s it", "That’s it", "THAT’S IT",
    }  # fmt: skip
    assert [len(s) for s in stops] == sorted(map(len, stops), reverse=True)


# Both


PARTS = ["\n\n", "\n", " ", "So 4.", "x", "Wait", "wait, ", "Let me check", "$\\frac{1}{2}$", "数学。", "🙂",
         "### Step 2. ", "That’s impossible", '"No."', ".", "!"]  # fmt: skip
TRACES = st.lists(st.sampled_from(PARTS), max_size=14).map("".join)


@pytest.mark.parametrize("segmentation", [LINES, PHRASED, StepMarker("### Step {t}.")], ids=lambda s: type(s).__name__)
@settings(deadline=None)
@given(trace=TRACES)
def test_the_pieces_join_to_the_trace_and_split_no_further(segmentation, trace):
    pieces = segmentation.split(trace)
    assert "".join(pieces) == trace
    assert all(segmentation.split(piece) == [piece] for piece in pieces)
    assert all(piece.strip() for piece in pieces[:-1])


@pytest.mark.parametrize("segmentation", [LINES, PHRASED], ids=lambda s: type(s).__name__)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trace=TRACES, name=st.sampled_from(["r1", "qwq", "phi4", "prover"]))
def test_proposals_of_a_trace_are_the_pieces_of_its_split(renderers, segmentation, trace, name):
    """Whatever tokens the text falls into. Fails a cut at token borders, and a second rule for generations."""
    steps, _ = proposals(renderers[name], segmentation, trace)
    assert [step.text for step in steps] == segmentation.split(trace + "</think>")


@pytest.mark.parametrize("segmentation", [LINES, PHRASED], ids=lambda s: type(s).__name__)
def test_a_step_cut_by_its_cap_goes_on_with_nothing_of_ours_between(renderers, segmentation):
    text = "This is a long step about $x^2+y^2=z^2$ that does not end soon. Wait, 5.\n\nSo 6."
    steps, _ = proposals(renderers["r1"], segmentation, text, max_tokens=16)
    assert "".join(s.text for s in steps) == text + "</think>"
    assert steps[0].stop is Stop.LENGTH and Stop.STEP in [s.stop for s in steps]


@pytest.mark.parametrize("pipeline", ["cord", "curation"])
@pytest.mark.parametrize("name", ["line_break", "prefix_phrases"])
def test_a_whole_search_writes_no_marker(renderers, pipeline, name):
    """Fails the version that still prefills `### Step 1.`."""
    renderer = renderers["qwq"]
    text = "Okay, so 1+1.\n\nIt is 3. Wait, no.\n\nIt is 2.\n</think>\n\nIt is \\boxed{2}."
    model = Model("t", "t", Reciter(renderer, QUESTION, text), renderer, Sampling(0, 0), None, {"t": "t"})
    decode = DecodeConfig(segmentation=name, beam_size=1, curation={"traces_per_teacher": 1})
    ensemble = Ensemble((model,), replace(model, name="prover"), decode, 0)
    outcome = asyncio.run(PIPELINES[pipeline](Problem("p", QUESTION, "2"), ensemble))
    assert [s.text for s in outcome.steps] == {
        "line_break": ["Okay, so 1+1.\n\n", "It is 3. Wait, no.\n\n", "It is 2.\n</think>"],
        "prefix_phrases": ["Okay, so 1+1.\n\nIt is 3.", " Wait, no.\n\nIt is 2.\n</think>"],
    }[name]
    assert outcome.final_answer_text == "\n\nIt is \\boxed{2}." and outcome.stop is Stop.THINK_END


# Recorded traces of real models

# Steps over 40 traces of each model, by line break and by phrase (docs/decisions.md).
RECORDED = {
    "kimi-k2.5": (3609, 357),
    "minimax-m2.5": (2467, 282),
    "deepseek-v3.2": (3263, 95),
    "gpt-oss-120b": (1232, 101),
    "glm-5-fp8": (2872, 282),
    "Sky-T1-math-correct-5K-27B": (3688, 422),
}


@pytest.fixture(scope="module")
def recorded(shared_data):
    """Thoughts of each model, in file order."""
    thoughts: dict[str, list[str]] = {}
    for name in ("limo_multi_teacher_40x5", "sky_t1_math500_40"):
        path = shared_data / "traces" / f"{name}.jsonl"
        if not path.is_file():
            pytest.skip(f"needs recorded traces in {path}")
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            text = re.split(r"</think>|<\|end_of_thought\|>", row["response"])[0]
            text = re.sub(r"\A(<think>|<\|begin_of_thought\|>\s*)", "", text)
            thoughts.setdefault(row["model"], []).append(text)
    return thoughts


def test_steps_of_recorded_traces(recorded):
    found = {}
    for model, thoughts in recorded.items():
        counts = []
        for segmentation in (LINES, PHRASED):
            pieces = [segmentation.split(thought) for thought in thoughts]
            assert ["".join(p) for p in pieces] == thoughts
            assert all(segmentation.said(step) for p in pieces for step in p[:-1])
            counts.append(sum(map(len, pieces)))
        found[model] = tuple(counts)
    assert found == RECORDED


@pytest.mark.parametrize("segmentation", [LINES, PHRASED], ids=lambda s: type(s).__name__)
def test_a_recorded_trace_proposed_step_by_step_is_its_split(recorded, renderers, segmentation):
    for model, name in zip(recorded, ["r1", "qwq", "phi4", "r1", "qwq", "phi4"], strict=True):
        thought = min(recorded[model], key=len)
        steps, _ = proposals(renderers[name], segmentation, thought, max_tokens=100_000)
        assert [step.text for step in steps] == segmentation.split(thought + "</think>")


# Real vLLM

NARROW = [
    "x",
    " so",
    "$",
    "=",
    "3",
    ".",
    ".\n\n",
    "\n\n",
    "\n",
    ". Wait",
    " wait",
    "Wait",
    "! Let me check",
    ",",
    "数",
    "🙂",
]


class Narrow:
    """A real engine that may only sample the tokens of `NARROW`, none of which ends the thought: random weights would
    hardly ever end a step."""

    def __init__(self, engine, renderer) -> None:
        self.engine = engine
        allowed = {i for text in NARROW for i in renderer.encode(text)}
        self.banned = tuple(sorted(set(renderer.tokenizer.get_vocab().values()) - allowed))
        self.asked: list[tuple[list[int], Sampling]] = []

    async def generate(self, ids, sampling):
        self.asked.append((ids, sampling))
        return await self.engine.generate(ids, replace(sampling, banned_ids=(*self.banned, *sampling.banned_ids)))

    async def logprobs(self, ids, target_ids):
        return await self.engine.logprobs(ids, target_ids)


@pytest.mark.slow
def test_real_engines_stop_where_the_text_says_and_hand_on_exactly_that_text(random_models, renderers):
    """Two vocabularies in vLLM, both segmentations: every prompt decodes to the template and the steps' texts, every
    step's ids to its text, and each step ends where a split of its text would.
    """
    from cord_distill.engines.vllm.engine import VllmEngine
    from cord_distill.recipe.models import ModelConfig

    async def searched(decode, engines):
        narrow = {name: Narrow(engine, renderers[name]) for name, engine in engines.items()}
        known = {name: name for name in narrow}
        models = [
            Model(n, n, narrow[n], renderers[n], Sampling(0, 0, temperature=1.0, top_p=1.0), None, known)
            for n in narrow
        ]
        ensemble = Ensemble(tuple(models), replace(models[0], name="prover"), decode, 0)
        return await PIPELINES["cord"](Problem("p", QUESTION, "2"), ensemble), narrow

    async def story():
        engines = {}
        for name in ("r1", "phi4"):
            path = str(random_models[name])
            section = ModelConfig(model=path, max_num_seqs=16)
            engines[name] = await VllmEngine.start(section, path, deterministic=True, max_model_len=1024)
        limits = {"reasoning_tokens": 300, "answer_tokens": 8, "max_step_tokens": 60, "max_steps": 6}
        try:
            decodes = [
                DecodeConfig(segmentation=s, beam_size=4, proposals_per_teacher=3, budgets=limits)
                for s in ("line_break", "prefix_phrases")
            ]
            return [(decode.segmentation, *await searched(decode, engines)) for decode in decodes]
        finally:
            for engine in engines.values():
                await engine.close()

    for name, outcome, engines in asyncio.run(story()):
        segmentation = {"line_break": LINES, "prefix_phrases": PHRASED}[name]
        assert all(renderers[step.teacher].decode(step.ids) == step.text for step in outcome.steps)
        ended = [c for level in outcome.candidates for c in level if c.stop is Stop.STEP and c.text]
        assert len(ended) >= 10 and {c.teacher for c in ended} == {"r1", "phi4"}
        for c in ended:
            assert segmentation.split(c.text) == [c.text]
            assert segmentation.said(c.text)
            assert c.text.endswith("\n\n") if name == "line_break" else not c.text.endswith(" ")
        for teacher, engine in engines.items():
            prompt = renderers[teacher].prompt_text(QUESTION)
            texts = [renderers[teacher].decode(ids) for ids, _ in engine.asked]
            assert all(text.startswith(prompt) for text in texts) and not any("###" in text for text in texts)
        prefixes = {renderers[t].prompt_text(QUESTION) + outcome.steps[0].text for t in engines}
        assert any(renderers[t].decode(ids) in prefixes for t, engine in engines.items() for ids, _ in engine.asked)
