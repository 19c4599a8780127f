"""What the selectors choose by: exact values on scripted engines, in CoRD (steps) and in Curation (complete traces)."""

import asyncio
import copy
import json
import math
import random
import threading
from dataclasses import replace

import pytest
from fake_server import FakeServer
from journals import cut_anywhere, entries, files
from scripted_world import write_recipe

from cord_distill.common.errors import CordError
from cord_distill.decode.check import check_decode, decoding_faults
from cord_distill.decode.generate import generate
from cord_distill.decode.inputs import decode_inputs
from cord_distill.decode.model import Model
from cord_distill.decode.pipelines import PIPELINES, Ensemble
from cord_distill.decode.reward_model import RewardModel, separator_of
from cord_distill.decode.row_schema import validate_row
from cord_distill.decode.selectors import SELECTORS
from cord_distill.engines.base import EngineError, Generation, Sampling, stop_of
from cord_distill.engines.scripted import ScriptedEngine
from cord_distill.engines.server.reward import ServerRewardEngine
from cord_distill.prompts.render import Renderer, load_renderer
from cord_distill.recipe.decode import DecodeConfig, ProcessRewardConfig
from cord_distill.recipe.experiment import Experiment
from cord_distill.recipe.file import load_recipe
from cord_distill.recipe.recipe import Recipe
from cord_distill.report.summary import build_summary
from cord_distill.run_folder.paths import RunFolder
from cord_distill.search.seeds import keyed_seed
from cord_distill.types import Problem, Stop

PROBLEM = Problem("p", "What is $1+1$?", "2")
S = math.exp(-0.5)


class Author:
    """A teacher that always writes `steps`, then `</think>` and its answer; as a judge it says what `judge` gives."""

    def __init__(self, renderer, steps, judge=None) -> None:
        self.renderer, self.steps, self.judge = renderer, steps, judge
        self.concluded: list[tuple[str, int]] = []

    async def generate(self, ids, sampling):
        text = self.renderer.decode(ids)
        if self.judge:
            self.concluded.append((text, sampling.seed))
            return self._ended(self.judge(text, len(self.concluded)))
        if not sampling.stop:
            return self._ended(" It is \\boxed{2}.")
        if len(sampling.stop) == 1:  # a whole trace
            parts = [f"{'' if n == 1 else f'### Step {n}.'}{step}\n\n" for n, step in enumerate(self.steps, 1)]
            return self._stopped("".join(parts), "</think>")
        number = text.count("### Step")
        if number > len(self.steps):
            return self._stopped("", "</think>")
        last = number == len(self.steps)
        return self._stopped(f"{self.steps[number - 1]}\n\n", "</think>" if last else "### Step")

    def _ended(self, text):
        return Generation((*self.renderer.encode(text), self.renderer.end_of_turn_id), text, Stop.EOS)

    def _stopped(self, text, stop):
        return Generation(tuple(self.renderer.encode(text + stop)), text, stop_of(stop, ended_by_eos=False), stop)

    async def logprobs(self, ids, target_ids):
        return [-0.5] * len(target_ids)


class Rewarder:
    """Rewards a step by the last word before the position that is asked for."""

    def __init__(self, renderer, words) -> None:
        self.renderer, self.words = renderer, words
        self.read: list[str] = []

    async def reward(self, ids, at):
        self.read.append(self.renderer.decode(ids))
        texts = [self.renderer.decode(ids[: i + 1]).replace("<extra_0>", "") for i in at]
        return [self.words[text.split()[-1]] for text in texts]


def ensemble(
    renderer, authors, *, rewarder=None, judge=None, student=None, longest=None, separator="", prover=True, **decode
):
    """Teachers `t0`, `t1`, ... of one vocabulary. prover: an engine; True = the first author, who scores all S."""
    names = {f"t{i}": "r1" for i in range(len(authors))}

    def model(name, engine):
        return Model(name, "r1", engine, renderer, Sampling(0, 0), None, names)

    budgets = {"reasoning_tokens": 300, "answer_tokens": 20, "max_step_tokens": 60}
    return Ensemble(
        tuple(model(f"t{i}", author) for i, author in enumerate(authors)),
        model("prover", authors[0] if prover is True else prover) if prover else None,
        DecodeConfig(**{"beam_size": 1, "curation": {"traces_per_teacher": 1}, "budgets": budgets, **decode}),
        0,
        reward_model=rewarder and RewardModel("prm", "prm", rewarder, renderer, separator, longest),
        judge=judge and model("judge", judge),
        student=student and model("student", student),
        grade=lambda text, problem: ("2", text.endswith("\\boxed{2}")),
    )


