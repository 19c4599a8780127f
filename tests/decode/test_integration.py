"""Integration: how a model's JSON is read, and whole runs against a small OpenAI-compatible server and a script."""

import asyncio
import json
import random
from dataclasses import replace

import pytest
from fake_server import FakeServer
from journals import cut_anywhere, entries
from scripted_world import run, write_recipe
from test_cord import PROBLEM, Teacher, answering

from cord_distill.common.errors import CordError
from cord_distill.decode.model import Model
from cord_distill.decode.pipelines import PIPELINES, Ensemble
from cord_distill.decode.pipelines.integrator import integration_prompt, read_reply
from cord_distill.decode.row_schema import validate_row
from cord_distill.engines.base import EngineError, Sampling
from cord_distill.engines.chat import ChatModel, ScriptedChat
from cord_distill.engines.server import http
from cord_distill.recipe.decode import DecodeConfig
from cord_distill.recipe.file import load_recipe
from cord_distill.run_folder.paths import RunFolder
from cord_distill.search.segment import StepMarker
from cord_distill.types import Stop, Trajectory

MARKER = StepMarker("### Step {t}.")
GOOD = (
    '{"steps": [{"category": "progressive", "text": "### Step 1. Let $x=\\\\frac{1}{2}$."}, '
    '{"category": "multi-method validation", "text": "### Step 2. Also 0.5."}], "final_answer": "It is \\\\boxed{2}."}'
)
STEPS = (
    ("progressive", "### Step 1. Let $x=\\frac{1}{2}$.\n\n"),
    ("multi-method validation", "### Step 2. Also 0.5.\n\n"),
)


@pytest.mark.parametrize(
    "reply",
    [
        GOOD,
        f"```json\n{GOOD}\n```",
        f"Here is the {{merged}} trace:\n{GOOD}\nI hope it {{helps}}!",
        f'<think>Maybe {{"steps": [1]}}?</think>\n{GOOD}',
        GOOD.replace("}], ", "},\n],\n").replace('."}', '.",}'),
        GOOD.replace("\\\\", "\\"),  # LaTeX as it is written outside JSON: \f and \b are escapes
        GOOD.replace("Step 1.", "Step 4."),
        GOOD.replace("### Step 1. ", "").replace("### Step 2. ", "\\n"),
        GOOD.replace("multi-method validation", "Multi_Method  Validation"),
        GOOD.replace("0.5.", "0.5.</think>"),
        GOOD.replace("Step 1.", "Step 1.\\n"),
    ],
    ids=lambda reply: reply[:40],
)
def test_json_of_many_manners_is_read(reply):
    merged = read_reply(reply, MARKER)
    assert merged.steps == STEPS
    assert merged.final_answer == "It is \\boxed{2}."


def test_single_backslashes_of_latex_survive():
    """Fails plain JSON: `\\theta` would be a tab, `\\neq` a line break, `\\rho` a carriage return."""
    text = r"$\theta \neq \frac12 \times \rho \to \{\boxed{\underline{x}}\}$, \(a\)"
    merged = read_reply(
        f'{{"steps": [{{"category": "progressive", "text": "{text}\\nNext."}}], "final_answer": 4}}', MARKER
    )
    assert merged.steps == (("progressive", f"### Step 1. {text}\nNext.\n\n"),)
    assert merged.final_answer == "4"


def test_unescaped_quotes_and_line_breaks_are_read():
    merged = read_reply(
        '{"steps": [{"category": "x", "text": "He said "so" and\nwent on."}], "final_answer": "2"}', MARKER
    )
    assert merged.steps == ((None, '### Step 1. He said "so" and\nwent on.\n\n'),)


def test_several_steps_in_one_text_become_steps():
    reply = '{"steps": [{"category": "verification", "text": "### Step 1. a\\n\\n### Step 2. b"}], "final_answer": "2"}'
    assert read_reply(reply, MARKER).steps == (
        ("verification", "### Step 1. a\n\n"),
        ("verification", "### Step 2. b\n\n"),
    )


