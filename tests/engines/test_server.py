"""`engine: server` against a local fake: what it refuses to work with, and runs through faults. The real one is in
test_server_real.py."""

import asyncio
import json
import threading

import pytest
import yaml
from doubles import RandomEngine
from fake_server import Completions, FakeServer
from journals import calls, entries

from cord_distill.common.errors import CordError
from cord_distill.decode.generate import generate
from cord_distill.decode.inputs import decode_inputs
from cord_distill.engines.base import EngineError, Sampling
from cord_distill.engines.server import http
from cord_distill.engines.server.engine import ServerEngine, read_generation
from cord_distill.engines.server.probe import kv_tokens_in, probe, server_root
from cord_distill.engines.server.scoring import TARGETS_AT_ONCE, WAYS, scoring
from cord_distill.prompts.render import load_renderer
from cord_distill.recipe.experiment import Experiment
from cord_distill.recipe.file import load_recipe
from cord_distill.recipe.models import ModelConfig, RepetitionDetectionConfig
from cord_distill.run.check import check
from cord_distill.run_folder.paths import RunFolder
from cord_distill.types import Stop


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(http, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(http, "LONGEST_PAUSE", 0.05)


@pytest.fixture(scope="module")
def renderer(random_models):
    return load_renderer(str(random_models["qwq"]))


@pytest.fixture
def serve(renderer):
    """A function that starts a fake server of the random model, with what it should be unable to do."""
    started = []

    def serve(answer=None, **options):
        server = FakeServer(answer or Completions(RandomEngine(renderer), **options))
        started.append(server)
        return server

    yield serve
    for server in started:
        server.stop()


def section(server, **values):
    return ModelConfig(model="./here", engine="server", url=server.url, **values)


def probed(server, **values):
    return asyncio.run(probe(section(server, **values), "teachers.0", wait=0.0, timeout=5.0))[0]


# What a URL must be able to do.


def test_a_probe_says_what_the_server_can_do(serve):
    server = serve(models={"toy": 512})
    assert str(probed(server)) == (
        f"{server.url} serves 'toy', continues token ids, gives log-probs of given tokens, holds 512 tokens"
    )
    for i, way in enumerate(WAYS):
        assert probed(serve(knows=WAYS[i:])).scores == way
    assert probed(serve(knows=("neither",))).scores is None
    bare = Completions(server.answer.engine)
    gateway = serve(
        lambda path, body: (502, "", {}) if path.startswith(("/inference", "/metrics")) else bare(path, body)
    )
    assert probed(gateway).scores == "allowed_token_ids", "a route that a gateway lacks is no server that is away"
    assert probed(serve(among=True)).scores == "logprob_token_ids", "log-probs among the allowed tokens are no scores"


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ((404, {"error": {"message": "This is a chat model"}}, {}), "This is a chat model"),
        ({"choices": [{"text": "hello"}]}, "does not give back the token ids"),
        ({"choices": [{"text": "hello", "token_ids": [3], "prompt_token_ids": [1, 10, 11, 12]}]}, "does not give back"),
        ({"choices": []}, "gave no completion"),
    ],
)
def test_a_plain_chat_api_is_never_a_teacher(serve, page, message):
    """Fails the version that takes whatever text comes back, with a BOS of the server's own in front."""
    server = serve(lambda path, body: {"data": [{"id": "chat"}]} if path == "/v1/models" else page)
    with pytest.raises(CordError, match=message) as error:
        probed(server)
    assert "teachers.0.url" in str(error.value) and "the integrator or the judge" in str(error.value)


def test_a_name_is_needed_where_a_server_has_several_models(serve):
    server = serve(models={"a": 64, "b": 128})
    with pytest.raises(CordError, match=r"teachers.0.served_model_name: .* it serves: a, b"):
        probed(server)
    assert probed(server, served_model_name="b").max_model_len == 128
    with pytest.raises(CordError, match="does not serve 'c'"):
        probed(serve(models={"a": 64}), served_model_name="c")


