"""How requests run on a vLLM engine of this process when things go wrong around it. The engine's own part is played, so
that a stopped process and a core in another process can be had at will; vLLM itself is tested in test_vllm.py."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from cord_distill.engines.base import EngineDead, EngineError, Generation, Sampling
from cord_distill.engines.restart import RestartingEngine
from cord_distill.types import Stop

pytestmark = pytest.mark.slow  # importing vLLM takes as long as an engine


class Played:
    """An LLMEngine whose first step takes `stopped` seconds and which then answers every request."""

    def __init__(self, stopped, client):
        self.stopped, self.engine_core, self.open = stopped, client, []

    def add_request(self, number, prompt, params):
        self.open.append(number)
        return f"{number}-x"

    def abort_request(self, ids, internal):
        self.open = [number for number in self.open if f"{number}-x" not in ids]

    def step(self):
        time.sleep(self.stopped)
        if self.stopped:
            return []
        made, self.open = self.open, []
        return [
            SimpleNamespace(finished=True, request_id=f"{n}-x", prompt_token_ids=[1], num_cached_tokens=0) for n in made
        ]


def runner_of(engine):
    from cord_distill.engines.vllm.runners import InProcessRunner

    runner = InProcessRunner.__new__(InProcessRunner)
    runner.engine, runner.steps, runner.computed_prompt_tokens = engine, 0, 0
    runner._numbers, runner._open, runner._pump, runner._dead, runner._watchdog = iter(range(99)), {}, None, None, None
    InProcessRunner._alive.add(runner)
    return runner


class OnRunner:
    def __init__(self, runner):
        self.runner = runner

    async def generate(self, ids, sampling):
        await self.runner.run(ids, None)
        return Generation((sampling.seed,), "", Stop.LENGTH)

    async def close(self):
        await self.runner.close()


@pytest.fixture
def shut():
    """The names of what was shut down, in order."""
    return []


def core_here(shut, name):
    executor = SimpleNamespace(shutdown=lambda: shut.append(f"{name}: its executor"))
    return SimpleNamespace(
        _finalizer=SimpleNamespace(detach=lambda: None),
        engine_core=SimpleNamespace(model_executor=executor),
        shutdown=lambda: shut.append(name),
    )


def test_requests_that_are_late_all_at_once_restart_the_engine_and_are_asked_again(shut):
    """A process that was stopped and continued (Slurm's suspend): in one turn of the loop all requests are past their
    time. Fails the version whose later ones abort on the engine that the first one's restart has closed."""
    engines = iter([Played(0.3, core_here(shut, "first")), Played(0, core_here(shut, "second"))])

    async def start():
        return OnRunner(runner_of(next(engines)))

    async def story():
        engine = await RestartingEngine.begin(start, timeout=0.1, first_wait=0.001)
        try:
            return await asyncio.gather(*(engine.generate([1], Sampling(4, seed=i)) for i in range(8))), engine.restarts
        finally:
            await engine.close()

    answers, restarts = asyncio.run(story())
    assert [answer.ids for answer in answers] == [(i,) for i in range(8)] and restarts == 1
    assert shut == ["first", "second"]


def test_a_request_on_a_closed_engine_says_so(shut):
    async def story():
        runner = runner_of(Played(0, core_here(shut, "only")))
        await runner.close()
        with pytest.raises(EngineDead, match="it was closed"):
            await runner.run([1], None)

    asyncio.run(story())


def test_a_core_in_a_process_of_its_own_is_closed_as_one(shut):
    """VLLM_ENABLE_V1_MULTIPROCESSING=1 in the user's shell. Fails the version that looks inside the client for a core
    that is elsewhere, and ends a finished run with AttributeError."""
    apart = SimpleNamespace(shutdown=lambda: shut.append("apart"))

    async def story():
        for runner in [runner_of(Played(0, apart)), runner_of(Played(0, core_here(shut, "here")))]:
            await runner.close()

    asyncio.run(story())
    assert shut == ["apart", "here"]


def test_an_engine_that_refuses_a_request_fails_that_one_alone(shut):
    class Refuses(Played):
        def add_request(self, number, prompt, params):
            raise ValueError("too long")

    async def story():
        runner = runner_of(Refuses(0, core_here(shut, "only")))
        with pytest.raises(EngineError, match="vLLM refused the request: too long"):
            await runner.run([1], None)
        await runner.close()

    asyncio.run(story())
