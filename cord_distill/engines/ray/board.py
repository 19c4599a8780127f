"""Where a command and its drivers leave messages for each other: an actor of its own, since a driver is busy with its
searches and nobody can call the command."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from cord_distill.engines.ray.spec import Facts


@dataclass(frozen=True, slots=True)
class LiveReplica:
    """A replica that is up. restarts: how often it was started anew. actor: Ray's handle."""

    name: str
    restarts: int
    actor: Any = field(compare=False, repr=False)
    facts: Facts | None = field(compare=False)
    label: str = ""


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """What the command says of one model's engines. gone: why there will be none any more."""

    replicas: tuple[LiveReplica, ...] = ()
    gone: str = ""


@dataclass(frozen=True, slots=True)
class LostReplica:
    """A driver's message that a replica does not answer any more. engine: the identity of the model. restarts: those of
    the replica when it was lost."""

    engine: str
    name: str
    restarts: int
    reason: str


class Board:
    """The command posts a status per engine, of which the last one counts; the drivers' messages wait for the
    command."""

    def __init__(self) -> None:
        self._statuses: dict[str, EngineStatus] = {}
        self._posted = 0
        self._messages: list[Any] = []
        self._news = asyncio.Condition()

    async def post(self, statuses: dict[str, EngineStatus]) -> None:
        """By the identities of the engines."""
        async with self._news:
            self._statuses |= statuses
            self._posted += 1
            self._news.notify_all()

    async def statuses(self, seen: int) -> tuple[int, dict[str, EngineStatus]]:
        """How often something was posted, and all statuses, as soon as that is more often than `seen`."""
        async with self._news:
            await self._news.wait_for(lambda: self._posted > seen)
            return self._posted, dict(self._statuses)

    async def send(self, message: Any) -> None:
        async with self._news:
            self._messages.append(message)
            self._news.notify_all()

    async def messages(self) -> list[Any]:
        """Those that nobody has read, as soon as there is one."""
        async with self._news:
            await self._news.wait_for(lambda: bool(self._messages))
            found, self._messages = self._messages, []
            return found


def start_board() -> Any:
    """Ray's handle of a new board, on the node of the command where that has Ray's leave: it ends with the command."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    options = {"num_cpus": 0, "max_restarts": 0, "max_concurrency": 1024}
    return ray.remote(Board).options(scheduling_strategy=here, **options).remote()