def test_a_server_that_is_not_up_is_named_with_the_command_that_starts_it(serve):
    server = serve()
    server.stop()
    with pytest.raises(CordError, match=rf"{server.url}: no connection.* vllm serve ./here --port {server.port}"):
        probed(server)


@pytest.mark.parametrize("url", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/chat/completions"])
def test_every_form_of_a_url_means_the_same_server(url):
    assert server_root(url) == "http://h:1"


def started(server, renderer, **values):
    return ServerEngine.start(section(server, **values), "teachers.0", renderer, timeout=5.0, wait=0.0)


def test_a_tokenizer_that_is_not_the_servers_is_refused(serve, random_models):
    """Fails the version that sends ids of one vocabulary to a model of another."""
    with pytest.raises(CordError, match="another tokenizer"):
        asyncio.run(started(serve(), load_renderer(str(random_models["r1"]))))


def test_replicas_under_two_names_are_refused(serve, renderer):
    servers = [serve(models={name: 64}) for name in ("a", "b")]
    both = ModelConfig(model="./here", engine="server", url=[server.url for server in servers])
    with pytest.raises(CordError, match="under one name"):
        asyncio.run(ServerEngine.start(both, "teachers.0", renderer, timeout=5.0, wait=0.0))


def test_a_server_that_would_ignore_repetition_detection_is_refused(serve, renderer):
    """Fails the version that sends a key that nobody reads, and the one that takes vLLM's `stop_reason` of such an
    ending for a stop string."""
    with pytest.raises(CordError, match=r"teachers.0.repetition_detection: .* ignores it; serve the model with vLLM"):
        probed(serve(), repetition_detection={})

    async def story():
        engine = await started(serve(loops=True), renderer, repetition_detection={})
        try:
            sampling = Sampling(4, 1, repetition=RepetitionDetectionConfig())
            return await engine.generate([5, 6], sampling), await engine.generate([5, 6], Sampling(4, 1))
        finally:
            await engine.close()

    ended, plain = asyncio.run(story())
    assert (ended.stop, ended.matched) == (Stop.REPETITION, None) and plain.stop is not Stop.REPETITION


# Requests.


def test_scores_are_put_in_the_order_of_the_targets_however_many_there_are(serve, renderer):
    """The fake answers in the opposite order. Fails the version that reads the choices as they come, or sends only
    the first part of a long answer."""
    target = [20 + i % 50 for i in range(2 * TARGETS_AT_ONCE + 3)]

    async def found(**options):
        engine = await started(serve(**options), renderer)
        try:
            return [await engine.logprobs([5, 6, 7], wanted) for wanted in (target, target[:1], [])]
        finally:
            await engine.close()

    one = asyncio.run(found(knows=WAYS[-1:]))
    assert [len(scores) for scores in one] == [len(target), 1, 0] and len(set(one[0])) == len(target)
    for i in range(len(WAYS) - 1):
        assert asyncio.run(found(knows=WAYS[i:])) == one
    assert asyncio.run(found(knows=WAYS, cached=10)) == one, "rows that its cache had are asked for in another way"


def test_a_prompt_is_sent_once_where_the_server_follows_the_answer(serve, renderer):
    """Fails the version that sends it once per answer token, and one that guesses on for ever: an answer that the
    server leaves takes one request more, with a prompt per token that is left."""
    ids = [5, 6, 7]
    likeliest: list[int] = []
    for _ in range(4):
        row = {token: asyncio.run(RandomEngine(renderer).logprobs(ids + likeliest, [token])) for token in range(20, 24)}
        likeliest.append(max(row, key=row.__getitem__))
    left = [likeliest[0], *(token for token in range(20, 24) if token != likeliest[1])][:4]

    async def prompts(target, **options):
        server = serve(**options)
        engine = await started(server, renderer)
        server.asked.clear()
        try:
            await engine.logprobs(ids, target)
        finally:
            await engine.close()
        sent = [body.get("prompt", body.get("token_ids")) for _, body in server.asked]
        return [len(prompt) if isinstance(prompt[0], list) else 1 for prompt in sent]

    question = scoring("allowed_token_ids", "m", ids, [7, 8])
    rows = [{"token_id:7": -0.5, "token_id:8": -1.0}, {"token_id:7": -0.1}]
    logprobs = {"tokens": ["token_id:7", "token_id:7"], "top_logprobs": rows}
    assert question.read({"choices": [{"logprobs": logprobs}]}) == [-0.5], "a row without the token is asked for again"
    assert asyncio.run(prompts(likeliest)) == [1]
    assert asyncio.run(prompts(left)) == [1, 2]
    assert asyncio.run(prompts(left, knows=WAYS)) == [1]
    assert asyncio.run(prompts(left, knows=WAYS[2:])) == [4]


def test_a_request_says_all_that_a_server_might_fill_in(serve, renderer):
    """Fails the version that leaves top_k or a penalty to the model's generation_config."""
    server = serve()

    async def story():
        engine = await started(server, renderer)
        out = await engine.generate([5, 6], Sampling(7, 2**62 + 1, stop=("### Step",), stop_ids=(3,), banned_ids=(9,)))
        await engine.close()
        return out

    assert asyncio.run(story()).cached == 3
    body = server.asked[-1][1]
    assert body["seed"] == 2**62 + 1 and body["prompt"] == [5, 6] and body["max_tokens"] == 7
    assert body["logit_bias"] == {"9": -100.0} and body["stop_token_ids"] == [3] and body["stop"] == ["### Step"]
    assert (body["top_k"], body["min_p"], body["repetition_penalty"], body["presence_penalty"]) == (-1, 0.0, 1.0, 0.0)
    assert body["skip_special_tokens"] is False and body["return_token_ids"] is True


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ({"choices": []}, "cannot be read"),
        (
            {"choices": [{"finish_reason": "stop", "stop_reason": None, "token_ids": None, "text": ""}]},
            "cannot be read",
        ),
        ({"choices": [{"finish_reason": "abort", "stop_reason": None, "token_ids": [], "text": ""}]}, "'abort'"),
        ([], "cannot be read"),
        ("<html>log in</html>", "but no JSON"),
        ('data: {"choices": []}\n\ndata: [DONE]\n', "but no JSON"),
        ({"error": {"message": "overloaded", "code": 503}}, "cannot be read"),
        ({"choices": [{"prompt_token_ids": [1, 5, 6]}]}, "answered another prompt than it was sent: 3 token ids"),
        ({"choices": [{"prompt_token_ids": [5, 7]}]}, "answered another prompt than it was sent"),
    ],
)
def test_an_odd_answer_fails_its_request_alone(serve, renderer, page, message):
    answer = Completions(RandomEngine(renderer))
    server = serve(lambda path, body: page if body and body.get("seed") == 1 else answer(path, body))

    async def story():
        engine = await started(server, renderer)
        odd, fine = await asyncio.gather(
            *[engine.generate([5, 6], Sampling(4, seed)) for seed in (1, 2)], return_exceptions=True
        )
        await engine.close()
        return odd, fine

    odd, fine = asyncio.run(story())
    assert type(odd) is EngineError and message in str(odd) and len(fine.ids) == 4


