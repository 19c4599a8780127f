"""Asking a model on a cluster: which replica a request goes to, and what its silence or its end means."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Protocol

from cord_distill.common.errors import CordError
from cord_distill.engines.base import EngineDead, EngineError, ForwardingEngine
from cord_distill.engines.homes import Homes
from cord_distill.engines.liveness import hangs, too_late
from cord_distill.engines.ray.actor import packed
from cord_distill.engines.ray.spec import Facts, Failure, short

# After a network fault Ray may say "unavailable" of an actor that is well.
LOOK_AGAIN = 1.0
# How long an actor may take to say whether its engine answers anybody; less where a request has less time.
ANSWERS_WITHIN = 30.0


class Replica(Protocol):
    """What ReplicatedEngine asks of a replica. actor: Ray's handle of its engine."""

    @property
    def label(self) -> str: ...

    @property
    def actor(self) -> Any: ...

    @property
    def facts(self) -> Facts | None: ...

    def lost(self, actor: Any, reason: str) -> None:
        """Reports that `actor` does not answer any more; later reports of the same actor change nothing."""


class ReplicatedEngine(ForwardingEngine):
    """A model on several replicas, of which each problem stays on one. When that is lost, its requests are asked again
    elsewhere: keyed seeds make the second answer the one that the first would have been.

    timeout: seconds for one request. liveness.py says whether one that is past it fails alone (EngineError) or its
    replica hangs, which is then lost. patient: one that is past it waits on while its replica answers others. first:
    the replica that an even choice falls on.

    Whoever derives from it adds the replicas that are up to `at_home`, each with the number that `homes` gave it.
    """

    keeps_time = True

    def __init__(self, timeout: float, *, first: int = 0, patient: bool = False) -> None:
        self.timeout = timeout
        self.patient = patient
        self.homes = Homes(first=first)
        self.at_home: list[Replica] = []
        self._gone = ""
        self._changed = asyncio.Event()

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
        known = [getattr(replica.facts, name) for replica in self.at_home]
        return min((value for value in known if value is not None), default=None)

    def refuse(self) -> None:
        """Raises CordError when no replica will be up any more."""
        if self._gone:
            raise CordError(self._gone)

    def gone(self, reason: str) -> None:
        """From now on every request raises EngineDead."""
        self._gone = reason
        self.say_changed()

    async def is_up(self) -> None:
        """Returns when one replica answers. Raises CordError as `refuse` does."""
        while not self.homes.any_up():
            self.refuse()
            await self.changed()

    def for_problem(self, problem_id: str) -> ProblemsView:
        return ProblemsView(self, problem_id)

    async def request(self, method: str, ids: list[int], what: Any, problem: str = "") -> Any:
        """Asks the replica of `problem`, and another one when that is lost; "" is a request of no problem."""
        with self.homes.staying(problem) as name:
            while True:
                try:
                    self.refuse()
                    await self.is_up()
                except CordError as error:
                    raise EngineDead(str(error)) from error
                replica = self.at_home[self.homes.of(name)]
                found = await self._asked(replica, replica.actor, method, packed(ids), what)
                if not isinstance(found, Failure):
                    return found
                if found.kind == "request":
                    raise EngineError(found.reason)

    async def changed(self) -> None:
        """Returns when a replica came or went, or after a moment."""
        changed = self._changed
        try:
            async with asyncio.timeout(LOOK_AGAIN):
                await changed.wait()
        except TimeoutError:
            pass

    def say_changed(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _asked(self, replica: Replica, actor: Any, method: str, ids: bytes, what: Any) -> Any:
        """The answer, or a Failure: `request` when it is to be given up, else it is to be asked again."""
        import ray
        from ray.exceptions import ActorUnavailableError, RayError, RayTaskError

        ref = actor.request.remote(method, ids, what)
        try:
            found = await self._in_time(ref, actor)
        except asyncio.CancelledError:
            ray.cancel(ref)
            raise
        except RayTaskError as error:
            found = Failure("request", f"{replica.label}: {short(error)}")
        except ActorUnavailableError:
            await asyncio.sleep(LOOK_AGAIN)
            return Failure("unavailable", "")
        except RayError as error:
            found = Failure("engine", short(error))
        if isinstance(found, Failure) and found.kind == "engine":
            replica.lost(actor, found.reason)
        return found

    async def _in_time(self, ref: Any, actor: Any) -> Any:
        import ray

        while True:
            try:
                async with asyncio.timeout(self.timeout):
                    return await ref
            except TimeoutError:
                hanging = await self._hangs(actor)
                if self.patient and not hanging:
                    continue
                ray.cancel(ref)
                return Failure("engine" if hanging else "request", too_late(self.timeout))

    async def _hangs(self, actor: Any) -> bool:
        """Whether the engine answered nobody lately. It is asked itself, since others may ask it too."""
        from ray.exceptions import RayError

        try:
            async with asyncio.timeout(min(self.timeout / 2, ANSWERS_WITHIN)):
                silent: float = await actor.silent.remote()
        except (TimeoutError, RayError):
            return True
        return hangs(time.monotonic() - silent, self.timeout)


class ProblemsView(ForwardingEngine):
    """One problem's view of a model: its requests stay on one replica."""

    keeps_time = True

    def __init__(self, engine: ReplicatedEngine, problem: str) -> None:
        self.engine = engine
        self.problem = problem

    async def request(self, method: str, ids: list[int], what: Any) -> Any:
        return await self.engine.request(method, ids, what, self.problem)

    async def close(self) -> None:
        """Does nothing: the engine belongs to the run, not to the problem."""
