"""CoRD: teachers propose the next step of every live beam, the selector rates each, the best B go on (sect. 3)."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from functools import partial

from cord_distill.common.task_group import tasks_cancelled_on_exit
from cord_distill.decode.ensemble import Ensemble
from cord_distill.decode.pipelines.base import Outcome, with_final_answer
from cord_distill.decode.pipelines.hooks import state_key
from cord_distill.decode.pipelines.propose import propose
from cord_distill.recipe.decode import DecodeConfig
from cord_distill.search.adaptive import AdaptiveBeam
from cord_distill.search.beam import Ask, BeamSearch, Proposal
from cord_distill.search.particles import draw
from cord_distill.types import Problem


async def cord(problem: Problem, ensemble: Ensemble) -> Outcome:
    """Decodes one problem from question to final answer. Each candidate is rated as soon as it is there."""
    decode = ensemble.decode
    search = BeamSearch(
        beam_size=decode.beam_size,
        num_teachers=len(ensemble.teachers),
        proposals_per_teacher=decode.proposals_per_teacher,
        first_step_proposals=first_step_proposals(decode, len(ensemble.teachers)),
        max_steps=decode.budgets.max_steps,
        width=AdaptiveBeam(decode.beam_size, **dict(decode.adaptive_beam)) if decode.adaptive_beam else None,
        state_key=state_key(decode, problem),
        choose=partial(draw, seed=ensemble.seed_for(problem, "survivors")) if decode.survivors == "sampled" else None,
    )
    generated = scored = 0
    arrived: asyncio.Queue[asyncio.Task[tuple[Ask, Proposal, int, int]]] = asyncio.Queue()
    async with tasks_cancelled_on_exit() as tasks:
        while not search.done:
            ensemble.live[problem.id] = search.num_live
            for ask in search.expand():
                task = asyncio.create_task(_propose(problem, ensemble, ask))
                task.add_done_callback(arrived.put_nowait)
                tasks.add(task)
            task = await arrived.get()
            tasks.discard(task)
            ask, proposal, sampled, fed = task.result()
            generated += sampled
            scored += fed
            search.absorb(ask, proposal)
    best = search.best
    final, fed = await ensemble.final_score(problem, best.steps)
    scored += fed
    return await with_final_answer(problem, ensemble, best, final, generated, scored, search.candidates())


def first_step_proposals(decode: DecodeConfig, teachers: int) -> int:
    """Returns the proposals per teacher at step 1: enough to fill B slots from the one empty prefix if
    `fill_first_step`."""
    fill = math.ceil(decode.beam_size / teachers) if decode.fill_first_step else 1
    return max(decode.proposals_per_teacher, fill)


async def _propose(problem: Problem, ensemble: Ensemble, ask: Ask) -> tuple[Ask, Proposal, int, int]:
    proposal, generated = await propose(problem, ensemble, ask)
    if not proposal.usable:
        return ask, proposal, generated, 0
    steps = (*ask.beam.steps, proposal.step)
    rating = await ensemble.rate(problem, steps, ask.path, ask.step, ask.teacher, ask.sample)
    step = replace(proposal.step, score=rating.value)
    return ask, replace(proposal, step=step), generated + rating.generated, rating.fed
