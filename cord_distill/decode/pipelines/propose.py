"""One proposal of a next step, as every step-wise search asks for it."""

from __future__ import annotations

from dataclasses import replace

from cord_distill.decode.ensemble import Ensemble
from cord_distill.decode.pipelines.hooks import REFUSED, passes_step_filter
from cord_distill.search.beam import Ask, Proposal
from cord_distill.types import Problem, Step, Stop


async def propose(problem: Problem, ensemble: Ensemble, ask: Ask) -> tuple[Proposal, int]:
    """Returns (the proposal, without a score; tokens sampled for it). A step that says nothing, or is refused, is
    unusable."""
    teacher = ensemble.teachers[ask.teacher]
    budgets = ensemble.decode.budgets
    left = budgets.reasoning_tokens - ask.beam.num_tokens
    written = await teacher.propose(
        problem.question,
        ask.beam.steps,
        ensemble.segmentation,
        max_tokens=min(budgets.max_step_tokens, left),
        seed=ensemble.seed_for(problem, ask.path, ask.step, ask.teacher, ask.sample),
    )
    step = Step(ask.step, teacher.name, written.text, written.ids, len(written.ids), None, written.stop)
    if not ensemble.segmentation.said(written.text) and written.stop is not Stop.THINK_END:
        # What the last tokens of the budget have no room for is no silence of the teacher's.
        cut = written.stop is Stop.LENGTH and left <= budgets.max_step_tokens
        return Proposal(step, Stop.LENGTH if cut else None, usable=False, error="empty step"), written.generated
    if not passes_step_filter(ensemble.decode, problem, (*ask.beam.steps, step)):
        return Proposal(step, usable=False, error=REFUSED), written.generated
    step = replace(step, num_tokens=ensemble.num_tokens(step))
    spent = ask.beam.num_tokens + step.num_tokens >= budgets.reasoning_tokens
    own = written.stop if written.stop in (Stop.THINK_END, Stop.EOS, Stop.REPETITION) else None
    ends = own or (Stop.LENGTH if spent else None)
    return Proposal(step, ends), written.generated
