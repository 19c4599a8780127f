"""The engines of one command on a Ray cluster: every model gets its first replica before any gets a second."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.task_group import tasks_cancelled_on_exit
from cord_distill.engines.ray.board import EngineStatus, LostReplica
from cord_distill.engines.ray.connect import connect
from cord_distill.engines.ray.engine import RayEngine
from cord_distill.engines.ray.spec import EngineSpec
from cord_distill.recipe.cluster import ClusterConfig

# Ray ends a process whose head has been away for a minute (RAY_gcs_rpc_server_reconnect_timeout_s).
HEAD_SECONDS = 20.0


class Cluster:
    """wanted: identities of the engines that the recipe under way has asked for. timeout, wait, patient: as
    RayEngine's."""

    def __init__(self, config: ClusterConfig, *, timeout: float, wait: float, patient: bool = False) -> None:
        connect(config)
        self.patient = patient
        self.timeout = timeout
        self.wait = wait
        self.wanted: set[str] = set()
        self._engines: dict[str, RayEngine] = {}
        self._filling: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._head_is_gone = False

    @property
    def engines(self) -> Iterable[RayEngine]:
        return self._engines.values()

    async def engine(self, identity: str, spec: EngineSpec) -> RayEngine:
        """The engine, as soon as one replica of it answers. Up to its first await it has been asked for.

        Raises CordError: no room for it, or it cannot be started as the recipe says.
        """
        self.wanted.add(identity)
        if identity not in self._engines:
            self._watching = self._watching or asyncio.create_task(self._watch())
            engine = RayEngine(spec, timeout=self.timeout, wait=self.wait, patient=self.patient)
            engine.add()
            self._engines[identity] = engine
        await self._engines[identity].is_up()
        return self._engines[identity]

    async def fill(self) -> None:
        """Starts all replicas of the wanted engines, and ends the engines that are not wanted any more.

        As soon as each engine has a place, it asks for the second replicas, then for the third ones; in each round the
        largest come first.
        """
        await self._stop_filling()
        for identity in [name for name in self._engines if name not in self.wanted]:
            await self._engines.pop(identity).close()
        if not all(engine.has_a_place for engine in self.engines):
            for engine in self.engines:
                await engine.shrink()
        self._filling = asyncio.create_task(self._fill(sorted(self.engines, key=lambda engine: -engine.spec.gpus)))

    async def lend(self, board: Any) -> None:
        """Tells drivers by the board which replicas are up, until it is cancelled."""
        # All at once, so that a driver never hears of some alone.
        await board.post.remote({identity: engine.status() for identity, engine in self._engines.items()})
        async with tasks_cancelled_on_exit() as telling:
            for identity, engine in self._engines.items():
                telling.add(asyncio.create_task(_tell(identity, engine, board)))
            await asyncio.gather(*telling)

    def lost(self, message: LostReplica) -> None:
        """What a driver says of a replica."""
        if message.engine in self._engines:
            self._engines[message.engine].lost(message.name, message.restarts, message.reason)

    def figures(self) -> dict[str, dict[str, int]]:
        """For generate_stats.json: by the name of the model."""
        return {engine.spec.label: engine.figures() for engine in self.engines}

    async def close(self) -> None:
        import ray

        await self._stop_filling()
        if self._watching is not None:
            self._watching.cancel()
        for engine in self.engines:
            await engine.close()
        self._engines.clear()
        if self._head_is_gone:
            # Ray's own farewell waits for the head until Ray ends the process, and without it Python's end crashes in
            # Ray's threads.
            atexit.unregister(ray.shutdown)
            atexit.register(_leave)
        else:
            ray.shutdown()

    async def _watch(self) -> None:
        """Ends every engine when the head of the cluster is gone: Ray itself would end this process without a word."""
        answered = time.monotonic()
        while time.monotonic() - answered < HEAD_SECONDS:
            await asyncio.sleep(HEAD_SECONDS / 10)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEAD_SECONDS):
                    if await _head_answers():
                        answered = time.monotonic()
        self._head_is_gone = True
        for engine in self.engines:
            engine.gone("the cluster is gone: its head does not answer; start it again and run the same command")

    async def _fill(self, engines: list[RayEngine]) -> None:
        await asyncio.gather(*(engine.is_placed() for engine in engines))
        for number in range(1, max((engine.spec.replicas for engine in engines), default=0)):
            for engine in engines:
                if len(engine.replicas) <= number < engine.spec.replicas:
                    engine.add()

    async def _stop_filling(self) -> None:
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.gather(self._filling, return_exceptions=True)


def _leave() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(CordError.exit_code)


async def _head_answers() -> bool:
    """Whether the cluster's head answers; a head that is gone may never let this return. It is asked in a thread of its
    own that nobody waits for: Python waits for the loop's own threads at the end of the command."""
    import ray

    loop = asyncio.get_running_loop()
    found: asyncio.Future[bool] = loop.create_future()

    def tell(answers: bool) -> None:
        if not found.done():
            found.set_result(answers)

    def ask() -> None:
        try:
            ray.nodes()
            answers = True
        except Exception:  # whatever Ray raises of a head that is away
            answers = False
        with contextlib.suppress(RuntimeError):  # the loop is closed by now
            loop.call_soon_threadsafe(tell, answers)

    threading.Thread(target=ask, daemon=True).start()
    return await found


async def _tell(identity: str, engine: RayEngine, board: Any) -> None:
    told: EngineStatus | None = None
    while True:
        status = engine.status()
        if status != told:
            await board.post.remote({identity: status})
            told = status
        await engine.changed()
