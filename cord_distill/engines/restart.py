"""An engine that is started anew when it died or hangs. Requests that were under way are asked again: keyed seeds make
the second answer the one that the first would have been.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.engines.base import EngineDead, EngineError, Generation, Sampling

RESTARTS = 3
FIRST_WAIT = 2.0
# Deaths further apart than this are separate accidents of a long run, not an engine that cannot live.
WINDOW = 3600.0


class RestartingEngine:
    """`start()` gives the engine behind; all else that is asked of this object is asked of that engine.

    At most RESTARTS new starts within WINDOW seconds, each after twice the wait of the one before; then every request
    raises EngineDead. timeout: seconds for one request. One that is past it fails alone (EngineError) while the engine
    answers others; when nothing was answered in all that time, the engine hangs, and is taken for dead. (An engine that
    hangs in this very process stops everything: watchdog.py ends the process.)
    """

    keeps_time = True

    def __init__(
        self, engine: Any, start: Callable[[], Awaitable[Any]], *, timeout: float | None = None,
        first_wait: float = FIRST_WAIT,
    ) -> None:  # fmt: skip
        self.inner: Any = engine
        self.timeout = timeout
        self.restarts = 0
        self._start = start
        self._first_wait = first_wait
        self._lock = asyncio.Lock()
        self._begun: list[float] = []
        self._given_up: str | None = None
        self._answered = time.monotonic()

    @classmethod
    async def begin(cls, start: Callable[[], Awaitable[Any]], **options: Any) -> RestartingEngine:
        """Starts the first engine. What that raises is not tried again: it is the settings, not an accident."""
        return cls(await start(), start, **options)

    def __getattr__(self, name: str) -> Any:
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    async def generate(self, ids: list[int], sampling: Sampling) -> Generation:
        return await self._ask(lambda engine: engine.generate(ids, sampling))

    async def logprobs(self, ids: list[int], target_ids: list[int]) -> list[float]:
        return await self._ask(lambda engine: engine.logprobs(ids, target_ids))

    async def ranked(self, ids: list[int], target_ids: list[int]) -> list[tuple[float, int]]:
        return await self._ask(lambda engine: engine.ranked(ids, target_ids))

    async def reward(self, ids: list[int], at: list[int]) -> list[float]:
        return await self._ask(lambda engine: engine.reward(ids, at))

    async def close(self) -> None:
        await self.inner.close()

    async def _ask(self, call: Callable[[Any], Awaitable[Any]]) -> Any:
        while True:
            if self._given_up:
                raise EngineDead(self._given_up)
            engine = self.inner
            try:
                answer = await self._in_time(engine, call(engine))
            except EngineDead as error:
                await self._restart(engine, error)
            else:
                self._answered = time.monotonic()
                return answer

    async def _in_time(self, engine: Any, answer: Awaitable[Any]) -> Any:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(self.timeout):
                return await answer
        except TimeoutError:
            said = f"no answer within {self.timeout:g} s (decode.request_timeout)"
            hangs = engine is not self.inner or self._answered < begun
            raise (EngineDead if hangs else EngineError)(said) from None

    async def _restart(self, dead: Any, error: Exception) -> None:
        """Puts a new engine in the place of `dead`; whoever comes second finds it there. Else raises EngineDead."""
        async with self._lock:
            while self.inner is dead and not self._given_up:
                now = time.monotonic()
                self._begun = [at for at in self._begun if now - at < WINDOW]
                if len(self._begun) >= RESTARTS:
                    self._given_up = f"{error} (after {RESTARTS} restarts)"
                    break
                wait = self._first_wait * 2 ** len(self._begun)
                self._begun.append(now)
                with contextlib.suppress(Exception):
                    await dead.close()
                await asyncio.sleep(wait)
                try:
                    self.inner = await self._start()
                    self.restarts += 1
                    self._answered = time.monotonic()
                except (CordError, EngineError) as reason:
                    error = reason
        if self._given_up:
            raise EngineDead(self._given_up) from error
