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
from cord_distill.engines.base import EngineDead, EngineError, ForwardingEngine
from cord_distill.engines.liveness import FIRST_WAIT, RESTARTS, Restarts, hangs, too_late


class RestartingEngine(ForwardingEngine):
    """`start()` gives the engine behind; all else that is asked of this object is asked of that engine.

    timeout: seconds for one request. liveness.py says whether one that is past it fails alone (EngineError) or its
    engine hangs and is taken for dead, and when an engine is given up: then every request raises EngineDead. (An engine
    that hangs in this very process stops everything: watchdog.py ends the process.)
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
        self._lock = asyncio.Lock()
        self._starts = Restarts(first_wait)
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

    async def close(self) -> None:
        await self.inner.close()

    async def request(self, method: str, ids: list[int], what: Any) -> Any:
        while True:
            if self._given_up:
                raise EngineDead(self._given_up)
            engine = self.inner
            try:
                answer = await self._in_time(engine, getattr(engine, method)(ids, what))
            except EngineDead as error:
                await self._restart(engine, error)
            else:
                self._answered = time.monotonic()
                return answer

    async def _in_time(self, engine: Any, answer: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(self.timeout):
                return await answer
        except TimeoutError:
            limit = self.timeout or 0.0
            dead = engine is not self.inner or hangs(self._answered, limit)
            raise (EngineDead if dead else EngineError)(too_late(limit)) from None

    async def _restart(self, dead: Any, error: Exception) -> None:
        """Puts a new engine in the place of `dead`, once for all requests that saw it die. Else raises EngineDead."""
        async with self._lock:
            while self.inner is dead and not self._given_up:
                wait = self._starts.next_wait()
                if wait is None:
                    self._given_up = f"{error} (after {RESTARTS} restarts)"
                    break
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