def decoded(pipeline, made):
    return asyncio.run(PIPELINES[pipeline](PROBLEM, made))


PRM = {"selector": "process_reward", "process_reward": {"model": "./prm"}}


@pytest.mark.parametrize("pipeline", ["cord", "curation"])
def test_a_process_reward_chooses_and_the_trace_still_has_its_s(renderer, pipeline):
    """Fails the version that reports the reward as S, and the one that keeps the order of S."""
    words = {"wrong": 0.125, "right": 0.875}
    authors = [Author(renderer, [" wrong"]), Author(renderer, [" right"])]
    rewarder = Rewarder(renderer, words)
    made = decoded(pipeline, ensemble(renderer, authors, rewarder=rewarder, **PRM))
    assert [step.teacher for step in made.steps] == ["t1"]
    assert made.steps[-1].score == 0.875 and made.score == S
    (column,) = made.candidates
    assert [(c.teacher, c.score, c.kept) for c in column] == [("t1", 0.875, True), ("t0", 0.125, False)]
    fed = [len(renderer.encode(renderer.turn_text(PROBLEM.question))) + len(renderer.encode(t)) for t in (
        "### Step 1. wrong\n\n", "### Step 1. right\n\n")]  # fmt: skip
    of_s = asyncio.run(ensemble(renderer, authors).score(PROBLEM, made.steps))[2]
    assert made.scored == sum(fed) + of_s


@pytest.mark.parametrize(("how", "chosen"), [("last", "t2"), ("min", "t1"), ("mean", "t0")])
@pytest.mark.parametrize("pipeline", ["cord", "curation"])
def test_each_aggregation_chooses_a_trace_of_its_own(renderer, how, chosen, pipeline):
    """Whole traces are cut into their steps, prefixes are read whole. Fails a reward of the last step alone."""
    words = {"a": 1.0, "b": 0.25, "c": 0.5, "d": 0.5, "e": 0.0, "f": 0.75}
    traces = [[" a", " b"], [" c", " d"], [" e", " f"]]
    authors = [Author(renderer, steps) for steps in traces]
    settings = {**PRM, "process_reward": {"model": "./prm", "aggregation": how}}
    if pipeline == "curation":
        made = decoded(pipeline, ensemble(renderer, authors, rewarder=Rewarder(renderer, words), **settings))
        assert {step.teacher for step in made.steps} == {chosen}
        return
    for author, steps in zip(authors, traces, strict=True):
        alone = ensemble(renderer, [author], rewarder=Rewarder(renderer, words), **settings)
        of_steps = [words[step.strip()] for step in steps]
        made = decoded(pipeline, alone)
        assert [step.score for step in made.steps] == [
            of_steps[0],
            {"last": of_steps[1], "min": min(of_steps), "mean": sum(of_steps) / 2}[how],
        ]


def test_a_reward_model_reads_its_own_template_and_the_steps_without_think(renderer):
    rewarder = Rewarder(renderer, {"a": 0.5, "b": 0.5})
    decoded("curation", ensemble(renderer, [Author(renderer, [" a", " b"])], rewarder=rewarder, **PRM))
    assert rewarder.read == [renderer.turn_text(PROBLEM.question) + "### Step 1. a\n\n### Step 2. b\n\n"]


