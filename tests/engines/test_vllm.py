"""Real vLLM on CPU, all in one process: exact scores, keyed seeds, the same rows whatever runs beside them."""

import asyncio
import json
import math
import random

import pytest

from cord_distill.common.errors import CordError
from cord_distill.engines.base import EngineError, Sampling
from cord_distill.recipe.models import ModelConfig, RepetitionDetectionConfig
from cord_distill.types import Stop

pytestmark = pytest.mark.slow

ANSWERS = ["25", "\\frac{1}{2}", "x=3", "A whole paragraph of an answer, with\ntwo lines and $x^2$.", "答案是四十二"]


@pytest.fixture(scope="module")
def engines(random_models, loop):
    """The same random model twice: deterministic, and with chunked prefill and cache reads."""
    from cord_distill.engines.vllm.engine import VllmEngine

    path = str(random_models["qwq"])
    section = ModelConfig(model=path, max_num_seqs=32)
    both = {
        "exact": loop.run_until_complete(VllmEngine.start(section, path, deterministic=True, max_model_len=1024)),
        "cached": loop.run_until_complete(VllmEngine.start(section, path, deterministic=False, max_model_len=1024)),
    }
    yield both
    for engine in both.values():
        loop.run_until_complete(engine.close())


@pytest.fixture(scope="module")
def reference(logits):
    """log p of target after ids by a plain float32 forward pass."""

    def logprobs(ids, target):
        rows = logits(ids + target)[len(ids) - 1 : -1].log_softmax(-1)
        return [rows[i, token].item() for i, token in enumerate(target)]

    return logprobs


def gathered(loop, calls):
    async def together():
        return await asyncio.gather(*calls)

    return loop.run_until_complete(together())


@pytest.mark.parametrize("which", ["exact", "cached"])
def test_scores_equal_a_float32_forward_pass(engines, reference, loop, random_models, which):
    """Whatever the batch, the order, the cache state or repeats. Fails the version that reads rows of cached tokens
    (garbage)."""
    from cord_distill.prompts.render import load_renderer

    renderer = load_renderer(str(random_models["qwq"]))
    rng = random.Random(0)
    prefix = renderer.prompt_ids("What is $x$?") + [rng.randrange(20, 500) for _ in range(200)]
    asked = []
    for answer in ANSWERS:
        target = renderer.encode(answer)
        asked += [(prefix[:n], target) for n in (40, 64, 96, 97, 150, len(prefix))]
    expected = [reference(ids, target) for ids, target in asked]
    for order in (list(range(len(asked))), rng.sample(range(len(asked)), len(asked)), list(range(len(asked)))):
        found = gathered(loop, [engines[which].logprobs(*asked[i]) for i in order])
        for i, scored in zip(order, found, strict=True):
            assert len(scored) == len(expected[i])
            assert max(abs(a - b) for a, b in zip(scored, expected[i], strict=True)) < 1e-5
    one = loop.run_until_complete(engines[which]._one_by_one(*asked[3]))
    assert max(abs(a - b) for a, b in zip(one, expected[3], strict=True)) < 1e-5


@pytest.mark.parametrize("which", ["exact", "cached"])
def test_ranks_count_the_tokens_that_a_float32_forward_pass_finds_likelier(engines, logits, loop, which):
    """1 for the likeliest, also where the prefix is in the cache. Fails ranks from 0, and rows of cached tokens."""
    rng = random.Random(3)
    ids, target = [rng.randrange(20, 500) for _ in range(130)], [rng.randrange(20, 500) for _ in range(9)]
    rows = logits(ids + target)[len(ids) - 1 : -1].log_softmax(-1)
    expected = [(rows[i, token].item(), 1 + int((rows[i] > rows[i, token]).sum())) for i, token in enumerate(target)]
    for _ in range(2):
        found = loop.run_until_complete(engines[which].ranked(ids, target))
        assert [rank for _, rank in found] == [rank for _, rank in expected] and max(expected, key=lambda e: e[1])[
            1
        ] > 9
        assert max(abs(a - b) for (a, _), (b, _) in zip(found, expected, strict=True)) < 1e-5


def test_a_request_gives_the_same_tokens_alone_and_in_any_batch(engines, loop):
    """Fails one global sampling stream."""
    rng = random.Random(1)
    prompts = [[rng.randrange(20, 500) for _ in range(rng.randrange(5, 80))] for _ in range(24)]
    calls = [(ids, Sampling(40, seed=1000 + i, top_p=0.95)) for i, ids in enumerate(prompts)]
    engine = engines["exact"]
    together = [out.ids for out in gathered(loop, [engine.generate(*call) for call in calls])]
    backwards = [out.ids for out in gathered(loop, [engine.generate(*call) for call in calls[::-1]])][::-1]
    alone = [loop.run_until_complete(engine.generate(*call)).ids for call in calls[:6]]
    assert together == backwards
    assert together[:6] == alone
    assert len(set(together)) == len(together)


