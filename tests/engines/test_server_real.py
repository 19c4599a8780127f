"""A real vLLM server on 127.0.0.1: the tokens, scores and choices of vLLM in process, and a run through its death."""

import asyncio
import json
import math
import threading
import time

import pytest
import yaml
from journals import lines_of
from served_model import ServedModel

from cord_distill.decode.generate import generate
from cord_distill.engines.base import EngineError, Sampling
from cord_distill.engines.server.engine import ServerEngine
from cord_distill.engines.server.scoring import WAYS, scoring
from cord_distill.prompts.render import load_renderer
from cord_distill.recipe.file import load_recipe
from cord_distill.recipe.models import ModelConfig, RepetitionDetectionConfig
from cord_distill.run_folder.paths import RunFolder
from cord_distill.types import Stop

pytestmark = pytest.mark.slow

LENGTH = 1024


@pytest.fixture(scope="module")
def server(random_models, tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "log.txt"
    server = ServedModel(random_models["qwq"], log, LENGTH, "--enable-scale-out")
    yield server
    server.kill()


@pytest.fixture(scope="module")
def recipe_path(tmp_path_factory, random_models):
    """One model at two temperatures, scored by itself, in process."""
    folder = tmp_path_factory.mktemp("recipe")
    rows = [{"id": f"p{i}", "question": f"Find $x_{i}$ in {i} mod 3.", "answer": f"x={i}"} for i in range(6)]
    (folder / "problems.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    model = {"model": str(random_models["qwq"]), "max_num_seqs": 16}
    recipe = {
        "teachers": [{**model, "name": "cool"}, {**model, "name": "warm", "temperature": 0.9}],
        "meta_prover": {"same_as": "cool"},
        "problems": {"path": "problems.jsonl", "grader": "exact"},
        "decode": {
            "beam_size": 3,
            "server_wait": 500,
            "budgets": {"reasoning_tokens": 160, "answer_tokens": 16, "max_step_tokens": 24},
        },
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def rows_of(path, folder, *overrides) -> list[dict]:
    recipe = load_recipe(path, [f"output_dir={folder}", *overrides])
    generate([recipe])
    return [json.loads(line) for line in RunFolder.of(recipe).trajectories.read_text().splitlines()]


def served(*urls: str) -> list[str]:
    keys = {"engine": "server", "url": list(urls)}
    return [f"teachers.{i}.{key}={json.dumps(value)}" for i in range(2) for key, value in keys.items()]


@pytest.fixture(scope="module")
def in_process(server, recipe_path, tmp_path_factory):
    """Decoded while the server is still starting."""
    return rows_of(recipe_path, tmp_path_factory.mktemp("in_process"))


def check_same_choices(found: list[dict], expected: list[dict]) -> int:
    """All tokens, choices and endings are equal, scores within 1e-5. Returns how many candidates were compared."""
    compared = 0
    for row, other in zip(found, expected, strict=True):
        assert row["error"] is None and row["stop"] == other["stop"]
        assert [step["ids"] for step in row["steps"]] == [step["ids"] for step in other["steps"]]
        assert row["final_answer_text"] == other["final_answer_text"]
        assert row["num_tokens"] == other["num_tokens"]
        for level, level_other in zip(row["candidates"], other["candidates"], strict=True):
            for candidate, twin in zip(level, level_other, strict=True):
                score, score_other = candidate.pop("score", None), twin.get("score")
                assert candidate == {key: value for key, value in twin.items() if key != "score"}
                assert (score is None) == (score_other is None)
                assert score is None or math.isclose(score, score_other, abs_tol=1e-5)
                compared += 1
    return compared


def test_the_same_choices_as_in_process_on_two_replicas(server, recipe_path, in_process, tmp_path):
    """The two URLs are one server. Fails re-tokenised prompts, a sampling setting that is left to the server, and
    scores read off the wrong row."""
    url = server.url
    found = rows_of(recipe_path, tmp_path, *served(url, url.replace("127.0.0.1", "localhost")))
    assert check_same_choices(found, in_process) > 150
    stats = json.loads((tmp_path / "generate_stats.json").read_text())["models"]["cool"]
    assert stats["cached_tokens"] > 0, "the second request of a prefix reads the server's cache"


def test_a_server_killed_in_mid_run_and_started_again_gives_the_same_choices(
    server, recipe_path, in_process, tmp_path, kept_calls
):
    """kill -9, and the requests under way wait for it. Fails the version that gives them up."""
    server.wait()
    killed = []

    def kill_and_start() -> None:
        journal = tmp_path / "journal"
        while lines_of(journal) < 60:
            time.sleep(0.02)
        server.kill()
        killed.append(lines_of(journal))
        time.sleep(3)
        server.start()

    thread = threading.Thread(target=kill_and_start)
    thread.start()
    found = rows_of(recipe_path, tmp_path, *served(server.url))
    thread.join()
    assert killed and killed[0] < lines_of(tmp_path / "journal") - 60, "it was killed in the middle"
    check_same_choices(found, in_process)


@pytest.fixture(scope="module")
def engines(server, random_models):
    """(loop, the server's engine, the same model in process)."""
    from cord_distill.engines.vllm.engine import VllmEngine

    path = str(random_models["qwq"])
    loop = asyncio.new_event_loop()
    section = ModelConfig(model=path, engine="server", url=server.url, repetition_detection={})
    start = ServerEngine.start(section, "teachers.0", load_renderer(path), timeout=600, wait=600)
    remote = loop.run_until_complete(start)
    local = loop.run_until_complete(
        VllmEngine.start(ModelConfig(model=path, max_num_seqs=16), path, deterministic=True, max_model_len=LENGTH)
    )
    yield loop, remote, local
    for engine in (remote, local):
        loop.run_until_complete(engine.close())
    loop.close()


@pytest.mark.parametrize("way", WAYS[1:])
def test_all_ways_of_scoring_equal_the_scores_in_process(engines, way, monkeypatch):
    loop, remote, local = engines
    assert remote.scores == "allowed_token_ids", "on a CPU vLLM knows no rows of given tokens alone"
    monkeypatch.setattr(remote, "scores", way)
    followed = list(range(40, 140))
    likeliest = loop.run_until_complete(local.generate(followed, Sampling(6, seed=0, temperature=0.0))).ids
    for prefix, target in [
        (list(range(30, 230)), [7]),
        (list(range(30, 330)), [9, 9, 40]),
        ([5], list(range(20, 90))),
        (followed, list(likeliest)),
    ]:
        found = loop.run_until_complete(remote.logprobs(prefix, target))
        expected = loop.run_until_complete(local.logprobs(prefix, target))
        assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) < 1e-5


def test_the_way_of_a_gpu_speaks_as_vllm_does():
    """No CPU runs it, so vLLM's own classes read what is sent and write what is read."""
    import numpy
    from vllm.entrypoints.scale_out.token_in_token_out.protocol import GenerateRequest, GenerateTokensResponse
    from vllm.utils.serial_utils import numpy2base64

    question = scoring("prompt_logprob_token_ids", "qwq", [5, 6, 7], [9, 9, 40])
    asked = GenerateRequest.model_validate_json(json.dumps(question.body))
    params = asked.sampling_params
    assert asked.token_ids == [5, 6, 7, 9, 9, 40] and params.skip_reading_prefix_cache is False
    # vLLM wants one row per token of the prompt behind `start`.
    assert len(params.prompt_logprob_token_ids) == len(asked.token_ids) - 1 - params.prompt_logprob_start
    rows = numpy.array([[-0.5], [-1.5], [-2.5]], dtype=numpy.float32)
    for packed, expected in [(numpy2base64(rows), [-0.5, -1.5, -2.5]), (None, [])]:
        page = GenerateTokensResponse(choices=[], prompt_token_id_logprobs=packed)
        assert question.read(page.model_dump(mode="json")) == expected


def test_endings_are_those_of_the_engine_in_process(engines):
    """Stop string, stop id, a repetition, and the end of the context. Fails the version that asks the server for more
    tokens than it holds, which it refuses."""
    loop, remote, local = engines
    ids = list(range(30, 60))
    free = loop.run_until_complete(local.generate(ids, Sampling(24, seed=3)))
    others = tuple(i for i in range(local.runner.config.model_config.get_vocab_size()) if i != 100)
    asked = [
        (ids, Sampling(24, seed=3)),
        (ids, Sampling(24, seed=3, stop=(free.text[4:8],))),
        (ids, Sampling(24, seed=3, stop_ids=(free.ids[10],))),
        (ids, Sampling(24, seed=3, banned_ids=free.ids[:12])),
        (ids, Sampling(60, seed=3, banned_ids=others, repetition=RepetitionDetectionConfig())),
        (ids * 34, Sampling(100, seed=3)),
    ]
    endings = []
    for prompt, sampling in asked:
        found = loop.run_until_complete(remote.generate(prompt, sampling))
        expected = loop.run_until_complete(local.generate(prompt, sampling))
        assert (found.ids, found.text, found.stop, found.matched) == (
            expected.ids,
            expected.text,
            expected.stop,
            expected.matched,
        )
        endings.append(found.stop)
    assert endings[4] is Stop.REPETITION
    assert found.stop is Stop.LENGTH and len(found.ids) == LENGTH - 34 * 30
    with pytest.raises(EngineError, match="maximum context length is 1024"):
        loop.run_until_complete(remote.generate([5] * 2000, Sampling(8, seed=0)))
