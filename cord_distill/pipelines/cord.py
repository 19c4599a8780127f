"""CoRD: teachers propose the next step of every live beam, the meta-prover scores each, the best B go on (sect. 3)."""

from __future__ import annotations

import asyncio
import math

from cord_distill.pipelines.base import Ensemble, Outcome, tasks_cancelled_on_exit, write_answer
from cord_distill.search.beam import Ask, BeamSearch, Proposal
from cord_distill.types import Problem, Step, Stop


async def cord(problem: Problem, ensemble: Ensemble) -> Outcome:
    """One problem from question to final answer. Each candidate is scored as soon as it is there."""
    decode = ensemble.decode
    search = BeamSearch(
        beam_size=decode.beam_size,
        num_teachers=len(ensemble.teachers),
        proposals_per_teacher=decode.proposals_per_teacher,
        first_step_proposals=first_step_proposals(ensemble),
        max_steps=decode.budgets.max_steps,
        early_start=decode.early_start,
    )
    generated = scored = 0
    async with tasks_cancelled_on_exit() as tasks:
        while not search.done:
            tasks.update(asyncio.create_task(_propose(problem, ensemble, ask)) for ask in search.expand())
            arrived, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in arrived:
                tasks.discard(task)
                ask, proposal, sampled, fed = task.result()
                generated += sampled
                scored += fed
                search.absorb(ask, proposal)
    best = search.best
    if best.stop is Stop.ABORT or not best.steps:
        return Outcome(best.steps, "", Stop.ABORT, best.score, 0, generated, scored, search.candidates())
    steps, answer = await write_answer(problem, ensemble, best)
    return Outcome(
        steps=steps,
        final_answer_text=answer.text,
        stop=best.stop or Stop.LENGTH,
        score=best.score,
        answer_tokens=len(answer.ids),
        generated=generated + answer.generated,
        scored=scored,
        candidates=search.candidates(),
    )


def first_step_proposals(ensemble: Ensemble) -> int:
    """Proposals per teacher at step 1: enough to fill B slots from the one empty prefix if `fill_first_step`."""
    decode = ensemble.decode
    fill = math.ceil(decode.beam_size / len(ensemble.teachers)) if decode.fill_first_step else 1
    return max(decode.proposals_per_teacher, fill)


async def _propose(problem: Problem, ensemble: Ensemble, ask: Ask) -> tuple[Ask, Proposal, int, int]:
    teacher = ensemble.teachers[ask.teacher]
    budgets = ensemble.decode.budgets
    steps = ask.beam.steps
    written = await teacher.propose(
        problem.question,
        steps,
        ensemble.marker,
        max_tokens=min(budgets.max_step_tokens, budgets.reasoning_tokens - ask.beam.num_tokens),
        seed=ensemble.seed_for(problem, ask.path, ask.step, ask.teacher, ask.sample),
    )
    step = Step(ask.step, teacher.name, written.text, written.ids, len(written.ids), None, written.stop)
    said = ensemble.marker.said(written.text)
    if not said and written.stop is not Stop.THINK_END:
        return ask, Proposal(step, usable=False, error="empty step"), written.generated, 0
    score, num_tokens, fed = await ensemble.score(problem, (*steps, step))
    step = Step(ask.step, teacher.name, written.text, written.ids, num_tokens, score, written.stop)
    spent = ask.beam.num_tokens + num_tokens >= budgets.reasoning_tokens
    ends = written.stop if written.stop in (Stop.THINK_END, Stop.EOS) else Stop.LENGTH if spent else None
    return ask, Proposal(step, ends), written.generated, fed