def test_json_cut_anywhere_is_refused():
    """Fails the version that closes what is open and takes half a trace for a whole one."""
    for cut in range(len(GOOD)):
        with pytest.raises(ValueError, match=r"cut|no JSON|empty reply"):
            read_reply(GOOD[:cut], MARKER)
    for cut in range(1, len(GOOD)):
        with pytest.raises(ValueError, match=r"cut|no JSON"):
            read_reply(f"```json\n{GOOD[:cut]}\n```", MARKER)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty reply"),
        ("I cannot do that.", "no JSON object"),
        ('{"steps": [], "final_answer": "2"}', "no `steps`"),
        ('{"steps": [{"category": "progressive", "text": "a"}]}', "no `final_answer`"),
        ('{"steps": [{"category": "progressive", "text": "a"}], "final_answer": " "}', "no `final_answer`"),
        (
            '{"steps": [{"category": "progressive", "text": "### Step 1. "}], "final_answer": "2"}',
            "step 1 says nothing",
        ),
        ('{"steps": [{"category": "progressive"}], "final_answer": "2"}', "step 1 says nothing"),
        ('{"steps": "### Step 1. a", "final_answer": "2"}', "no `steps`"),
    ],
)
def test_what_cannot_be_used_says_why(reply, reason):
    with pytest.raises(ValueError, match=reason):
        read_reply(reply, MARKER)


def test_the_prompt_holds_question_and_solutions_as_they_are():
    question = "What is {solutions} and {marker}?"
    prompt = integration_prompt(question, ["### Step 1. a</think> It is 2.", "b"], MARKER)
    assert f"<question>\n{question}\n</question>" in prompt
    assert "<solution 1>\n### Step 1. a\n\nFinal answer: It is 2.\n</solution 1>" in prompt
    assert '"### Step 1."' in prompt and "2 complete solutions" in prompt
    assert "\\boxed{...}" in prompt and all(name in prompt for name in ("error correction", "multi-method validation"))


# The pipeline, with an integrator that a function plays.


def outcome(renderer, say, reply, prover=True, **integration):
    """reply(prompt, attempt) is the integrator's text."""
    attempts = []

    def script(prompt: str, sampling: Sampling) -> str:
        attempts.append(sampling.seed)
        return reply(prompt, len(attempts) - 1)

    model = Model("r1", "r1", Teacher(renderer, say), renderer, Sampling(0, 0), None, {"r1": "r1"})
    settings = {"engine": "scripted", "script": "none:none", "name": "merger", **integration}
    budgets = {"reasoning_tokens": 200, "answer_tokens": 20, "max_step_tokens": 50}
    decode = DecodeConfig(pipeline="integration", integration=settings, budgets=budgets)
    integrator = ChatModel("merger", "merger", ScriptedChat(script), Sampling(100, 0))
    meta = replace(model, name="prover") if prover else None
    made = asyncio.run(PIPELINES["integration"](PROBLEM, Ensemble((model,), meta, decode, 0, integrator=integrator)))
    return made, attempts


FINE = answering(lambda n: (" one.\n</think>", "</think>"))


def test_the_merged_trace_is_the_integrators_scored_and_closed(renderer):
    made, attempts = outcome(renderer, FINE, lambda prompt, n: GOOD, traces_per_teacher=2)
    assert [(s.n, s.teacher, s.category, s.text, s.stop) for s in made.steps] == [
        (1, "merger", *STEPS[0], Stop.STEP),
        (2, "merger", STEPS[1][0], STEPS[1][1] + "</think>", Stop.THINK_END),
    ]
    assert made.final_answer_text == "\n\nIt is \\boxed{2}." and made.stop is Stop.THINK_END
    assert made.score == made.steps[-1].score == pytest.approx(0.6065307) and made.steps[0].score is None
    assert all(step.num_tokens > 0 for step in made.steps)
    traces, replies = made.candidates
    assert [(c.teacher, c.sample, c.kept) for c in traces] == [("r1", 0, True), ("r1", 1, True)]
    assert [(c.teacher, c.text, c.kept, c.score) for c in replies] == [("merger", GOOD, True, made.score)]
    assert len(attempts) == 1