def test_with_a_separator_each_step_ends_in_it_and_is_rewarded_there(renderer):
    """The reading of Qwen2.5-Math-PRM, taken by itself where the tokenizer has `<extra_0>`."""
    own = Renderer(copy.deepcopy(renderer.tokenizer), system_prompt=renderer.system_prompt, name=renderer.name)
    assert separator_of(own, None) == ""
    own.tokenizer.add_tokens(["<extra_0>"], special_tokens=True)
    assert separator_of(own, None) == "<extra_0>"
    assert separator_of(own, "\n") == "\n"
    model = RewardModel("prm", "prm", None, own, "<extra_0>")
    ids, at = model.reading("Q?", ["### Step 1. a\n\n", "### Step 2. b\n</think>"])
    text = own.turn_text("Q?") + "### Step 1. a<extra_0>### Step 2. b<extra_0>"
    assert own.decode(ids) == text
    assert [own.tokenizer.convert_ids_to_tokens(ids[i]) for i in at] == ["<extra_0>"] * 2


def test_a_trace_too_long_for_the_reward_model_loses_its_first_steps(renderer):
    """Fails the version that cuts the newest step, or the question, off."""
    steps = ["### Step 1. aaa bbb\n\n", "### Step 2. ccc\n\n", "### Step 3. ddd\n\n"]
    prompt = renderer.encode(renderer.turn_text("Q?"))
    pieces = [renderer.encode(step) for step in steps]
    model = RewardModel("prm", "prm", None, renderer, "", len(prompt) + len(pieces[1]) + len(pieces[2]))
    ids, at = model.reading("Q?", steps)
    assert ids == prompt + pieces[1] + pieces[2]
    assert at == [len(prompt) + len(pieces[1]) - 1, len(ids) - 1]
    tiny = replace(model, longest=len(prompt) + 3)
    assert tiny.reading("Q?", steps) == (prompt + pieces[2][-3:], [len(prompt) + 2])


def test_a_last_step_that_says_nothing_is_not_rewarded(renderer):
    """A teacher that closes its thought right behind our marker: the step before it counts."""
    rewarder = Rewarder(renderer, {"a": 0.5})
    author = Author(renderer, [" a"])
    author._stopped = lambda text, stop: Author._stopped(author, text, "### Step" if text else "</think>")
    made = decoded("cord", ensemble(renderer, [author], rewarder=rewarder, **PRM))
    assert [step.text for step in made.steps] == ["### Step 1. a\n\n", "### Step 2.</think>"]
    assert [step.score for step in made.steps] == [0.5, 0.5]
    assert set(rewarder.read) == {renderer.turn_text(PROBLEM.question) + "### Step 1. a\n\n"}


JUDGED = {"selector": "binary_judgment", "binary_judgment": {"runs": 4, "conclusion": " Time is up: \\boxed{"}}


@pytest.mark.parametrize("pipeline", ["cord", "curation"])
def test_binary_judgment_is_the_share_of_right_completions_of_the_prefix(renderer, pipeline):
    """Fails one run instead of n, and runs that share a seed."""

    def says(text, count):
        return "2}" if "good" in text or count % 4 == 0 else "3}"

    judge = Author(renderer, [], says)
    authors = [Author(renderer, [" bad"]), Author(renderer, [" good"])]
    made = decoded(pipeline, ensemble(renderer, authors, judge=judge, **JUDGED))
    (column,) = made.candidates
    assert [(c.teacher, c.score) for c in column] == [("t1", 1.0), ("t0", 0.25)]
    assert made.steps[-1].teacher == "t1" and made.score == S
    assert len(judge.concluded) == 8 and len({seed for _, seed in judge.concluded}) == 8
    prompt = renderer.prompt_text(PROBLEM.question)
    assert {text for text, _ in judge.concluded} == {
        f"{prompt}### Step 1. {word}\n\n Time is up: \\boxed{{" for word in ("bad", "good")
    }
    own = sum(len(renderer.encode(said)) + 1 for said in ["2}"] * 5 + ["3}"] * 3)
    without = decoded(pipeline, ensemble(renderer, authors, selector="random"))
    assert made.generated - without.generated == own


