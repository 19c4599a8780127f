"""Which problems decode at once: enough to fill the engines, and no more than the KV caches hold, by tokens in use.

A problem holds its longest context so far and the room of its next steps, in the caches where it is at home, one of
each model's. New problems come in while there is room for all; where those inside outgrow a cache, the oldest that fit
together go on and the younger wait before their next proposal. Waiting changes when something is asked, never what is
answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from cord_distill.common.quiet import has_gpu, slots
from cord_distill.decode.pipelines import Ensemble
from cord_distill.engines.homes import Homes
from cord_distill.recipe.decode import DecodeConfig
from cord_distill.recipe.models import ModelConfig
from cord_distill.recipe.recipe import Recipe

# The rest is for partly filled blocks and for prefixes that were dropped from the beam but not yet from the cache.
KV_SHARE = 0.8
# Live beams of one problem share all but their last steps: two steps for each beam, one behind them and one under way.
STEPS_APART = 2
# A replica may come, go or come back meanwhile: whoever waits looks again after so many seconds.
LOOK_AGAIN = 1.0


@dataclass(frozen=True, slots=True)
class EngineShare:
    """The share of the engines that one of several drivers may use: part `number`, from 0 on, of `of` equal parts."""

    number: int = 0
    of: int = 1

    def part(self, whole: int) -> int:
        """This driver's part of a whole number; the parts of all drivers add up to it."""
        return whole // self.of + (self.number < whole % self.of)


WHOLE_ENGINES = EngineShare()


@dataclass(frozen=True, slots=True)
class Caches:
    """The KV caches of one model. capacity: tokens of one of them that are to be used. homes: which of them holds a
    problem; None = there is but one."""

    capacity: int
    homes: Homes | None = None

    def holding(self, problem: str) -> int:
        return self.homes.of(problem) if self.homes else 0

    def next_one(self) -> int:
        return self.homes.next_home() if self.homes else 0


class Admission:
    """Lets problems in, and lets their requests go on, while the KV caches have room. caches: of every model that holds
    the problems' contexts; none = sizes are unknown, and nobody waits. growth: tokens that a problem may hold beyond
    its longest context.

    most: tokens held at once at the highest, in all replicas. waited: seconds, summed over problems.
    """

    def __init__(self, caches: Sequence[Caches], growth: int) -> None:
        self.caches = caches
        self.growth = growth
        self.most = 0
        self.waited = 0.0
        self._held: dict[str, int] = {}  # in the order of coming in
        self._total = 0
        self._left = asyncio.Event()

    @classmethod
    def of(cls, recipe: Recipe, ensemble: Ensemble, share: EngineShare = WHOLE_ENGINES) -> Admission:
        engines = {id(model.engine): model.engine for model in ensemble.searching}.values()
        sizes = [(getattr(engine, "kv_tokens", None), getattr(engine, "homes", None)) for engine in engines]
        caches = [Caches(share.part(int(KV_SHARE * tokens)), homes) for tokens, homes in sizes if tokens]
        return cls(caches, growth(recipe.decode))

    @asynccontextmanager
    async def inside(self, problem: str) -> AsyncIterator[None]:
        """Waits until there is room for all, or nobody is inside; gives the room back at the end, whatever ends it."""
        while not self._room_at_the_door():
            await self._someone_left()
        for caches in self.caches:
            caches.holding(problem)  # from now on at home there
        self._hold(problem, self.growth)
        try:
            yield
        finally:
            self._total -= self._held.pop(problem)
            self._left.set()
            self._left = asyncio.Event()

    async def room_for(self, problem: str, context: int) -> None:
        """Returns when `problem` may ask for a continuation of `context` tokens: it fits in beside all older ones."""
        if problem in self._held:
            self._hold(problem, max(self._held[problem], context + self.growth))
        while not self._fits(problem):
            await self._someone_left()

    def _hold(self, problem: str, tokens: int) -> None:
        self._total += tokens - self._held.get(problem, 0)
        self._held[problem] = tokens
        self.most = max(self.most, self._total)

    def _room_at_the_door(self) -> bool:
        """Whether a new problem may come in: its caches have room for all, or hold nobody."""
        for caches in self.caches:
            if self._total + self.growth > caches.capacity:
                held = sum(tokens for _, tokens in self._in(caches, caches.next_one()))
                if held and held + self.growth > caches.capacity:
                    return False
        return True

    def _fits(self, problem: str) -> bool:
        return all(self._total <= caches.capacity or self._fits_in(caches, problem) for caches in self.caches)

    def _fits_in(self, caches: Caches, problem: str) -> bool:
        everybody = list(self._in(caches, caches.holding(problem)))
        if sum(tokens for _, tokens in everybody) <= caches.capacity:
            return True
        before = 0
        for name, tokens in everybody:
            if name == problem:
                # The oldest always goes on, however long it is: so somebody ends, and the next may.
                return before == 0 or before + tokens <= caches.capacity
            before += tokens
        return True

    def _in(self, caches: Caches, replica: int) -> Iterator[tuple[str, int]]:
        """(problem, tokens) of those whom this replica's cache holds, the oldest first."""
        return (held for held in self._held.items() if caches.holding(held[0]) == replica)

    async def _someone_left(self) -> None:
        begun = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_AGAIN if any(caches.homes for caches in self.caches) else None):
                await self._left.wait()
        self.waited += time.monotonic() - begun

    def figures(self) -> dict[str, Any]:
        """Returns what generate_stats.json says of admission."""
        smallest = min((caches.capacity for caches in self.caches), default=None)
        return {"capacity_tokens": smallest, "most_tokens": self.most, "waited_seconds": round(self.waited, 1)}


def width(decode: DecodeConfig) -> int:
    """Returns how many traces of one problem are written side by side."""
    if decode.pipeline == "curation":
        return decode.curation.traces_per_teacher
    if decode.pipeline == "integration" and decode.integration:
        return decode.integration.traces_per_teacher
    if decode.pipeline in ("mcts", "single"):
        return 1
    return decode.adaptive_beam.max_beam if decode.adaptive_beam else decode.beam_size


def growth(decode: DecodeConfig) -> int:
    """Tokens that one problem may hold beyond its longest context; whole traces grow within one request."""
    budgets = decode.budgets
    whole = budgets.reasoning_tokens + budgets.answer_tokens
    apart = whole if decode.pipeline != "cord" else min(whole, STEPS_APART * budgets.max_step_tokens)
    return width(decode) * apart


def problems_in_flight(recipe: Recipe, ensemble: Ensemble) -> int:
    """How many problems decode at once at most: as many as fill every teacher's engines twice."""
    if recipe.decode.problems_in_flight:
        return recipe.decode.problems_in_flight
    teachers = zip(recipe.teachers, ensemble.teachers, strict=True)
    most = max(slots_of(section, model.engine) for section, model in teachers)
    return math.ceil(2 * most / width(recipe.decode))


def slots_of(section: ModelConfig, engine: Any = None) -> int:
    """Sequences that all replicas of a model decode at once: what the engine says, else the recipe, else a default."""
    own = getattr(engine, "slots", None)
    # A server is taken for a GPU's, whatever this machine has.
    one = own or slots(section.max_num_seqs, has_gpu() or section.engine == "server")
    return one * max(1, len(section.urls), section.replicas)
