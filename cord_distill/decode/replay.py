"""The journal as an engine: it answers from what was written before, else asks the real engine and writes its answer.

Resuming is the same search run again on this engine; there is no other resume code.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from array import array
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeVar

from cord_distill.engines.answers import check_generation, check_numbers, check_reply
from cord_distill.engines.base import EngineError, Generation, Sampling
from cord_distill.engines.chat import Reply
from cord_distill.engines.liveness import too_late
from cord_distill.run_folder.journal import Journal
from cord_distill.types import Stop

Answer = TypeVar("Answer")


@dataclass
class Meter:
    """What one model did in this process: for generate_stats.json, never for a row.

    replayed: answers that the journal had. discarded: requests that were given up before their answer came (a problem
    that failed, a search that was over). request_seconds: summed over requests, which overlap.
    """

    requests: int = 0
    replayed: int = 0
    discarded: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    scores: int = 0
    scored_tokens: int = 0
    request_seconds: float = 0.0


class AdmissionGate(Protocol):
    """The part of `Admission` (admission.py) that a replay asks when its problem may go on."""

    async def room_for(self, problem: str, context: int) -> None: ...


class ReplayEngine:
    """One problem's view of an engine. identity: what makes the engine's answers what they are (model, weights).

    timeout: seconds for one request; past it the request is cancelled and EngineError raised. admission: says when a
    continuation may be asked for; the wait is not part of the request's seconds. vocabulary: the number of token ids.

    Every answer is checked (answers.py) before it is written: a bad one raises EngineError and is not kept.
    """

    def __init__(
        self, engine: Any, journal: Journal, problem_id: str, identity: str, meter: Meter, timeout: float | None,
        admission: AdmissionGate | None = None, vocabulary: int | None = None,
    ) -> None:  # fmt: skip
        self.engine = engine
        self.journal = journal
        self.problem_id = problem_id
        self.identity = identity
        self.meter = meter
        self.timeout = timeout
        self.admission = admission
        self.vocabulary = vocabulary
        self._under_way: dict[str, asyncio.Future[Any]] = {}

    async def generate(self, ids: list[int], sampling: Sampling) -> Generation:
        async def ask() -> dict[str, Any]:
            if self.admission is not None:
                await self.admission.room_for(self.problem_id, len(ids))
            out = await self._timed(self.engine.generate(ids, sampling))
            self.meter.prompt_tokens += len(ids)
            self.meter.cached_tokens += out.cached
            self.meter.generated_tokens += len(out.ids)
            return {"ids": list(out.ids), "text": out.text, "stop": out.stop, "matched": out.matched}

        def read(made: dict[str, Any]) -> Generation:
            check_generation(made, sampling, self.vocabulary)
            return Generation(tuple(made["ids"]), made["text"], Stop(made["stop"]), made["matched"])

        return await self._once(request_key(self.identity, "generate", ids, sampling), ask, read)

    async def logprobs(self, ids: list[int], target_ids: list[int]) -> list[float]:
        async def ask() -> list[float]:
            out = await self._timed(self.engine.logprobs(ids, target_ids))
            self.meter.scores += 1
            self.meter.scored_tokens += len(ids) + len(target_ids)
            return out

        def read(made: list[float]) -> list[float]:
            return check_numbers(made, len(target_ids), "log-probs", highest=0.0)

        return await self._once(request_key(self.identity, "logprobs", ids, target_ids), ask, read)

    async def ranked(self, ids: list[int], target_ids: list[int]) -> list[tuple[float, int]]:
        async def ask() -> list[list[float]]:
            out = await self._timed(self.engine.ranked(ids, target_ids))
            self.meter.scores += 1
            self.meter.scored_tokens += len(ids) + len(target_ids)
            return [list(pair) for pair in out]

        def read(made: list[list[float]]) -> list[tuple[float, int]]:
            logprobs = check_numbers([logprob for logprob, _ in made], len(target_ids), "log-probs", highest=0.0)
            ranks = check_numbers([rank for _, rank in made], len(target_ids), "ranks")
            return [(logprob, int(rank)) for logprob, rank in zip(logprobs, ranks, strict=True)]

        return await self._once(request_key(self.identity, "ranked", ids, target_ids), ask, read)

    async def reward(self, ids: list[int], at: list[int]) -> list[float]:
        async def ask() -> list[float]:
            out = await self._timed(self.engine.reward(ids, at))
            self.meter.scores += 1
            self.meter.scored_tokens += len(ids)
            return out

        def read(made: list[float]) -> list[float]:
            return check_numbers(made, len(at), "rewards")

        return await self._once(request_key(self.identity, "reward", ids, at), ask, read)

    async def reply(self, prompt: str, sampling: Sampling) -> Reply:
        async def ask() -> dict[str, Any]:
            out = await self._timed(self.engine.reply(prompt, sampling))
            self.meter.prompt_tokens += out.prompt_tokens
            self.meter.generated_tokens += out.num_tokens
            return asdict(out)

        def read(made: dict[str, Any]) -> Reply:
            check_reply(made)
            return Reply(**{**made, "stop": Stop(made["stop"])})

        return await self._once(request_key(self.identity, "reply", [], (prompt, sampling)), ask, read)

    async def _once(self, key: str, ask: Callable[[], Awaitable[Any]], read: Callable[[Any], Answer]) -> Answer:
        """Returns the journal's answer, or that of a request under way, or a new one, written before it is given back.

        read: makes of a value what the caller gets. Raises EngineError on a bad one, which is then not written.
        """
        known = self.journal.calls(self.problem_id).get(key)
        if known is not None:
            self.meter.replayed += 1
            return read(known)
        while key in self._under_way:
            self.meter.replayed += 1
            try:
                return read(await asyncio.shield(self._under_way[key]))
            except asyncio.CancelledError:
                # The one who asked was cancelled, not we: its question is asked again.
                if (task := asyncio.current_task()) is None or task.cancelling():
                    raise
        # No task of its own: at tens of thousands of requests a task more for each is felt.
        waiting = self._under_way[key] = asyncio.get_running_loop().create_future()
        try:
            value = await ask()
            answer = read(value)
            self.journal.record_call(self.problem_id, key, value)
            waiting.set_result(value)
            return answer
        except asyncio.CancelledError:
            waiting.cancel()
            raise
        except Exception as error:
            waiting.set_exception(error)
            waiting.exception()  # seen: nobody else may be waiting
            raise
        finally:
            del self._under_way[key]

    async def close(self) -> None:
        """Closes nothing: the engine behind belongs to the run, not to the problem."""

    async def _timed(self, call: Awaitable[Any]) -> Any:
        self.meter.requests += 1
        begun = time.monotonic()
        try:
            async with asyncio.timeout(self.timeout):
                return await call
        except asyncio.CancelledError:
            self.meter.discarded += 1
            raise
        except TimeoutError:
            self.meter.discarded += 1
            raise EngineError(too_late(self.timeout or 0.0)) from None
        finally:
            self.meter.request_seconds += time.monotonic() - begun


def request_key(identity: str, kind: str, ids: list[int], rest: Any) -> str:
    """Returns the key of a request in the journal. rest: what decides the answer besides the ids, with a `repr` that
    says it all."""
    digest = hashlib.sha256(f"{identity}\0{kind}\0{len(ids)}\0".encode())
    # Raw numbers: as text, a prompt of 16k tokens costs a millisecond and more for each request.
    digest.update(array("q", ids).tobytes())
    digest.update(repr(rest).encode())
    return digest.hexdigest()[:32]