def test_random_reads_nothing_but_the_name_of_a_candidate(renderer):
    """The same traces under another recipe seed are ranked otherwise; other traces under the same seed are not."""
    names = [("trace", t, s) for t in range(3) for s in range(1)]
    values = [keyed_seed(0, "p", "random", *name) / 2**48 for name in names]
    for texts in (["x", "y", "z"], ["long " * 9, "a", "b"]):
        made = decoded(
            "curation",
            ensemble(renderer, [Author(renderer, [f" {text}"]) for text in texts], prover=False, selector="random"),
        )
        (column,) = made.candidates
        assert {c.teacher: c.score for c in column} == {f"t{i}": value for i, value in enumerate(values)}
        assert made.steps[0].teacher == f"t{values.index(max(values))}"
        assert made.score is None
    other = replace(ensemble(renderer, [Author(renderer, [" x"])], selector="random"), seed=1)
    assert decoded("curation", other).candidates[0][0].score != values[0]


def test_longest_keeps_the_trace_of_most_tokens(renderer):
    authors = [Author(renderer, [" one"]), Author(renderer, [" one two three four", " five"]), Author(renderer, [" x"])]
    made = decoded("curation", ensemble(renderer, authors, selector="longest"))
    text = "### Step 1. one two three four\n\n### Step 2. five\n\n"
    assert made.steps[0].teacher == "t1" and made.steps[-1].score == len(renderer.encode(text))
    assert made.score == S


@pytest.mark.parametrize("selector", SELECTORS)
def test_every_selector_has_its_name_in_the_recipe(selector):
    assert DecodeConfig(selector=selector).selector == selector


def recipe_of(random_models, **decode):
    teacher = {"model": str(random_models["r1"]), "name": "r1"}
    return Recipe(name="r", teachers=[teacher], decode=decode)


@pytest.mark.parametrize(
    ("decode", "said"),
    [
        ({"selector": "longest"}, r"longest orders complete traces, not steps: set decode\.pipeline: curation"),
        ({"selector": "random", "pipeline": "single"}, r"pipeline single has nothing to select; take the key away"),
        ({"selector": "random", "pipeline": "integration"}, r"pipeline integration has nothing to select"),
        ({"selector": "random", "pipeline": "mcts"}, r"MCTS is led by S"),
        ({"pipeline": "mcts"}, r"meta_prover: pipeline mcts needs one"),
        ({"pipeline": "integration"}, r"decode\.integration: the pipeline needs a model"),
        (
            {"pipeline": "integration", "integration": {"model": "my/r1"}},
            r"decode\.integration: a teacher is called 'r1' too; give the integrator a `name`",
        ),
        ({"selector": "process_reward"}, r"decode\.process_reward: .* names none; give its model"),
        (
            {"selector": "process_reward", "process_reward": {"model": "my/r1"}},
            r"decode\.process_reward: a teacher is called 'r1' too; give the reward model a `name`",
        ),
        ({"selector": "binary_judgment"}, r"decode\.binary_judgment\.judge: .* give its model, or a meta_prover"),
        (
            {"selector": "binary_judgment", "binary_judgment": {"judge": {"same_as": "qwq"}}},
            r"decode\.binary_judgment\.judge\.same_as 'qwq' names no teacher; there are: r1",
        ),
        ({}, r"meta_prover: pipeline cord needs one to score candidates"),
        ({"pipeline": "curation"}, r"meta_prover: pipeline curation needs one"),
    ],
)
def test_a_senseless_choice_is_refused_with_its_fix(random_models, decode, said):
    with pytest.raises(CordError, match=said):
        check_decode(recipe_of(random_models, **decode))


@pytest.mark.parametrize(
    "decode",
    [
        {"selector": "random"},
        {"selector": "longest", "pipeline": "curation"},
        {"selector": "process_reward", "process_reward": {"model": "Qwen/Qwen2.5-Math-PRM-7B"}},
        {"selector": "binary_judgment", "binary_judgment": {"judge": {"same_as": "r1"}}},
        {"pipeline": "single"},
    ],
)
def test_what_needs_no_meta_prover_runs_without_one(random_models, decode):
    check_decode(recipe_of(random_models, **decode))


@pytest.mark.parametrize(
    ("decode", "key"),
    [
        ({"process_reward": {"model": "./no"}}, "decode.process_reward.model"),
        ({"binary_judgment": {"judge": {"model": "./no"}}}, "decode.binary_judgment.judge"),
    ],
)
def test_cord_check_names_a_reward_model_or_judge_that_is_not_there(random_models, decode, key):
    decode = {"selector": next(iter(decode)), **decode}
    (fault,) = [f for f in decoding_faults(recipe_of(random_models, **decode)) if "problems" not in f]
    assert fault.startswith(key) and "no config.json" in fault


