"""Which problems decode at once: enough to fill the engines, and no more than the KV caches hold, by tokens in use.

A problem holds its longest context so far and the room of its next steps. New problems come in while there is room for
all; where those inside outgrow the cache, the oldest that fit together go on and the younger wait before their next
proposal. Waiting changes when something is asked, never what is answered.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from cord_distill.common.quiet import has_gpu, slots
from cord_distill.decode.pipelines import Ensemble
from cord_distill.recipe.decode import DecodeConfig
from cord_distill.recipe.recipe import Recipe

# The rest is for partly filled blocks and for prefixes that were dropped from the beam but not yet from the cache.
KV_SHARE = 0.8
# Live beams of one problem share all but their last steps: two steps for each beam, one behind them and one under way.
STEPS_APART = 2


class Admission:
    """capacity: tokens of the smallest KV cache that are to be used; None = unknown, and nobody waits. growth: tokens
    that a problem may hold beyond its longest context.

    most: tokens held at once at the highest. waited: seconds, summed over problems.
    """

    def __init__(self, capacity: int | None, growth: int) -> None:
        self.capacity = capacity
        self.growth = growth
        self.most = 0
        self.waited = 0.0
        self._held: dict[str, int] = {}  # in the order of coming in
        self._total = 0
        self._left = asyncio.Event()

    @classmethod
    def of(cls, recipe: Recipe, ensemble: Ensemble) -> Admission:
        """Every engine holds every problem's context, so the smallest cache decides."""
        models = [*ensemble.teachers, *([ensemble.meta_prover] if ensemble.meta_prover else [])]
        room = [tokens for model in models if (tokens := getattr(model.engine, "kv_tokens", None))]
        return cls(int(KV_SHARE * min(room)) if room else None, growth(recipe.decode))

    @asynccontextmanager
    async def inside(self, problem: str) -> AsyncIterator[None]:
        """Comes in as soon as there is room for all, or nobody is inside; leaves at the end, whatever ends it."""
        while self._held and self.capacity is not None and self._total + self.growth > self.capacity:
            await self._someone_left()
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

    def _fits(self, problem: str) -> bool:
        if self.capacity is None or self._total <= self.capacity:
            return True
        before = 0
        for name, tokens in self._held.items():
            if name == problem:
                # The oldest always goes on, however long it is: so somebody ends, and the next may.
                return before == 0 or before + tokens <= self.capacity
            before += tokens
        return True

    async def _someone_left(self) -> None:
        begun = time.monotonic()
        await self._left.wait()
        self.waited += time.monotonic() - begun

    def figures(self) -> dict[str, Any]:
        """For generate_stats.json."""
        return {"capacity_tokens": self.capacity, "most_tokens": self.most, "waited_seconds": round(self.waited, 1)}


def width(decode: DecodeConfig) -> int:
    """How many traces of one problem stand side by side."""
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


def problems_in_flight(recipe: Recipe) -> int:
    """At most so many problems at once: enough to fill every teacher's engine twice."""
    if recipe.decode.problems_in_flight:
        return recipe.decode.problems_in_flight
    most = max(slots(model.max_num_seqs, has_gpu()) * max(1, len(model.urls)) for model in recipe.teachers)
    return math.ceil(2 * most / width(recipe.decode))
