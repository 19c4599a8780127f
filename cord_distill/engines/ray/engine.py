"""A model on a cluster behind the Engine seam: each replica is an actor with our own engine inside."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.engines.ray.actor import EngineActor
from cord_distill.engines.ray.asking import ReplicatedEngine
from cord_distill.engines.ray.board import EngineStatus, LiveReplica
from cord_distill.engines.ray.replica import Replica
from cord_distill.engines.ray.spec import EngineSpec

# Requests that one actor has under way; Ray holds back what is more.
CONCURRENT = 8192


class RayEngine(ReplicatedEngine):
    """The engines that the command itself started, and starts anew. wait: seconds that the cluster may have no room for
    a single replica."""

    def __init__(self, spec: EngineSpec, *, timeout: float, wait: float, patient: bool = False) -> None:
        super().__init__(timeout, patient=patient)
        self.spec = spec
        self.wait = wait
        self.replicas: list[Replica] = []
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._numbers = itertools.count()
        self._homeless_since: float | None = None

    def add(self) -> None:
        """Asks Ray for one more replica."""
        replica = Replica(self.spec.label, next(self._numbers), self._make, self._look)
        self.replicas.append(replica)
        self._keepers[replica.name] = asyncio.create_task(replica.keep())

    @property
    def has_a_place(self) -> bool:
        return any(replica.placed for replica in self.replicas)

    async def is_placed(self) -> None:
        """Returns when one replica has its place. Raises CordError: there is none, or the engine cannot be started."""
        while not self.has_a_place:
            self.refuse()
            await self.changed()

    async def shrink(self) -> None:
        """Back to one replica, one that is up where there is one: others need the room for their first."""
        kept = next((replica for replica in self.replicas if replica.up), self.replicas[0])
        await self._end([replica for replica in self.replicas if replica is not kept])

    def status(self) -> EngineStatus:
        """For drivers: the replicas that are up, and why there will be none."""
        try:
            self.refuse()
        except CordError as error:
            return EngineStatus((), str(error))
        up = [replica for replica in self.replicas if replica.up and replica.facts]
        return EngineStatus(tuple(LiveReplica(one.name, one.restarts, one.actor, one.facts, one.label) for one in up))

    def lost(self, name: str, restarts: int, reason: str) -> None:
        """A driver says that this replica, as it was after so many restarts, does not answer any more."""
        for replica in self.replicas:
            if (replica.name, replica.restarts) == (name, restarts):
                replica.lost(replica.actor, reason)

    def figures(self) -> dict[str, int]:
        """For generate_stats.json. replicas: those that have been up."""
        restarts = sum(replica.restarts for replica in self.replicas)
        return {"wanted": self.spec.replicas, "replicas": len(self.at_home), "restarts": restarts}

    async def close(self) -> None:
        await self._end(list(self.replicas))

    async def _end(self, replicas: list[Replica]) -> None:
        if self._gone:
            return  # whoever could end them is gone too
        keepers = [self._keepers.pop(replica.name) for replica in replicas]
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        for replica in replicas:
            self.replicas.remove(replica)
            replica.close()
            if replica.home is not None:
                self.homes.down(replica.home, forget=True)

    def _make(self) -> Any:
        import ray

        # Actors on CPUs are spread for their memory; those on GPUs packed, so that room for larger ones is left.
        strategy = "DEFAULT" if self.spec.gpus else "SPREAD"
        options = {"num_gpus": self.spec.gpus, "num_cpus": 1, "max_restarts": 0, "max_concurrency": CONCURRENT}
        return ray.remote(EngineActor).options(scheduling_strategy=strategy, **options).remote(self.spec)

    def refuse(self) -> None:
        """Raises CordError when no replica will be up: all are given up, or none has had a place for `wait` seconds."""
        super().refuse()
        if all(replica.given_up for replica in self.replicas):
            raise CordError(f"{self.spec.key}: {self.spec.label}: {self.replicas[-1].given_up}")
        now = time.monotonic()
        if self.has_a_place:
            self._homeless_since = None
        elif self._homeless_since is None:
            self._homeless_since = now
        elif now - self._homeless_since > self.wait:
            gpus = f"{self.spec.gpus} GPUs of one node" if self.spec.gpus else "1 CPU"
            raise CordError(
                f"{self.spec.key}: the cluster had no room for {self.spec.label} ({gpus}) for {self.wait:g} s "
                "(decode.server_wait): add nodes, or lower replicas; `cord check` says what fits"
            )

    def _look(self, replica: Replica) -> None:
        """Called when a replica changed: keeps the homes as they are, and says what is worth a line."""
        if replica.up:
            if replica.home is None:
                replica.home = self.homes.add()
                self.at_home.append(replica)
            self.homes.up(replica.home)
            if replica.restarts:
                say(f"{replica.name}: back")
        elif replica.home is not None and not replica.placed:
            self.homes.down(replica.home, forget=True)
            what = "given up" if replica.given_up else "asked again elsewhere, or when it is back"
            say(f"{replica.name}: {replica.given_up or replica.reason}; {what}")
        elif replica.given_up:  # it never was up, as where its node lacks something: the others go on
            say(f"{replica.name}: {replica.given_up}; given up")
        self.say_changed()


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