# Whole runs on the scripted engines.


def scripted(random_models, **more):
    return {"model": str(random_models["prover"]), "engine": "scripted", "script": "scripted_world:script", **more}


def settings_of(random_models, selector):
    return {
        "process_reward": {"process_reward": scripted(random_models, name="prm", aggregation="min")},
        "binary_judgment": {"binary_judgment": {"runs": 3, "judge": scripted(random_models, name="judge")}},
        "student_fit": {"student_fit": scripted(random_models, name="student")},
        "rank_surprisal": {"student_fit": scripted(random_models, name="student")},
    }.get(selector, {}) | {"selector": selector}


@pytest.fixture
def run(tmp_path, random_models):

    def one(selector, *overrides, **decode):
        path = write_recipe(tmp_path, random_models, **settings_of(random_models, selector), **decode)
        recipe = load_recipe(path, overrides)
        generate([recipe])
        return RunFolder.of(recipe)

    return one


@pytest.mark.parametrize(
    ("selector", "pipeline"),
    [
        *((selector, "cord") for selector in ("process_reward", "binary_judgment", "student_fit", "consensus", "gain")),
        *((selector, "curation") for selector in ("process_reward", "binary_judgment", "rank_surprisal")),
    ],
)
def test_a_journal_cut_anywhere_goes_on_to_the_same_bytes(run, selector, pipeline, monkeypatch, kept_calls):
    """With any number in flight. Whatever a selector asks is a call like any: in the journal before it is used, and
    asked once. Fails a reward or a student that goes past the journal: then more is asked than is written; and ratings
    that hang on arrival."""
    asked = []

    def counted(method):
        async def call(self, *given):
            asked.append(method.__name__)
            return await method(self, *given)

        return call

    for name in ("generate", "logprobs", "ranked", "reward"):
        monkeypatch.setattr(ScriptedEngine, name, counted(getattr(ScriptedEngine, name)))

    def answers():
        return sorted((e["p"], e["k"]) for e in entries(folder.journal) if "k" in e)

    folder = run(selector, pipeline=pipeline)
    undisturbed, made = folder.trajectories.read_bytes(), answers()
    assert len(made) == len(set(made)) == len(asked) and ("reward" in asked) == (selector == "process_reward")
    rng = random.Random(selector)
    for in_flight in (1, 3, 7, 64):
        cut_anywhere(folder.journal, rng)
        kept = sum(b'"k":' in line for path in files(folder.journal) for line in path.read_bytes().splitlines(True)
                   if line.endswith(b"\n"))  # fmt: skip
        folder.trajectories.unlink()
        asked.clear()
        again = run(selector, f"decode.problems_in_flight={in_flight}", pipeline=pipeline)
        assert again.trajectories.read_bytes() == undisturbed
        assert answers() == made
        assert len(asked) == len(made) - kept


@pytest.mark.parametrize(
    ("selector", "pipeline"),
    [(s, p) for s in SELECTORS for p in ("cord", "curation") if p == "curation" or SELECTORS[s].of_prefixes],
)
def test_every_row_is_valid_and_has_s_whatever_it_was_selected_by(run, selector, pipeline):
    rows = [json.loads(line) for line in run(selector, pipeline=pipeline).trajectories.read_text().splitlines()]
    assert len(rows) == 7
    for row in rows:
        validate_row(row)
        assert 0 < row["score"] < 1
        kept = [c["score"] for c in row["candidates"][-1] if c["kept"]]
        assert row["steps"][-1]["score"] == max(kept) == max(c["score"] for c in row["candidates"][-1])
        same = math.isclose(row["score"], row["steps"][-1]["score"])
        assert same == (selector == "predictive_perplexity")


