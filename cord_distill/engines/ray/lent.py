"""The engines of a command as one of its drivers has them: it asks them itself, and starts and replaces none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.engines.ray.asking import Asking
from cord_distill.engines.ray.board import Lost, Place, Word
from cord_distill.engines.ray.spec import EngineSpec, Facts, short


class LentReplica:
    """A replica that the command started. place: of the last engine there; up: that one answers."""

    def __init__(self, engine: LentEngine, place: Place, home: int) -> None:
        self.engine = engine
        self.place = place
        self.home = home
        self.up = True

    @property
    def label(self) -> str:
        return self.place.label

    @property
    def actor(self) -> Any:
        return self.place.actor

    @property
    def facts(self) -> Facts | None:
        return self.place.facts

    def lost(self, actor: Any, reason: str) -> None:
        """Asks it nothing more, and tells the command, which looks whether that is so and starts another engine."""
        if actor is self.actor and self.up:
            self.down()
            self.engine.tell(Lost(self.engine.identity, self.place.name, self.place.turn, reason))

    def down(self) -> None:
        self.up = False
        self.engine.homes.down(self.home, forget=True)


class LentEngine(Asking):
    """One model's engines, as the board says which there are. identity: what the command calls the model."""

    def __init__(self, identity: str, board: Any, timeout: float, first: int) -> None:
        super().__init__(timeout, first=first)
        self.identity = identity
        self.board = board
        self._replicas: dict[str, LentReplica] = {}

    def hear(self, word: Word) -> None:
        """The command's newest word."""
        if word.gone:
            return self.gone(word.gone)
        named = {place.name: place for place in word.places}
        for name, replica in self._replicas.items():
            if replica.up and named.get(name) != replica.place:
                replica.down()
        for name, place in named.items():
            if name not in self._replicas:
                self._replicas[name] = LentReplica(self, place, self.homes.add())
                self.at_home.append(self._replicas[name])
                continue
            replica = self._replicas[name]
            if replica.place != place:
                replica.place, replica.up = place, True
                self.homes.up(replica.home)
        self.say_changed()

    def tell(self, letter: Lost) -> None:
        self.board.write.remote(letter)


class LentCluster:
    """In place of `Cluster` in a driver. number, of: which of how many drivers this is."""

    def __init__(self, board: Any, timeout: float, number: int, of: int) -> None:
        self.board = board
        self.timeout = timeout
        self.number = number
        self.of = of
        self.wanted: set[str] = set()
        self._engines: dict[str, LentEngine] = {}
        self._words: dict[str, Word] = {}
        self._listening: asyncio.Task[None] | None = None

    @property
    def engines(self) -> Iterable[LentEngine]:
        return self._engines.values()

    async def engine(self, identity: str, spec: EngineSpec) -> LentEngine:
        """The engine, as soon as one replica of it answers."""
        if self._listening is None:
            self._words = (await self.board.words.remote(0))[1]
            self._listening = asyncio.create_task(self._listen())
        if identity not in self._engines:
            if identity not in self._words:
                raise CordError(
                    f"{spec.key}: on a driver's node this is another model than the command's ({spec.path}): give "
                    "every node the same paths and files, or remove cluster.drivers"
                )
            first = self.number * spec.replicas // self.of
            self._engines[identity] = LentEngine(identity, self.board, self.timeout, first)
            self._engines[identity].hear(self._words[identity])
        await self._engines[identity].is_up()
        return self._engines[identity]

    async def fill(self) -> None:
        """The command does that."""

    def figures(self) -> dict[str, dict[str, int]]:
        return {}

    async def close(self) -> None:
        """The engines belong to the command."""
        if self._listening is not None:
            self._listening.cancel()

    async def _listen(self) -> None:
        from ray.exceptions import RayError

        seen = 0
        while True:
            try:
                seen, self._words = await self.board.words.remote(seen)
            except RayError as error:
                self._words = dict.fromkeys(self._words, Word(gone=f"the command's board is gone ({short(error)})"))
            for identity, engine in self._engines.items():
                engine.hear(self._words[identity])
            if any(word.gone for word in self._words.values()):
                return