@pytest.mark.parametrize(
    "usage", [None, 7, [], {"prompt_tokens_details": "x"}, {"prompt_tokens_details": {"cached_tokens": -7}},
              {"prompt_tokens_details": {"cached_tokens": "7"}}, {"prompt_tokens_details": {"cached_tokens": 1e400}}],
)  # fmt: skip
def test_counts_that_are_none_cost_no_answer(usage):
    """Fails the version that adds them up as they come, and throws a whole answer away for its statistics."""
    choice = {"finish_reason": "length", "stop_reason": None, "token_ids": [5], "text": "a", "prompt_token_ids": [1]}
    made = read_generation({"choices": [choice], "usage": usage}, [1])
    assert (made.ids, made.cached) == ((5,), 0)


def test_ids_that_are_no_whole_numbers_are_not_made_such():
    """Fails `int(token)`, which takes 1.5, "12" and true for the ids 1, 12 and 1; answers.py refuses what comes out."""
    choice = {"finish_reason": "length", "stop_reason": None, "token_ids": [1.5, "12", True], "text": "a"}
    assert read_generation({"choices": [choice]}, [1]).ids == (1.5, "12", True)


# Whole runs.


@pytest.fixture
def recipe_path(tmp_path, random_models):
    """A recipe of one model at two temperatures, scored by itself; the url is given as an override."""
    rows = [{"id": f"p{i}", "question": f"What is {i} mod 3?", "answer": i % 3} for i in range(8)]
    (tmp_path / "problems.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    served = {"model": str(random_models["qwq"]), "engine": "server", "url": "http://127.0.0.1:9"}
    recipe = {
        "teachers": [{**served, "name": "cool"}, {**served, "name": "warm", "temperature": 0.9}],
        "meta_prover": {"same_as": "cool"},
        "problems": {"path": "problems.jsonl", "grader": "exact"},
        "decode": {
            "beam_size": 2,
            "server_wait": 10,
            "problems_in_flight": 3,
            "budgets": {"reasoning_tokens": 200, "answer_tokens": 20, "max_step_tokens": 40},
        },
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def run(path, folder, *servers, **keys) -> RunFolder:
    urls = json.dumps([server.url for server in servers])
    overrides = [f"teachers.{i}.url={urls}" for i in range(2)] + [f"{key}={value}" for key, value in keys.items()]
    recipe = load_recipe(path, [f"output_dir={folder}", *overrides])
    generate([recipe])
    return RunFolder.of(recipe)


@pytest.fixture
def undisturbed(recipe_path, serve, tmp_path, kept_calls):
    return run(recipe_path, tmp_path / "undisturbed", serve())


def test_a_server_that_dies_and_comes_back_in_mid_run_costs_nothing(
    recipe_path, serve, tmp_path, renderer, undisturbed
):
    """Fails the version that fails the problems that were under way."""
    answer = Completions(RandomEngine(renderer))
    left = iter(range(len(calls(undisturbed.journal)) // 2, -(10**6), -1))

    def dies_once(path, body):
        if next(left) == 0:
            server.stop()
            threading.Timer(0.3, server.start).start()
        return answer(path, body)

    server = serve(dies_once)
    made = run(recipe_path, tmp_path / "disturbed", server)
    assert made.trajectories.read_bytes() == undisturbed.trajectories.read_bytes()
    assert sorted(calls(made.journal)) == sorted(calls(undisturbed.journal))


def test_a_server_that_stays_away_ends_the_run_and_the_same_command_goes_on(
    recipe_path, serve, tmp_path, renderer, undisturbed
):
    """The journal is whole, the error names the url, and no answer is asked for twice. Fails the version that writes
    off all problems that are left."""
    answer = Completions(RandomEngine(renderer))
    left = iter(range(len(calls(undisturbed.journal)) // 2, -(10**6), -1))

    def dies(path, body):
        if next(left) == 0:
            server.stop()
        return answer(path, body)

    server = serve(dies)
    with pytest.raises(CordError, match=rf"{server.url}: .*decode.server_wait.*run the same command again"):
        run(recipe_path, tmp_path / "disturbed", server, **{"decode.server_wait": 0.2})
    journal = RunFolder(tmp_path / "disturbed", "cord", False).journal
    known = entries(journal)
    answers = sum("k" in entry for entry in known)
    assert 0 < answers < len(calls(undisturbed.journal))
    assert sum("row" in entry for entry in known) <= 3 + sum(not e["row"]["error"] for e in known if "row" in e)
    server.start()
    before = len(server.asked)
    made = run(recipe_path, tmp_path / "disturbed", server)
    assert made.trajectories.read_bytes() == undisturbed.trajectories.read_bytes()
    asked = [call for call in calls(made.journal) if call[1] != "row"]
    assert len(asked) == len(set(asked))
    probes = 10
    assert len(server.asked) - before <= len(asked) - answers + probes


def test_a_problem_stays_on_one_replica(recipe_path, serve, tmp_path, renderer, undisturbed):
    """And two replicas give what one gives. Fails round robin, and the version that binds no problem to its engine."""
    servers = [serve(), serve()]
    made = run(recipe_path, tmp_path / "two", *servers)
    assert made.trajectories.read_bytes() == undisturbed.trajectories.read_bytes()
    found = []
    for server in servers:
        prompts = [body["prompt"] for path, body in server.asked if path == "/v1/completions" and body.get("seed")]
        seen = set()
        for i in range(8):
            question = renderer.prompt_ids(f"What is {i} mod 3?")
            seen |= {f"p{i}" for prompt in prompts if prompt[: len(question)] == question}
        found.append(seen)
    assert all(found) and found[0].isdisjoint(found[1]) and len(found[0] | found[1]) == 8


def test_the_run_names_what_its_meta_prover_lacks_before_any_work(recipe_path, serve, tmp_path):
    with pytest.raises(CordError, match=r"meta_prover: .* gives no log-probs of given tokens"):
        run(recipe_path, tmp_path / "out", serve(knows=("neither",)))


def test_a_server_with_too_short_a_context_is_named(recipe_path, serve, tmp_path):
    with pytest.raises(CordError, match=r"holds 128 tokens.*--max-model-len of its server"):
        run(recipe_path, tmp_path / "out", serve(models={"m": 128}))


def test_check_says_what_is_there_and_what_is_not(recipe_path, serve, tmp_path, capsys):
    server, away = serve(), serve()
    away.stop()
    for url, code in ((server.url, 0), (away.url, 2)):
        urls = [f"teachers.{i}.url={url}" for i in range(2)]
        assert check(Experiment.load(recipe_path, [f"output_dir={tmp_path}/out", *urls])) == code
    out, err = capsys.readouterr()
    assert f"teachers.0: {server.url} serves 'm', continues token ids" in out
    assert f"missing: teachers.0.url: {away.url}: no connection" in err
    assert check(Experiment.load(recipe_path, [f"teachers.{i}.url={serve(knows=('no',)).url}" for i in range(2)])) == 2
    assert "missing: meta_prover: " in capsys.readouterr().err


# The recipe.


def test_where_a_server_is_does_not_change_the_run(recipe_path):
    plain = decode_inputs(load_recipe(recipe_path))
    moved = ["teachers.0.url=[http://a:1,http://b:2]", "teachers.1.api_key_env=KEY", "decode.server_wait=5"]
    assert decode_inputs(load_recipe(recipe_path, moved)) == plain
    assert decode_inputs(load_recipe(recipe_path, ["teachers.0.served_model_name=other"])) != plain


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("teachers.0.url=127.0.0.1:8000", "write it like http://"),
        ("teachers.0.url=[http://a:1,http://a:1]", "named twice"),
        ("decode.deterministic=true", r"cool is on a server.*engine: vllm"),
    ],
)
def test_mistakes_are_found_when_the_recipe_is_read(recipe_path, override, message):
    with pytest.raises(CordError, match=message):
        load_recipe(recipe_path, [override])


METRICS = """# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="64",cache_dtype="auto",engine="0",num_gpu_blocks="1000",swap_space="None"} 1.0
vllm:cache_config_info{block_size="64",cache_dtype="auto",engine="1",num_gpu_blocks="900",swap_space="None"} 1.0
"""


@pytest.mark.parametrize(
    ("page", "tokens"),
    [
        (METRICS, 57600),
        ('vllm:cache_config_info{kv_cache_size_tokens="500",block_size="64",num_gpu_blocks="9"} 1.0', 500),
        ('vllm:cache_config_info{block_size="64",num_gpu_blocks="None"} 1.0', None),
        ("vllm:num_requests_running 3.0", None),
        ('{"error": "no such page"}', None),
    ],
    ids=["two engines", "told in tokens", "not known yet", "another metric", "no metrics"],
)
def test_a_server_says_how_many_tokens_its_cache_holds(page, tokens):
    """Fails the sum over the engines behind one address: a problem lives in one of them."""
    assert kv_tokens_in(page) == tokens
