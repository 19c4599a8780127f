"""A replica of a model on a cluster keeps one actor running: whenever that is lost, it starts a new one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cord_distill.engines.liveness import RESTARTS, Restarts
from cord_distill.engines.ray.asking import LOOK_AGAIN
from cord_distill.engines.ray.spec import Facts, Failure, differing, short


@dataclass
class Replica:
    """make: asks Ray for a new actor. changed: called when it came up, was placed, lost, or given up.

    home: its number in Homes, given when it is first up. placed: its actor has a node. given_up: why it is not
    started any more. refused: that is no accident.
    """

    label: str
    number: int
    make: Callable[[], Any]
    changed: Callable[[Replica], None]
    actor: Any = None
    facts: Facts | None = None
    home: int | None = None
    placed: bool = False
    up: bool = False
    given_up: str = ""
    refused: bool = False
    restarts: int = 0
    reason: str = ""
    _starts: Restarts = field(default_factory=Restarts)
    _lost: asyncio.Event = field(default_factory=asyncio.Event)
    _node: str = ""

    @property
    def name(self) -> str:
        return f"{self.label} replica {self.number}"

    async def keep(self) -> None:
        """Runs as long as the model is wanted. Returns when the replica is given up."""
        while True:
            self._lost.clear()
            self.actor = self.make()
            problem = await self._come_up()
            if problem is None:
                await self._until_lost()
            elif self.refused:
                return self._give_up(problem)
            else:
                self.lost(self.actor, problem)
            self._kill()
            if not await self._node_is_gone():
                wait = self._starts.next_wait()
                if wait is None:
                    return self._give_up(f"{self.reason} (after {RESTARTS} restarts)")
                await asyncio.sleep(wait)
            self.restarts += 1

    def lost(self, actor: Any, reason: str) -> None:
        """Reports that `actor` does not answer any more; later reports of the same actor change nothing."""
        if actor is self.actor and not self._lost.is_set():
            self.reason = reason
            self.up = self.placed = False
            self._lost.set()
            self.changed(self)

    def close(self) -> None:
        self.up = False
        self._kill()

    async def _come_up(self) -> str | None:
        """None when the engine answers; else why it does not."""
        from ray.exceptions import RayError

        try:
            self._node = await self.actor.placed.remote()
            self.placed = True
            self.changed(self)
            started = await self.actor.start.remote()
        except RayError as error:
            return short(error)
        if isinstance(started, Failure):
            self.refused = started.kind == "settings" and self.facts is None
            return started.reason
        if wrong := differing(started):
            self.refused = self.facts is None
            return wrong
        self.facts = started
        self.up = True
        self.changed(self)
        return None

    async def _until_lost(self) -> None:
        from ray.exceptions import ActorUnavailableError, RayError

        async def watch(actor: Any) -> None:
            while True:
                try:
                    await actor.until_the_end.remote()
                except ActorUnavailableError:
                    await asyncio.sleep(LOOK_AGAIN)
                except RayError as error:
                    return self.lost(actor, short(error))

        watching = asyncio.create_task(watch(self.actor))
        try:
            await self._lost.wait()
        finally:
            watching.cancel()

    async def _node_is_gone(self) -> bool:
        """Whether the actor's machine went away, which says nothing about the engine on it."""
        import ray

        with contextlib.suppress(Exception):
            nodes = await asyncio.to_thread(ray.nodes)
            return not any(node["Alive"] and node["NodeID"] == self._node for node in nodes)
        return False

    def _give_up(self, reason: str) -> None:
        self.given_up = reason
        self.up = self.placed = False
        self._kill()
        self.changed(self)

    def _kill(self) -> None:
        import ray

        with contextlib.suppress(Exception):
            ray.kill(self.actor)
