"""A model on a cluster behind the Engine seam: each replica is an actor with our own engine inside."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.engines.base import EngineDead, EngineError, Generation, Sampling
from cord_distill.engines.homes import Homes
from cord_distill.engines.liveness import hangs, too_late
from cord_distill.engines.ray.actor import EngineActor, packed
from cord_distill.engines.ray.replica import LOOK_AGAIN, Replica, short
from cord_distill.engines.ray.spec import EngineSpec, Failure

# Requests that one actor has under way; Ray holds back what is more.
CONCURRENT = 8192


class RayEngine:
    """Requests of a problem stay on one replica. When that is lost they are asked again elsewhere: keyed seeds make the
    second answer the one that the first would have been.

    timeout: seconds for one request. liveness.py says whether one that is past it fails alone (EngineError) or its
    replica hangs, which is then started anew. wait: seconds that the cluster may have no room for a single replica.
    """

    keeps_time = True

    def __init__(self, spec: EngineSpec, *, timeout: float, wait: float) -> None:
        self.spec = spec
        self.timeout = timeout
        self.wait = wait
        self.homes = Homes()
        self.replicas: list[Replica] = []
        self._at_home: list[Replica] = []
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._numbers = itertools.count()
        self._changed = asyncio.Event()
        self._homeless_since: float | None = None
        self._gone = ""

    def add(self) -> None:
        """Asks Ray for one more replica."""
        replica = Replica(f"{self.spec.label} replica {next(self._numbers)}", self._make, self._look)
        self.replicas.append(replica)
        self._keepers[replica.name] = asyncio.create_task(replica.keep())

    @property
    def max_model_len(self) -> int | None:
        return self._least("max_model_len")

    @property
    def kv_tokens(self) -> int | None:
        return self._least("kv_tokens")

    @property
    def slots(self) -> int | None:
        return self._least("slots")

    def _least(self, name: str) -> int | None:
        """Of all that have been up: every one of them may hold a problem."""
        known = [getattr(replica.facts, name) for replica in self._at_home]
        return min((value for value in known if value is not None), default=None)

    @property
    def has_a_place(self) -> bool:
        return any(replica.placed for replica in self.replicas)

    async def is_placed(self) -> None:
        """Returns when one replica has its place. Raises CordError: there is none, or the engine cannot be started."""
        while not self.has_a_place:
            self._refuse()
            await self._someone_up_or_changed()

    async def is_up(self) -> None:
        """Returns when one replica answers. Raises CordError as `is_placed` does."""
        while not self.homes.any_up():
            self._refuse()
            await self._someone_up_or_changed()

    def for_problem(self, problem_id: str) -> ProblemsView:
        return ProblemsView(self, problem_id)

    def leave(self, problem_id: str) -> None:
        self.homes.leave(problem_id)

    async def generate(self, ids: list[int], sampling: Sampling, problem: str = "") -> Generation:
        made: Generation = await self._ask(problem, "generate", packed(ids), sampling)
        return made

    async def logprobs(self, ids: list[int], target_ids: list[int], problem: str = "") -> list[float]:
        return list(await self._ask(problem, "logprobs", packed(ids), target_ids))

    async def ranked(self, ids: list[int], target_ids: list[int], problem: str = "") -> list[tuple[float, int]]:
        return list(await self._ask(problem, "ranked", packed(ids), target_ids))

    async def reward(self, ids: list[int], at: list[int], problem: str = "") -> list[float]:
        return list(await self._ask(problem, "reward", packed(ids), at))

    async def shrink(self) -> None:
        """Back to one replica, one that is up where there is one: others need the room for their first."""
        kept = next((replica for replica in self.replicas if replica.up), self.replicas[0])
        await self._end([replica for replica in self.replicas if replica is not kept])

    def gone(self, reason: str) -> None:
        """From now on every request raises EngineDead."""
        self._gone = reason
        self._changed.set()

    def figures(self) -> dict[str, int]:
        """For generate_stats.json. replicas: those that have been up."""
        restarts = sum(replica.restarts for replica in self.replicas)
        return {"wanted": self.spec.replicas, "replicas": len(self._at_home), "restarts": restarts}

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

    async def _ask(self, problem: str, method: str, *args: Any) -> Any:
        with self.homes.staying(problem) as name:
            while True:
                if self._gone:
                    raise EngineDead(self._gone)
                await self._someone_up()
                replica = self._at_home[self.homes.of(name)]
                found = await self._asked(replica, replica.actor, method, args)
                if not isinstance(found, Failure):
                    return found
                if found.kind == "request":
                    raise EngineError(found.said)

    async def _asked(self, replica: Replica, actor: Any, method: str, args: tuple[Any, ...]) -> Any:
        """The answer, or a Failure: `request` when it is to be given up, else it is to be asked again."""
        import ray
        from ray.exceptions import ActorUnavailableError, RayError, RayTaskError

        ref = getattr(actor, method).remote(*args)
        try:
            async with asyncio.timeout(self.timeout):
                found = await ref
        except asyncio.CancelledError:
            ray.cancel(ref)
            raise
        except TimeoutError:
            ray.cancel(ref)
            kind = "engine" if hangs(replica.answered, self.timeout) else "request"
            found = Failure(kind, too_late(self.timeout))
        except RayTaskError as error:
            found = Failure("request", f"{self.spec.label}: {short(error)}")
        except ActorUnavailableError:
            await asyncio.sleep(LOOK_AGAIN)
            return Failure("unavailable", "")
        except RayError as error:
            found = Failure("engine", short(error))
        else:
            replica.answered = time.monotonic()
        if isinstance(found, Failure) and found.kind == "engine":
            replica.lost(actor, found.said)
        return found

    async def _someone_up(self) -> None:
        """Returns when a replica is up. Raises EngineDead: all are given up, or there was no room for too long."""
        while not self.homes.any_up():
            try:
                self._refuse()
            except CordError as error:
                raise EngineDead(str(error)) from error
            await self._someone_up_or_changed()

    async def _someone_up_or_changed(self) -> None:
        changed = self._changed
        try:
            async with asyncio.timeout(LOOK_AGAIN):
                await changed.wait()
        except TimeoutError:
            pass

    def _refuse(self) -> None:
        """Raises CordError when no replica will be up: all are given up, or none has had a place for `wait` seconds."""
        if self._gone:
            raise CordError(self._gone)
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
                self._at_home.append(replica)
            self.homes.up(replica.home)
            if replica.restarts:
                say(f"{replica.name}: back")
        elif replica.home is not None and not replica.placed:
            self.homes.down(replica.home, forget=True)
            what = "given up" if replica.given_up else "asked again elsewhere, or when it is back"
            say(f"{replica.name}: {replica.given_up or replica.reason}; {what}")
        elif replica.given_up:  # it never was up, as where its node lacks something: the others go on
            say(f"{replica.name}: {replica.given_up}; given up")
        self._changed.set()
        self._changed = asyncio.Event()


class ProblemsView:
    """One problem's view of a model: its requests stay on one replica."""

    keeps_time = True

    def __init__(self, engine: RayEngine, problem: str) -> None:
        self.engine = engine
        self.problem = problem

    async def generate(self, ids: list[int], sampling: Sampling) -> Generation:
        return await self.engine.generate(ids, sampling, self.problem)

    async def logprobs(self, ids: list[int], target_ids: list[int]) -> list[float]:
        return await self.engine.logprobs(ids, target_ids, self.problem)

    async def ranked(self, ids: list[int], target_ids: list[int]) -> list[tuple[float, int]]:
        return await self.engine.ranked(ids, target_ids, self.problem)

    async def reward(self, ids: list[int], at: list[int]) -> list[float]:
        return await self.engine.reward(ids, at, self.problem)

    async def close(self) -> None:
        """The engine belongs to the run, not to the problem."""


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
