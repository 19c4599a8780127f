"""One model alone on a cluster, for an evaluation: its requests belong to no problem, so any replica may take them."""

from __future__ import annotations

import asyncio
from typing import Any

from cord_distill.common.quiet import slots
from cord_distill.common.task_group import tasks_cancelled_on_exit
from cord_distill.engines.base import ForwardingEngine
from cord_distill.engines.ray.cluster import Cluster
from cord_distill.engines.ray.engine import RayEngine
from cord_distill.engines.ray.spec import EngineSpec
from cord_distill.recipe.cluster import ClusterConfig

# Requests under way for each sequence that an engine decodes at once: the next one waits at the engine.
FILL = 2


class AloneOnCluster(ForwardingEngine):
    """Each request goes to the replica with the fewest. Only so many are given out as fill the replicas that are up:
    one that comes later finds work too."""

    def __init__(self, cluster: Cluster, engine: RayEngine) -> None:
        self.cluster = cluster
        self.engine = engine
        self._given = 0
        self._room = asyncio.Semaphore(0)
        self._widening = asyncio.create_task(self._widen())

    @classmethod
    async def start(cls, config: ClusterConfig, spec: EngineSpec, *, timeout: float, wait: float) -> AloneOnCluster:
        """Returns when one replica answers. timeout: seconds after which an engine that answers nobody is taken to
        hang. wait: seconds that there may be no room for a single one. Raises CordError: none can be had."""
        cluster = Cluster(config, timeout=timeout, wait=wait, patient=True)
        try:
            async with tasks_cancelled_on_exit() as tasks:
                starting = asyncio.create_task(cluster.engine(spec.key, spec))
                tasks.add(starting)
                await asyncio.sleep(0)  # now the engine is asked for
                await cluster.fill()
                return cls(cluster, await starting)
        except BaseException:
            await cluster.close()
            raise

    async def request(self, method: str, ids: list[int], what: Any) -> Any:
        async with self._room:
            return await self.engine.request(method, ids, what)

    async def close(self) -> None:
        self._widening.cancel()
        await self.cluster.close()

    async def _widen(self) -> None:
        section = self.engine.spec.section
        while True:
            up = sum(replica.up for replica in self.engine.replicas)
            room = up * FILL * (self.engine.slots or slots(section.max_num_seqs, self.engine.spec.gpus > 0))
            for _ in range(room - self._given):
                self._room.release()
            self._given = max(self._given, room)
            await self.engine.changed()