def test_unusable_replies_are_asked_again_with_another_seed_and_recorded(renderer):
    made, attempts = outcome(renderer, FINE, lambda prompt, n: [GOOD[:90], "no", GOOD][n])
    assert [c.error for c in made.candidates[1]] == [
        "the JSON is cut",
        "no JSON object with `steps` in the reply",
        None,
    ]
    assert [c.kept for c in made.candidates[1]] == [False, False, True]
    assert len(set(attempts)) == 3


def test_no_usable_reply_is_an_error_that_says_the_last_reason(renderer):
    with pytest.raises(EngineError, match=r"merger: none of 2 replies could be used, the last one: the JSON is cut"):
        outcome(renderer, FINE, lambda prompt, n: GOOD[:90], tries=2)


def test_a_merged_trace_longer_than_the_budget_is_refused(renderer):
    """Fails the version whose scoring request does not fit into the meta-prover."""
    long = GOOD.replace("Also 0.5.", "again " * 300)
    with pytest.raises(EngineError, match=r"more than decode\.budgets\.reasoning_tokens \(200\)"):
        outcome(renderer, FINE, lambda prompt, n: long)


def test_traces_that_say_nothing_are_left_out_and_none_at_all_is_an_abort(renderer):
    silent = answering(lambda n: ("</think>", "</think>"))
    made, attempts = outcome(renderer, silent, lambda prompt, n: GOOD)
    assert made.stop is Stop.ABORT and made.steps == () and attempts == []
    assert [(c.kept, c.error) for c in made.candidates[0]] == [(False, "empty trace")]


def test_without_a_meta_prover_nothing_is_scored(renderer):
    made, _ = outcome(renderer, FINE, lambda prompt, n: GOOD, prover=False)
    assert made.score is None and all(step.num_tokens > 0 for step in made.steps)


# Whole runs: three scripted teachers, an integrator behind HTTP.


def completion(text: str, finish: str = "stop") -> dict:
    usage = {"prompt_tokens": 50, "completion_tokens": 20}
    return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}], "usage": usage}


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(http, "FIRST_PAUSE", 0.01)
    made = FakeServer(lambda path, body: completion(GOOD))
    yield made
    made.stop()


@pytest.fixture
def recipe_path(tmp_path, random_models, server):
    section = {"engine": "server", "url": f"{server.url}/v1", "model": "some/merger-70b", "max_tokens": 300}
    return write_recipe(tmp_path, random_models, pipeline="integration", integration=section)