def test_the_reward_model_is_in_the_figures_of_the_run(run, tmp_path, kept_calls):
    folder = run("process_reward")
    meters = json.loads(folder.generate_stats.read_text())["models"]
    calls = [entry.get("v") for entry in entries(folder.journal)]
    assert meters["prover"]["scores"] == 7, "S is asked once for each trace"
    assert meters["prm"]["requests"] == meters["prm"]["scores"] == sum(isinstance(call, list) for call in calls) - 7
    (method,) = build_summary(Experiment.load(tmp_path / "recipe.yaml")).methods.values()
    assert method.models["prm"].scored_tokens == meters["prm"]["scored_tokens"] > 1000
    assert method.models["prm"].request_seconds > 0


def test_another_reward_is_another_run_and_another_place_for_it_is_not(random_models):
    def inputs(**changes):
        settings = {"model": "Qwen/Qwen2.5-Math-PRM-7B", **changes}
        return decode_inputs(recipe_of(random_models, selector="process_reward", process_reward=settings))

    assert inputs(devices=[3], gpu_memory_utilization=0.5) == inputs()
    for change in ({"aggregation": "min"}, {"head_output": 0}, {"max_model_len": 2048}, {"step_separator": "\n"}):
        assert inputs(**change) != inputs(), change


# A reward model at a URL.


def pooling(rows_of, models=("prm",)):
    def answer(path, body):
        if path == "/v1/models":
            return {"data": [{"id": name, "max_model_len": 99} for name in models]}
        assert path == "/pooling" and body["task"] == "token_classify" and body["use_activation"] is False
        return {"data": [{"index": 0, "object": "pooling", "data": rows_of(body["input"])}]}

    return FakeServer(answer)


def at_url(server, calls, **settings):
    async def story():
        section = ProcessRewardConfig(engine="server", model="prm", url=server.url, **settings)
        engine = await ServerRewardEngine.start(section, "decode.process_reward", timeout=5.0, wait=0.0)
        try:
            return engine.max_model_len, [await engine.reward(*call) for call in calls]
        finally:
            await engine.close()

    try:
        return asyncio.run(story())
    finally:
        server.stop()


def test_a_server_that_pools_every_token_is_read_at_the_asked_positions():
    server = pooling(lambda ids: [[0.0, math.log(token)] for token in ids])
    length, rewards = at_url(server, [([3, 1, 9], [0, 2])])
    assert length == 99 and rewards == [[pytest.approx(0.75), pytest.approx(0.9)]]


def test_a_server_that_pools_steps_gives_one_row_for_each():
    """vLLM's default for Qwen2.5-Math-PRM: rows at the separators alone, whose id is 7 here."""
    server = pooling(lambda ids: [[0.0, math.log(3)] for token in ids if token == 7])
    assert at_url(server, [([1, 7, 2, 7], [1, 3])])[1] == [[pytest.approx(0.75)] * 2]


def test_a_server_whose_rows_fit_nothing_fails_with_what_to_start_it_with():
    server = pooling(lambda ids: [[1.0]])
    with pytest.raises(EngineError, match=r"1 rewards for 2 steps of 4 tokens; serve it with --pooler-config"):
        at_url(server, [([1, 7, 2, 7], [1, 3])])


def test_a_server_without_pooling_is_named_before_anything_is_decoded():
    def answer(path, body):
        return {"data": [{"id": "prm"}]} if path == "/v1/models" else (404, {"detail": "Not Found"}, {})

    with pytest.raises(CordError, match=r"decode\.process_reward\.url: .*HTTP 404.*vllm serve prm --runner pooling"):
        at_url(FakeServer(answer), [])


def test_cord_check_asks_the_server_of_a_reward_model(write_served, capsys):
    """Fails the version that probes teachers and meta-prover alone."""
    from cord_distill.run.check import check

    up = pooling(lambda ids: [[1.0] for _ in ids])
    check(Experiment.load(write_served(up.url)))
    up.stop()
    assert f"decode.process_reward: {up.url} serves 'prm', gives rewards" in capsys.readouterr().out
    assert check(Experiment.load(write_served(up.url))) == 2
    assert "decode.process_reward.url: " in capsys.readouterr().err


@pytest.fixture
def write_served(tmp_path, random_models):

    def write(url):
        reward = {"engine": "server", "model": str(random_models["prover"]), "served_model_name": "prm", "url": url}
        return str(write_recipe(tmp_path, random_models, selector="process_reward", process_reward=reward))

    return write


