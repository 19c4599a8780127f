"""Where a command and its drivers leave word for each other: an actor of its own, since a driver is busy with its
searches and the command can be called by nobody."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from cord_distill.engines.ray.spec import Facts


@dataclass(frozen=True, slots=True)
class Place:
    """A replica that is up. turn: how often it was started anew. actor: Ray's handle."""

    name: str
    turn: int
    actor: Any = field(compare=False, repr=False)
    facts: Facts | None = field(compare=False)
    label: str = ""


@dataclass(frozen=True, slots=True)
class Word:
    """What the command says of one model's engines. gone: why there will be none any more."""

    places: tuple[Place, ...] = ()
    gone: str = ""


@dataclass(frozen=True, slots=True)
class Lost:
    """What a driver says of a replica that does not answer any more. engine: the identity of the model."""

    engine: str
    name: str
    turn: int
    reason: str


class Board:
    """The command posts a word per engine, of which the last one counts; the drivers' letters wait for the command."""

    def __init__(self) -> None:
        self._words: dict[str, Word] = {}
        self._posted = 0
        self._letters: list[Any] = []
        self._news = asyncio.Condition()

    async def post(self, words: dict[str, Word]) -> None:
        """By the identities of the engines."""
        async with self._news:
            self._words |= words
            self._posted += 1
            self._news.notify_all()

    async def words(self, seen: int) -> tuple[int, dict[str, Word]]:
        """All of them, as soon as something was posted after the first `seen` ones; and how many were."""
        async with self._news:
            await self._news.wait_for(lambda: self._posted > seen)
            return self._posted, dict(self._words)

    async def write(self, letter: Any) -> None:
        async with self._news:
            self._letters.append(letter)
            self._news.notify_all()

    async def letters(self) -> list[Any]:
        """Those that nobody has read, as soon as there is one."""
        async with self._news:
            await self._news.wait_for(lambda: bool(self._letters))
            found, self._letters = self._letters, []
            return found


def start_board() -> Any:
    """Ray's handle of a new board, on the node of the command where that has Ray's leave: it ends with the command."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    options = {"num_cpus": 0, "max_restarts": 0, "max_concurrency": 1024}
    return ray.remote(Board).options(scheduling_strategy=here, **options).remote()