@pytest.mark.parametrize("which", ["exact", "cached"])
def test_endings_have_their_names(engines, loop, which):
    engine = engines[which]
    free = loop.run_until_complete(engine.generate(list(range(30, 60)), Sampling(24, seed=3, top_p=0.95)))
    assert free.stop is Stop.LENGTH and len(free.ids) == 24
    word = free.text[4:8]
    cut = loop.run_until_complete(engine.generate(list(range(30, 60)), Sampling(24, seed=3, top_p=0.95, stop=(word,))))
    assert cut.stop is Stop.STEP and cut.matched == word and cut.text == free.text[: free.text.index(word)]
    assert cut.ids == free.ids[: len(cut.ids)]
    ended = loop.run_until_complete(
        engine.generate(list(range(30, 60)), Sampling(24, seed=3, top_p=0.95, stop_ids=(free.ids[10],)))
    )
    assert ended.stop is Stop.EOS and ended.ids[-1] == free.ids[10]


@pytest.mark.parametrize(("sizes", "length"), [({}, 48), ({"min_pattern_size": 5, "min_count": 2}, 10), (None, 60)])
def test_a_repetition_ends_once_its_pattern_stands_there_often_enough(engines, loop, sizes, length):
    """A model that can say one token only. Fails an ending that is taken for a stop string or for a failure, and the
    version in which the four zeros of 10000 are a repetition."""
    engine = engines["exact"]
    others = tuple(i for i in range(engine.runner.config.model_config.get_vocab_size()) if i != 100)
    repetition = None if sizes is None else RepetitionDetectionConfig(**sizes)
    sampling = Sampling(60, seed=3, banned_ids=others, repetition=repetition)
    out = loop.run_until_complete(engine.generate([5, 6, 7], sampling))
    assert (out.ids, out.matched) == ((100,) * length, None)
    assert out.stop is (Stop.LENGTH if sizes is None else Stop.REPETITION)


def test_a_cache_that_holds_no_whole_text_is_one_sentence_with_our_keys(random_models, loop, monkeypatch):
    """Fails the version that hands on vLLM's advice, whose `gpu_memory_utilization` does nothing on a CPU."""
    from cord_distill.engines.vllm.engine import VllmEngine

    path = str(random_models["qwq"])
    section = ModelConfig(model=path, kv_cache_gib=0.0003)
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE")  # it would win over the section
    with pytest.raises(
        CordError, match=r"a text of 4,096 tokens takes [\d.]+ GiB of KV cache, .* set kv_cache_gib: 0\.1 "
    ):
        loop.run_until_complete(VllmEngine.start(section, path, deterministic=True, max_model_len=4096))


def test_banned_tokens_are_never_sampled(engines, loop):
    engine = engines["exact"]
    banned = tuple(range(100, 600))
    out = loop.run_until_complete(engine.generate([5, 6, 7], Sampling(60, seed=3, banned_ids=banned)))
    assert not set(out.ids) & set(banned)


def test_a_request_that_is_too_long_fails_alone(engines, loop):
    """Fails the version in which one bad request takes the engine, and all other requests, with it."""
    engine = engines["exact"]

    async def both():
        return await asyncio.gather(
            engine.generate([5] * 2000, Sampling(8, seed=0)),
            engine.generate([5] * 20, Sampling(8, seed=0)),
            return_exceptions=True,
        )

    refused, fine = loop.run_until_complete(both())
    assert isinstance(refused, EngineError)
    assert len(fine.ids) == 8


def test_a_cancelled_request_leaves_nothing_behind(engines, loop):
    engine = engines["exact"]

    async def cancel():
        tasks = [asyncio.create_task(engine.generate([5] * 20, Sampling(500, seed=i))) for i in range(10)]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return await engine.generate([5] * 20, Sampling(4, seed=0))

    assert len(loop.run_until_complete(cancel()).ids) == 4
    assert engine.runner.engine.get_num_unfinished_requests() == 0


def test_scores_of_a_later_step_read_the_prefix_cache(engines, loop):
    engine = engines["cached"]
    prefix = [random.Random(9).randrange(20, 500) for _ in range(400)]
    loop.run_until_complete(engine.logprobs(prefix[:300], [7, 8]))
    out = loop.run_until_complete(engine.generate(prefix, Sampling(2, seed=0)))
    assert out.cached >= 256


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    """The toy world's models at a small scale: their shapes and tokenizer are real, their knowledge is not."""
    from cord_distill.worlds.ledger.build import build_models

    folder = tmp_path_factory.mktemp("ledger")
    build_models(folder, scale=0.05)
    return folder