# The toy world's reward model on the real engines.


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A reward model of the toy world at a small scale: its shape, tokenizer and head are real."""
    from cord_distill.worlds.ledger.build import build_models

    folder = tmp_path_factory.mktemp("ledger")
    return build_models(folder, scale=0.02, reward_model=True)["reward"]


def readings(renderer, count=12):
    """(ids, positions) of traces by all teachers, as the selector would feed them."""
    from cord_distill.worlds.ledger.corpus import judged
    from cord_distill.worlds.ledger.world import problems

    model = RewardModel("prm", "prm", None, renderer)
    made = []
    for n, problem in enumerate(problems(count, "test")):
        text = "".join(piece for piece, _ in judged(random.Random(n), problem)[1:])
        steps = ["### Step" + part for part in text.partition("</think>")[0].split("### Step")[1:]]
        made.append(model.reading(problem.question, steps[: 1 + n % 6]))
    return made


@pytest.mark.slow
def test_the_real_engine_rewards_as_a_float32_forward_pass_does(toy):
    """vLLM's pooling, in any batch. Fails a reward read one token off, and an activation taken twice."""
    import torch
    from transformers import AutoModelForSequenceClassification

    from cord_distill.engines.vllm.reward import VllmRewardEngine

    renderer = load_renderer(str(toy), name="reward")
    calls = readings(renderer)
    model = AutoModelForSequenceClassification.from_pretrained(toy, dtype=torch.float32).eval()
    assert model.config.num_labels == 1

    def reference(ids, at):
        # transformers' own forward pass looks at the last token alone: one pass for each step.
        with torch.no_grad():
            return [torch.sigmoid(model(torch.tensor([ids[: i + 1]])).logits[0, 0]).item() for i in at]

    expected = [reference(ids, at) for ids, at in calls]
    assert max(map(max, expected)) - min(map(min, expected)) > 0.02
    section = ProcessRewardConfig(model=str(toy), max_num_seqs=8)

    async def story():
        engine = await VllmRewardEngine.start(section, str(toy), max_model_len=300, step_timeout=600.0)
        assert f"watchdog of {section.label}" in {thread.name for thread in threading.enumerate()}
        try:
            together = await asyncio.gather(*[engine.reward(*call) for call in calls])
            alone = [await engine.reward(*call) for call in calls[:3]]
            with pytest.raises(EngineError):
                await engine.reward([5] * 2000, [3])
            after = await engine.reward(*calls[0])
        finally:
            await engine.close()
        return [*together, *alone, after]

    with pytest.raises(CordError, match="reward"):
        asyncio.run(VllmRewardEngine.start(section, str(toy.parent / "prover"), max_model_len=300))
    for a, b in zip(asyncio.run(story()), [*expected, *expected[:3], expected[0]], strict=True):
        assert a == pytest.approx(b, abs=1e-4)


@pytest.mark.slow
def test_the_toy_world_is_decoded_by_its_reward_model(toy, tmp_path):
    """Teachers, meta-prover and reward model on vLLM in one process; every kept step has the highest reward."""
    models = {f"teachers.{i}.model": str(toy.parent / f"teacher_{x}") for i, x in enumerate("abc")}
    models |= {"meta_prover.model": str(toy.parent / "prover"), "decode.process_reward": {"model": str(toy)}}
    models |= {"problems.args.n": 4, "output_dir": str(tmp_path), "decode.selector": "process_reward"}
    recipe = load_recipe("quickstart", [f"{k}={json.dumps(v)}" for k, v in models.items()], variant="cord")
    generate([recipe])
    rows = [json.loads(line) for line in RunFolder.of(recipe).trajectories.read_text().splitlines()]
    assert len(rows) == 4 and not any(row["error"] for row in rows)
    for row in rows:
        for level in row["candidates"]:
            rated = [c["score"] for c in level if c["score"] is not None]
            assert all(0 < score < 1 for score in rated) and len(set(rated)) > 1
            kept = [c["score"] for c in level if c["kept"]]
            assert min(kept) >= sorted(rated)[-len(kept)] - 1e-6
        assert 0 <= row["score"] <= 1
