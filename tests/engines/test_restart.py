"""An engine that dies or hangs in the middle: started anew with the same answers, or given up with a clear end."""

import asyncio

import pytest

from cord_distill.common.errors import CordError
from cord_distill.engines.base import EngineDead, EngineError, Generation, Sampling
from cord_distill.engines.liveness import RESTARTS
from cord_distill.engines.restart import RestartingEngine
from cord_distill.types import Stop


class Mortal:
    """Answers with the request's seed; dies at its `lives`-th request, and hangs on the seeds in `hangs`."""

    max_model_len = 77

    def __init__(self, lives: int = 10**9, hangs: tuple[int, ...] = ()) -> None:
        self.lives, self.hangs, self.closed = lives, hangs, False

    async def generate(self, ids, sampling):
        await asyncio.sleep(0.001)
        self.lives -= 1
        if self.lives < 0:
            raise EngineDead("out of memory")
        if sampling.seed in self.hangs:
            await asyncio.sleep(60)
        return Generation((sampling.seed,), "", Stop.LENGTH)

    async def close(self):
        self.closed = True


def restarting(engines, **options):
    """Gives `engines` one after the other; an exception among them is a start that fails."""
    made = iter(engines)

    async def start():
        engine = next(made)
        if isinstance(engine, Exception):
            raise engine
        return engine

    return RestartingEngine.begin(start, first_wait=0.001, **options)


async def asked(engine, count=8):
    calls = (engine.generate([1], Sampling(4, seed=i)) for i in range(count))
    return await asyncio.gather(*calls, return_exceptions=True)


def test_requests_in_flight_at_a_death_get_their_own_answers_from_the_next_engine():
    """Fails the version that restarts once per request that saw the death."""
    engines = [Mortal(lives=3), Mortal()]

    async def story():
        engine = await restarting(engines)
        return engine, await asked(engine)

    engine, answers = asyncio.run(story())
    assert [answer.ids for answer in answers] == [(i,) for i in range(8)]
    assert engine.restarts == 1 and engines[0].closed
    assert engine.max_model_len == 77


def test_a_start_that_fails_is_tried_again():
    async def story():
        engine = await restarting([Mortal(lives=0), CordError("no memory yet"), Mortal()])
        return await asked(engine)

    assert all(isinstance(answer, Generation) for answer in asyncio.run(story()))


def test_an_engine_that_keeps_dying_is_given_up_at_once_for_all():
    """Fails the version that starts engines for ever, and the one in which each request has its own restarts."""
    engines = [Mortal(lives=0) for _ in range(20)]

    async def story():
        engine = await restarting(engines)
        return await asked(engine), await asked(engine)

    for answers in asyncio.run(story()):
        assert all(isinstance(answer, EngineDead) and "out of memory" in str(answer) for answer in answers)
    assert sum(engine.lives < 0 for engine in engines) == 1 + RESTARTS


def test_a_hanging_engine_is_started_anew_and_a_slow_request_fails_alone():
    async def hangs():
        engine = await restarting([Mortal(hangs=(0, 1, 2)), Mortal()], timeout=0.05)
        return engine, await asked(engine, count=3)

    engine, answers = asyncio.run(hangs())
    assert engine.restarts == 1 and [answer.ids for answer in answers] == [(0,), (1,), (2,)]

    async def slow():
        engine = await restarting([Mortal(hangs=(0,))], timeout=1.0)
        slow = asyncio.create_task(engine.generate([1], Sampling(4, seed=0)))
        while not slow.done():
            await asyncio.sleep(0.01)
            await engine.generate([1], Sampling(4, seed=1))
        with pytest.raises(EngineError, match="request_timeout") as error:
            await slow
        return engine, error

    engine, error = asyncio.run(slow())
    assert engine.restarts == 0 and not isinstance(error.value, EngineDead)


def test_an_engine_that_hung_just_after_an_answer_costs_no_request():
    """Fails the version that asks whether anything was answered since the request began: the first answer came then,
    and the others would fail with nobody slow."""

    async def story():
        engine = await restarting([Mortal(hangs=(1, 2)), Mortal()], timeout=0.3)
        return engine, await asked(engine, count=3)

    engine, answers = asyncio.run(story())
    assert engine.restarts == 1 and [answer.ids for answer in answers] == [(0,), (1,), (2,)]


def test_an_error_of_one_request_restarts_nothing():
    class Refusing(Mortal):
        async def generate(self, ids, sampling):
            raise EngineError("too long")

    async def story():
        engine = await restarting([Refusing()])
        return engine, await asked(engine, count=1)

    engine, (answer,) = asyncio.run(story())
    assert type(answer) is EngineError and engine.restarts == 0
