"""A driver's view of the engines that its command started: it asks them itself, and starts and replaces none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.engines.ray.asking import ReplicatedEngine
from cord_distill.engines.ray.board import EngineStatus, LiveReplica, LostReplica
from cord_distill.engines.ray.spec import EngineSpec, Facts, short


class LentReplica:
    """A replica that the command started. live: the last engine there; up: that one answers."""

    def __init__(self, engine: LentEngine, live: LiveReplica, home: int) -> None:
        self.engine = engine
        self.live = live
        self.home = home
        self.up = True

    @property
    def label(self) -> str:
        return self.live.label

    @property
    def actor(self) -> Any:
        return self.live.actor

    @property
    def facts(self) -> Facts | None:
        return self.live.facts

    def lost(self, actor: Any, reason: str) -> None:
        """Asks this replica nothing more and tells the command, which looks at it and starts another engine."""
        if actor is self.actor and self.up:
            self.down()
            message = LostReplica(self.engine.identity, self.live.name, self.live.restarts, reason)
            self.engine.board.send.remote(message)

    def down(self) -> None:
        self.up = False
        self.engine.homes.down(self.home, forget=True)


class LentEngine(ReplicatedEngine):
    """One model's engines, as the board says which there are. identity: what the command calls the model."""

    def __init__(self, identity: str, board: Any, timeout: float, first: int) -> None:
        super().__init__(timeout, first=first)
        self.identity = identity
        self.board = board
        self._replicas: dict[str, LentReplica] = {}

    def update(self, status: EngineStatus) -> None:
        """Takes the command's newest status."""
        if status.gone:
            return self.gone(status.gone)
        named = {live.name: live for live in status.replicas}
        for name, replica in self._replicas.items():
            if replica.up and named.get(name) != replica.live:
                replica.down()
        for name, live in named.items():
            if name not in self._replicas:
                self._replicas[name] = LentReplica(self, live, self.homes.add())
                self.at_home.append(self._replicas[name])
                continue
            replica = self._replicas[name]
            if replica.live != live:
                replica.live, replica.up = live, True
                self.homes.up(replica.home)
        self.say_changed()


class LentCluster:
    """Stands in place of `Cluster` in a driver. number, of: which of how many drivers this is."""

    def __init__(self, board: Any, timeout: float, number: int, of: int) -> None:
        self.board = board
        self.timeout = timeout
        self.number = number
        self.of = of
        self.wanted: set[str] = set()
        self._engines: dict[str, LentEngine] = {}
        self._statuses: dict[str, EngineStatus] = {}
        self._listening: asyncio.Task[None] | None = None

    @property
    def engines(self) -> Iterable[LentEngine]:
        return self._engines.values()

    async def engine(self, identity: str, spec: EngineSpec) -> LentEngine:
        """The engine, as soon as one replica of it answers."""
        if self._listening is None:
            self._statuses = (await self.board.statuses.remote(0))[1]
            self._listening = asyncio.create_task(self._listen())
        if identity not in self._engines:
            if identity not in self._statuses:
                raise CordError(
                    f"{spec.key}: on a driver's node this is another model than the command's ({spec.path}): give "
                    "every node the same paths and files, or remove cluster.drivers"
                )
            first = self.number * spec.replicas // self.of
            self._engines[identity] = LentEngine(identity, self.board, self.timeout, first)
            self._engines[identity].update(self._statuses[identity])
        await self._engines[identity].is_up()
        return self._engines[identity]

    async def fill(self) -> None:
        """Does nothing: the command starts all replicas."""

    def figures(self) -> dict[str, dict[str, int]]:
        return {}

    async def close(self) -> None:
        """Stops listening to the board; the engines belong to the command."""
        if self._listening is not None:
            self._listening.cancel()

    async def _listen(self) -> None:
        from ray.exceptions import RayError

        seen = 0
        while True:
            try:
                seen, self._statuses = await self.board.statuses.remote(seen)
            except RayError as error:
                self._statuses = dict.fromkeys(
                    self._statuses, EngineStatus(gone=f"the command's board is gone ({short(error)})")
                )
            for identity, engine in self._engines.items():
                engine.update(self._statuses[identity])
            if any(status.gone for status in self._statuses.values()):
                return
