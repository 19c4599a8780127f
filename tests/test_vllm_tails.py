"""The prefix cache to its last token: what is read from it, and that nothing wrong ever is."""

import asyncio
import random
from types import SimpleNamespace

import pytest

from cord_distill.engines.base import Sampling
from cord_distill.recipe.models import Model

pytestmark = pytest.mark.slow

BLOCK = 32


@pytest.fixture(scope="module")
def engine(random_models, loop):
    """Room for 60 blocks of 32 tokens: a few dozen requests fill it, and old tails are evicted all the time."""
    from cord_distill.engines.vllm.engine import VllmEngine

    path = str(random_models["qwq"])
    section = Model(model=path, max_num_seqs=8, engine_args={"num_gpu_blocks_override": 60})
    started = loop.run_until_complete(VllmEngine.start(section, path, deterministic=False, max_model_len=256))
    yield started
    loop.run_until_complete(started.close())


def scheduler_of(engine):
    return engine.runner.engine.engine_core.engine_core.scheduler


def empty_cache(engine):
    assert engine.runner.engine.reset_prefix_cache()


def some_ids(rng, count):
    return [rng.randrange(20, 500) for _ in range(count)]


def test_a_continuation_computes_its_new_tokens_alone(engine, loop):
    """The last sampled token never went through the model; all before it is in the cache. Fails vLLM's own scheduler,
    which computes the last, unfilled block anew (here 18 tokens of 50)."""
    empty_cache(engine)
    prompt = some_ids(random.Random(0), 40)
    grown = prompt + list(loop.run_until_complete(engine.generate(prompt, Sampling(11, seed=1))).ids)

    def cached(ids):
        return loop.run_until_complete(engine.generate(ids, Sampling(1, seed=0))).cached

    assert cached([*grown, 7, 8]) == 50
    assert cached([*grown[:45], 9, 9, 9]) == 45  # it leaves the known tokens in the middle of the block
    assert cached(grown[:41]) == 40  # one token is left to compute
    assert cached([9, *grown]) == 0
    scheduler_of(engine).uses_tails = False
    try:
        assert cached([*grown, 8, 7]) == BLOCK
    finally:
        scheduler_of(engine).uses_tails = True


def test_a_prompt_shorter_than_a_block_is_found_too(engine, loop):
    empty_cache(engine)
    prompt = some_ids(random.Random(1), 9)
    loop.run_until_complete(engine.generate(prompt, Sampling(2, seed=1)))
    assert loop.run_until_complete(engine.generate([*prompt, 3, 4], Sampling(2, seed=1))).cached == 9


def test_a_score_leaves_no_tail_that_would_swallow_its_answer(engine, loop):
    """A second score of the same answer must compute the answer's rows: rows out of the cache have no values."""
    empty_cache(engine)
    prompt = some_ids(random.Random(2), 45)
    first = loop.run_until_complete(engine.logprobs(prompt, [5, 6, 7]))
    steps = engine.runner.steps
    assert loop.run_until_complete(engine.logprobs(prompt, [5, 6, 7])) == pytest.approx(first, abs=1e-5)
    assert engine.runner.steps == steps + 1  # one request, not the fallback of one for each token


def test_an_emptied_cache_holds_no_tail(engine, loop):
    empty_cache(engine)
    prompt = some_ids(random.Random(3), 45)
    loop.run_until_complete(engine.generate(prompt, Sampling(4, seed=1)))
    empty_cache(engine)
    assert loop.run_until_complete(engine.generate([*prompt, 3], Sampling(4, seed=1))).cached == 0


def test_a_search_in_a_cache_that_is_always_full_gets_right_answers(engine, loop, logits):
    """Prefixes grow, fork in the middle of blocks and are asked again, several at once, while their blocks are evicted.
    Fails requests that write into one tail together, and a tail whose block was given to someone else."""
    rng = random.Random(4)
    known = [some_ids(rng, 40) for _ in range(3)]
    shared = 0
    for _ in range(40):
        trunk = rng.choice(known)
        prefix = trunk[: rng.randrange(len(trunk) // 2, len(trunk) + 1)][:170]
        fork = prefix + some_ids(rng, rng.randrange(0, 3))
        answer = some_ids(rng, 4)

        async def step(prefix=prefix, fork=fork, answer=answer):
            return await asyncio.gather(
                engine.generate(prefix, Sampling(rng.randrange(2, 40), seed=rng.randrange(99))),
                engine.generate(prefix, Sampling(rng.randrange(2, 40), seed=rng.randrange(99))),
                engine.generate(fork, Sampling(30, seed=0, temperature=0.0)),
                engine.logprobs(prefix, answer),
            )

        *sampled, greedy, scored = loop.run_until_complete(step())
        rows = logits(prefix + answer).log_softmax(-1)
        expected = [rows[len(prefix) - 1 + i, token].item() for i, token in enumerate(answer)]
        assert scored == pytest.approx(expected, abs=1e-5)
        after = logits([*fork, *greedy.ids])[len(fork) - 1 : -1]
        for row, token in zip(after, greedy.ids, strict=True):
            assert row.max() - row[token] < 1e-4
        shared += sum(out.cached % BLOCK > 0 for out in (*sampled, greedy))
        known = [*known, prefix + list(sampled[0].ids), prefix + list(sampled[1].ids)][-6:]
    assert shared > 40
    pool = scheduler_of(engine).kv_cache_manager.block_pool
    assert pool.get_num_free_blocks() == 59  # all but vLLM's null block


def test_tails_are_forgotten_with_their_blocks(engine, loop):
    """What is remembered is bounded by the blocks there are."""
    rng = random.Random(5)
    for _ in range(80):
        loop.run_until_complete(engine.generate(some_ids(rng, 40), Sampling(3, seed=0)))
    tails = scheduler_of(engine).tails
    assert len(tails._of_block) <= 59
    assert sorted(block for blocks in tails._behind.values() for block in blocks) == sorted(tails._of_block)


@pytest.mark.parametrize("change", ["no cache", "sliding window", "two groups"])
def test_where_blocks_have_other_rules_the_scheduler_is_stock(engine, change):
    from vllm.v1.core.single_type_kv_cache_manager import SlidingWindowManager

    from cord_distill.engines.vllm.tails import Tails

    manager = scheduler_of(engine).kv_cache_manager
    assert Tails.possible_in(manager)
    groups = manager.coordinator.single_type_managers
    if change == "sliding window":
        groups = (object.__new__(SlidingWindowManager),)
    elif change == "two groups":
        groups = (*groups, *groups)
    like_it = SimpleNamespace(
        enable_caching=change != "no cache",
        block_pool=manager.block_pool,
        coordinator=SimpleNamespace(single_type_managers=groups),
    )
    assert not Tails.possible_in(like_it)
