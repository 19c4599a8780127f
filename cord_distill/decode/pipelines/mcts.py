"""Monte Carlo tree search, a baseline of the paper: full rollouts, rewarded by S of the finished trace (sect. 4.3).

Rollouts of one problem follow one another; engines are filled by the problems in flight.
"""

from __future__ import annotations

from dataclasses import replace

from cord_distill.decode.ensemble import Ensemble
from cord_distill.decode.pipelines.base import Outcome, with_final_answer
from cord_distill.decode.pipelines.propose import propose
from cord_distill.search.mcts import TreeSearch
from cord_distill.types import Problem, Stop


async def mcts(problem: Problem, ensemble: Ensemble) -> Outcome:
    """Decodes one problem from question to final answer. The trajectory is the finished rollout of the highest S."""
    decode = ensemble.decode
    search = TreeSearch(
        num_teachers=len(ensemble.teachers),
        rollouts=rollouts(ensemble),
        exploration=decode.mcts.exploration,
        proposals_per_teacher=decode.proposals_per_teacher,
        seed=ensemble.seed_for(problem, "mcts"),
    )
    generated = scored = 0
    while not search.done:
        (ask,) = search.expand()
        proposal, sampled = await propose(problem, ensemble, ask)
        generated += sampled
        at_the_end = decode.budgets.max_steps is not None and ask.step >= decode.budgets.max_steps
        if proposal.usable and (proposal.ends or at_the_end):
            reward, _, fed = await ensemble.score(problem, (*ask.beam.steps, proposal.step))
            scored += fed
            proposal = replace(proposal, step=replace(proposal.step, score=reward), ends=proposal.ends or Stop.LENGTH)
        search.absorb(ask, proposal)
    best = search.best
    return await with_final_answer(problem, ensemble, best, best.score, generated, scored, search.candidates())


def rollouts(ensemble: Ensemble) -> int:
    """Returns `decode.mcts.rollouts`, else as many traces as the beam proposes steps at every step: B x K."""
    decode = ensemble.decode
    return decode.mcts.rollouts or decode.beam_size * len(ensemble.teachers)