def test_a_served_integrator(recipe_path, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    rows = [json.loads(line) for line in run(recipe_path).splitlines()]
    assert len(rows) == len(server.asked) == 7
    for row in rows:
        validate_row(row)
        made = Trajectory.from_row(row)
        assert made.pipeline == "integration" and made.error is None and made.prediction == "2"
        assert [step.teacher for step in made.steps] == ["merger-70b"] * 2
        assert [step["category"] for step in row["steps"]] == ["progressive", "multi-method validation"]
        assert [c.teacher for c in made.candidates[0]] == ["r1", "qwq", "phi4"]
        assert made.num_tokens["generated_total"] > 20
        assert "category" not in json.dumps(row["candidates"][0])
    path, body = server.asked[0]
    assert path == "/v1/chat/completions" and server.headers["Authorization"] == "Bearer k"
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("some/merger-70b", 300, 0.6)
    assert body["messages"][0]["content"].count("<solution") == 3
    assert len({body["seed"] for _, body in server.asked}) == 7
    stats = json.loads(RunFolder.of(load_recipe(recipe_path)).generate_stats.read_text())
    assert stats["models"]["merger-70b"]["requests"] == 7 and stats["models"]["merger-70b"]["generated_tokens"] == 140


def test_in_flight_and_a_journal_cut_anywhere_give_the_same_bytes_and_nothing_is_paid_twice(
    recipe_path, tmp_path, server, kept_calls
):
    """Fails replies that are not journaled before they are used."""

    def by_seed(path, body):
        """Broken, cut and good replies, by the seed of the request."""
        return completion([GOOD, GOOD[:100], "no", GOOD.replace("0.5", str(body["seed"]))][body["seed"] % 4])

    server.answer = by_seed
    tries = "decode.integration.tries=9"
    one = run(recipe_path, f"output_dir={tmp_path}/1", "decode.problems_in_flight=1", tries)
    asked = [json.dumps(body, sort_keys=True) for _, body in server.asked]
    assert len(asked) == len(set(asked)) > 7
    assert run(recipe_path, f"output_dir={tmp_path}/7", "decode.problems_in_flight=7", tries) == one
    journal = tmp_path / "1" / "journal"

    def replies() -> int:
        return sum(isinstance(entry.get("v"), dict) and next(iter(entry["v"])) == "text" for entry in entries(journal))

    assert replies() == len(asked)
    rng = random.Random(0)
    for _ in range(4):
        cut_anywhere(journal, rng)
        known = replies()
        server.asked.clear()
        assert run(recipe_path, f"output_dir={tmp_path}/1", tries) == one
        assert len(server.asked) == len(asked) - known and replies() == len(asked)


def test_a_busy_server_is_asked_again(recipe_path, server):
    busy = [(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.01"}), (500, "oops", {}), (503, "gone", {})]
    server.answer = lambda path, body: busy.pop() if busy else completion(GOOD)
    rows = [json.loads(line) for line in run(recipe_path, "decode.problems_in_flight=1").splitlines()]
    assert [row["error"] for row in rows] == [None] * 7
    assert len(server.asked) == 10


def test_a_problem_that_cannot_be_merged_is_a_record_and_more_tries_mend_it(recipe_path, server):
    """Fails the version that throws the replies so far away, and the one that never asks again."""
    bad = 3

    def answer(path, body):
        nonlocal bad
        if "What is 2 mod 3" in body["messages"][0]["content"] and bad:
            bad -= 1
            return completion(GOOD, finish="length")
        return completion(GOOD)

    server.answer = answer
    rows = [json.loads(line) for line in run(recipe_path).splitlines()]
    assert [bool(row["error"]) for row in rows] == [i == 2 for i in range(7)]
    assert rows[2]["error"].endswith(
        "none of 3 replies could be used, the last one: the reply is cut at decode.integration.max_tokens "
        "(decode.integration.tries)"
    )
    server.asked.clear()
    rows = [json.loads(line) for line in run(recipe_path, "decode.integration.tries=4").splitlines()]
    assert [row["error"] for row in rows] == [None] * 7
    assert len(server.asked) == 1 and [c["kept"] for c in rows[2]["candidates"][1]] == [False] * 3 + [True]


def test_a_refusal_and_an_answer_that_is_none_are_records(recipe_path, server):
    server.answer = lambda path, body: {"object": "error"}
    rows = [json.loads(line) for line in run(recipe_path, "problems.limit=2").splitlines()]
    assert all("no chat completion came back" in row["error"] for row in rows)
    server.answer = lambda path, body: (401, {"error": {"message": "bad key"}}, {})
    rows = [json.loads(line) for line in run(recipe_path, "problems.limit=2").splitlines()]
    assert all("HTTP 401: bad key" in row["error"] for row in rows)


# The toy world's integrator.


def test_the_scripted_integrator_of_the_ledger_merges_by_majority_and_continuity():
    from cord_distill.worlds.ledger.integrator import reply
    from cord_distill.worlds.ledger.world import check_steps, grade, make_problem

    problem = make_problem("p", 6, ["~8", "+8", "-6"], report_every=1)

    def trace(*steps: str, box: str) -> str:
        said = "".join(f"### Step {n}. {step}\n\n" for n, step in enumerate(steps, 1))
        return f"{said}</think>\n\nThe answer is \\boxed{{{box}}}"

    right = trace(
        "Flip to 8 minus it. It was 6, so box 1 = 2",
        "Add 8. It was 2, so box 2 = 0",
        "Subtract 6. It was 0, so box 3 = 4",
        box=" 1 = 2, 2 = 0, 3 = 4",
    )
    slip = trace(
        "Flip to 8 minus it. We have 6, hence box 1 = 2",
        "Add 8. It was 2, so box 2 = 1",
        "Subtract 6. It was 1, so box 3 = 5",
        box=" 1 = 2, 2 = 1, 3 = 5",
    )
    stray = trace("Flip to 8 minus it. It was 6, so box 1 = 3", "Add 8. It was 3, so box 2 = 1", box="")
    merged = read_reply(
        reply(integration_prompt(problem.question, [slip, right, right, stray], MARKER), Sampling(1, 0)), MARKER
    )
    text = "".join(text for _, text in merged.steps) + "</think>\n\n" + merged.final_answer
    assert check_steps(problem, [text for _, text in merged.steps])["all_right"]
    assert grade(text, problem) == (" 1 = 2, 2 = 0, 3 = 4", True)
    categories = ["error correction", "error correction", "verification"]
    assert [category for category, _ in merged.steps] == categories
    wrong = integration_prompt(problem.question, [slip, slip], MARKER)
    kept = read_reply(reply(wrong, Sampling(1, 0)), MARKER)
    assert [category for category, _ in kept.steps] == ["verification"] * 3
    assert kept.final_answer == "The answer is \\boxed{ 1 = 2, 2 = 1, 3 = 5}"  # no true value is known to it
    with pytest.raises(ValueError, match="no JSON object"):
        read_reply(reply(integration_prompt(problem.question, ["?"], MARKER), Sampling(1, 0)), MARKER)


def test_a_reply_in_the_papers_form_is_read():
    """Its Table 17 asks for `integrated_step1` ... and `answer_part`, and its prompt can be put in by a key."""
    marker = StepMarker("### Step {t}.")
    said = {
        "integrated_step1": {"content": "### Step 1. Add.", "category": "progressive"},
        "integrated_step2": {"content": "### Step 2. Check.", "category": "verification"},
        "answer_part": "\\boxed{5}",
    }
    reply = read_reply("```json\n" + json.dumps(said) + "\n```", marker)
    assert [category for category, _ in reply.steps] == ["progressive", "verification"]
    assert reply.steps[1][1] == "### Step 2. Check.\n\n" and reply.final_answer == "\\boxed{5}"
    with pytest.raises(ValueError, match="cut"):
        read_reply(json.dumps(said)[:70], marker)


def test_valid_json_is_taken_as_it_is():
    """A line break before `eq. (2)`, by a writer who doubles backslashes. Fails the version that "mends" it."""
    said = {"steps": [{"category": "progressive", "text": "By $\\frac12$\neq. (2) holds."}], "final_answer": "1"}
    reply = read_reply(json.dumps(said), StepMarker("### Step {t}."))
    assert "By $\\frac12$\neq. (2) holds." in reply.steps[0][1]


def test_half_a_character_in_a_reply_is_no_reply():
    """Fails the version that hands it to a tokenizer, which ends the run at that problem."""
    with pytest.raises(ValueError, match="half a surrogate pair"):
        read_reply('{"steps": ["a \\ud83d b"], "final_answer": "1"}', StepMarker("### Step {t}."))


def test_a_prompt_of_ones_own(tmp_path):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Q: {question}\n{solutions}")
    assert integration_prompt("1+1?", ["a</think>b"], StepMarker("### Step {t}."), str(prompt)).startswith("Q: 1+1?\n")
    prompt.write_text("Q: {question}")
    with pytest.raises(CordError, match=r"decode\.integration\.prompt: prompt\.txt has no \{solutions\}"):
        integration_prompt("1+1?", ["a"], StepMarker("### Step {t}."), str(prompt))
