"""What every pipeline is given and what it gives back. A pipeline asks models; it knows no engine, writes no file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from cord_distill.model import Model, Written
from cord_distill.recipe import Decode
from cord_distill.search.seeds import keyed_seed
from cord_distill.search.segment import StepMarker
from cord_distill.types import THINK_CLOSE, Beam, Candidate, Problem, Step, Stop


@dataclass(frozen=True)
class Ensemble:
    """The models of one run and the settings they decode under. meta_prover None: nothing is scored."""

    teachers: tuple[Model, ...]
    meta_prover: Model | None
    decode: Decode
    seed: int

    @property
    def marker(self) -> StepMarker:
        return StepMarker(self.decode.step_marker)

    def seed_for(self, problem: Problem, *parts: Any) -> int:
        return keyed_seed(self.seed, problem.id, *parts)

    def teacher(self, name: str) -> Model:
        return next(model for model in self.teachers if model.name == name)

    async def score(self, problem: Problem, steps: tuple[Step, ...]) -> tuple[float | None, int, int]:
        """(S or None without a meta-prover, tokens of the last step in the budget's unit, tokens fed)."""
        if self.meta_prover is None:
            return None, len(steps[-1].ids), 0
        scored = await self.meta_prover.score(problem.question, steps, self.decode.answer_suffix, problem.answer)
        return scored.score, scored.num_tokens, scored.fed


@dataclass(frozen=True, slots=True)
class Outcome:
    """One problem, decoded. generated, scored: tokens over all proposals, and tokens fed to the meta-prover."""

    steps: tuple[Step, ...]
    final_answer_text: str
    stop: Stop
    score: float | None
    answer_tokens: int
    generated: int
    scored: int
    candidates: tuple[tuple[Candidate, ...], ...]


Pipeline = Callable[[Problem, Ensemble], Awaitable[Outcome]]


def closed(beam: Beam, model: Model) -> tuple[Step, ...]:
    """The beam's steps with the thought closed: where the teacher did not write `</think>`, it is appended."""
    last = beam.steps[-1]
    if last.text.endswith(THINK_CLOSE):
        return beam.steps
    ids = (*last.ids, *model.encode(THINK_CLOSE))
    return (*beam.steps[:-1], replace(last, text=last.text + THINK_CLOSE, ids=ids))


async def write_answer(problem: Problem, ensemble: Ensemble, beam: Beam) -> tuple[tuple[Step, ...], Written]:
    """Closes the thought and lets the teacher of the last step write the final answer."""
    model = ensemble.teacher(beam.steps[-1].teacher)
    steps = closed(beam, model)
    written = await model.answer(
        problem.question,
        steps,
        max_tokens=ensemble.decode.budgets.answer_tokens,
        seed=ensemble.seed_for(problem, "answer"),
    )
    return steps, written


@asynccontextmanager
async def tasks_cancelled_on_exit() -> AsyncIterator[set[asyncio.Task[Any]]]:
    """A set for the tasks of one problem: whatever ends the problem early, none of them runs on."""
    tasks: set[asyncio.Task[Any]] = set()
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)


async def gather_or_cancel(coroutines: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Results in order; the first failure cancels the others and is raised."""
    async with tasks_cancelled_on_exit() as tasks:
        ordered = [asyncio.create_task(c) for c in coroutines]
        tasks.update(ordered)
        return list(await asyncio.gather(*ordered))