def decoded(ledger, runs: dict) -> dict[str, list[dict]]:
    """Decodes the quickstart's 30 first problems once per entry {folder: overrides}, all on the same engines."""
    from cord_distill.decode.generate import generate
    from cord_distill.recipe.file import load_recipe
    from cord_distill.run_folder.paths import RunFolder

    names = ("teacher_a", "teacher_b", "teacher_c")
    local = {f"teachers.{i}.model": str(ledger / name) for i, name in enumerate(names)}
    local |= {"meta_prover.model": str(ledger / "prover"), "problems.args.n": 30}
    recipes = [
        load_recipe(
            "quickstart",
            [f"{key}={json.dumps(value)}" for key, value in {**local, "output_dir": str(folder), **overrides}.items()],
            variant="cord",
        )
        for folder, overrides in runs.items()
    ]
    generate(recipes)
    return {str(r.output_dir): RunFolder.of(r).trajectories.read_text() for r in recipes}


@pytest.fixture(scope="module")
def exact(ledger, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exact")
    return decoded(ledger, {folder / str(n): {"decode.problems_in_flight": n} for n in (1, 7, 64)})


def test_the_same_bytes_with_any_number_in_flight(exact):
    assert len(exact) == 3 and len(set(exact.values())) == 1
    rows = [json.loads(line) for line in next(iter(exact.values())).splitlines()]
    assert len(rows) == 30 and not any(row["error"] for row in rows)
    scores = [c["score"] for row in rows for level in row["candidates"] for c in level]
    assert all(score is None or 0 <= score <= 1 for score in scores)


def test_without_determinism_the_scores_still_agree(ledger, exact, tmp_path):
    """decode.deterministic: false reads caches and splits prefills; every recorded score stays what the exact run
    has."""
    (fast,) = decoded(ledger, {tmp_path / "b": {"decode.deterministic": False}}).values()
    pairs = 0
    for line_a, line_b in zip(next(iter(exact.values())).splitlines(), fast.splitlines(), strict=True):
        for at_a, at_b in zip(json.loads(line_a)["candidates"], json.loads(line_b)["candidates"], strict=False):
            known = {(c["teacher"], c["parent"], c["sample"], c["text"]): c["score"] for c in at_a}
            if known.keys() != {(c["teacher"], c["parent"], c["sample"], c["text"]) for c in at_b}:
                break  # a choice flipped on a near tie: from here on the two are different searches
            for c in at_b:
                score = known[c["teacher"], c["parent"], c["sample"], c["text"]]
                assert score is None or math.isclose(score, c["score"], abs_tol=1e-5)
                pairs += 1
    assert pairs > 300


def test_an_engine_that_dies_once_is_started_anew_and_gives_the_same_answers(engines, random_models, loop):
    """step() raises in the middle: the requests in flight are asked again, and keyed seeds give the same tokens."""
    from cord_distill.engines.restart import RestartingEngine
    from cord_distill.engines.vllm.engine import VllmEngine

    path = str(random_models["qwq"])
    section = ModelConfig(model=path, max_num_seqs=32)
    calls = [([20 + i, 30, 40], Sampling(30, seed=i)) for i in range(12)]
    undisturbed = [out.ids for out in gathered(loop, [engines["exact"].generate(*call) for call in calls])]

    async def story():
        engine = await RestartingEngine.begin(
            lambda: VllmEngine.start(section, path, deterministic=True, max_model_len=1024), first_wait=0.01
        )
        llm = engine.runner.engine
        step, left = llm.step, iter(range(10))

        def step_that_dies():
            if next(left, None) is None:
                raise RuntimeError("out of memory")
            return step()

        llm.step = step_that_dies
        try:
            made = await asyncio.gather(*[engine.generate(*call) for call in calls])
            return [out.ids for out in made], engine.restarts
        finally:
            await engine.close()

    assert loop.run_until_complete(story()) == (undisturbed, 1)


def test_a_prompt_longer_than_one_batch_beside_seeded_requests_does_not_kill_the_engine(random_models, loop):
    """Fails chunked prefill on CPU: vLLM's sampler refuses the seeded request whose prefill was split."""
    from cord_distill.engines.vllm.engine import VllmEngine

    path = str(random_models["qwq"])
    section = ModelConfig(model=path, max_num_seqs=4)
    calls = [([20 + i] * 3500, Sampling(8, seed=i)) for i in range(6)]

    async def story():
        engine = await VllmEngine.start(section, path, deterministic=False, max_model_len=3600)
        try:
            return await asyncio.gather(*[engine.generate(*call) for call in calls])
        finally:
            await engine.close()

    assert all(len(out.ids) == 8 for out in loop.run_until_complete(story()))
