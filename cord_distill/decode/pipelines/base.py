"""What every pipeline is given and what it gives back. A pipeline asks models; it knows no engine, writes no file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from cord_distill.decode.ensemble import Ensemble
from cord_distill.decode.model import Model, Written
from cord_distill.types import THINK_CLOSE, Beam, Candidate, Problem, Step, Stop


@dataclass(frozen=True, slots=True)
class Outcome:
    """One problem, decoded. score: S of the trace, whatever it was selected by. generated: tokens sampled for all
    proposals and judgments. scored: tokens fed to the meta-prover and the reward model.
    """

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


async def answered(
    problem: Problem,
    ensemble: Ensemble,
    best: Beam,
    score: float | None,
    generated: int,
    scored: int,
    candidates: tuple[tuple[Candidate, ...], ...],
) -> Outcome:
    """The end of a step-wise search: the final answer behind its best beam, or nothing behind one that was given up."""
    if best.stop is Stop.ABORT or not best.steps:
        return Outcome(best.steps, "", Stop.ABORT, score, 0, generated, scored, candidates)
    steps, answer = await write_answer(problem, ensemble, best)
    return Outcome(
        steps=steps,
        final_answer_text=answer.text,
        stop=best.stop or Stop.LENGTH,
        score=score,
        answer_tokens=len(answer.ids),
        generated=generated + answer.generated,
        scored=scored,
        candidates=candidates,
    )


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
