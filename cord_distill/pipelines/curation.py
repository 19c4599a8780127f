"""Curation, the paper's baseline: complete traces by each teacher, scored whole by S, the best kept (sect. 4.1)."""

from __future__ import annotations

from cord_distill.model import Model
from cord_distill.pipelines.base import Ensemble, Outcome, closed, gather_or_cancel
from cord_distill.types import Beam, Candidate, Problem, Step, Stop


async def curation(problem: Problem, ensemble: Ensemble) -> Outcome:
    traces = ensemble.decode.curation.traces_per_teacher
    return await best_trace(problem, ensemble, [(t, s) for t in range(len(ensemble.teachers)) for s in range(traces)])


async def single(problem: Problem, ensemble: Ensemble) -> Outcome:
    """One trace by the first teacher."""
    return await best_trace(problem, ensemble, [(0, 0)])


async def best_trace(problem: Problem, ensemble: Ensemble, who: list[tuple[int, int]]) -> Outcome:
    """Samples one complete trace per (teacher, sample); keeps the highest S, ties by teacher and sample."""
    outcomes = await gather_or_cancel([_trace(problem, ensemble, teacher, sample) for teacher, sample in who])
    order = sorted(range(len(who)), key=lambda i: (-round(outcomes[i].score or 0.0, 6), i))
    best = outcomes[order[0]]
    rows = tuple(
        Candidate(
            parent=0,
            teacher=ensemble.teachers[who[i][0]].name,
            sample=who[i][1],
            text="".join(step.text for step in outcomes[i].steps) + outcomes[i].final_answer_text,
            score=outcomes[i].score,
            kept=i == order[0],
            stop=outcomes[i].stop,
        )
        for i in order
    )
    return Outcome(
        steps=best.steps,
        final_answer_text=best.final_answer_text,
        stop=best.stop,
        score=best.score,
        answer_tokens=best.answer_tokens,
        generated=sum(outcome.generated for outcome in outcomes),
        scored=sum(outcome.scored for outcome in outcomes),
        candidates=(rows,),
    )


async def _trace(problem: Problem, ensemble: Ensemble, teacher_index: int, sample: int) -> Outcome:
    teacher = ensemble.teachers[teacher_index]
    budgets = ensemble.decode.budgets
    seed = ensemble.seed_for(problem, "trace", teacher_index, sample)
    thought = await teacher.write(
        problem.question, (), ensemble.marker.marker(1), max_tokens=budgets.reasoning_tokens, seed=seed
    )
    whole = Step(1, teacher.name, thought.text, thought.ids, len(thought.ids), None, thought.stop)
    steps = closed(Beam((whole,)), teacher)
    answer = await teacher.answer(
        problem.question,
        steps,
        max_tokens=budgets.answer_tokens,
        seed=ensemble.seed_for(problem, "trace answer", teacher_index, sample),
    )
    score, _, fed = await ensemble.score(problem, steps)
    return Outcome(
        steps=split_steps(ensemble, teacher, steps[0], score),
        final_answer_text=answer.text,
        stop=thought.stop,
        score=score,
        answer_tokens=len(answer.ids),
        generated=thought.generated + answer.generated,
        scored=fed,
        candidates=(),
    )


def split_steps(ensemble: Ensemble, teacher: Model, whole: Step, score: float | None) -> tuple[Step, ...]:
    """A complete trace as Steps, cut before its markers; only the last one carries the score of the whole."""
    counter = ensemble.meta_prover or teacher
    pieces = ensemble.marker.split(whole.text)
    last = len(pieces) - 1
    return tuple(
        Step(
            n=i + 1,
            teacher=whole.teacher,
            text=piece,
            ids=tuple(teacher.renderer.encode(piece)),
            num_tokens=len(counter.renderer.encode(piece)),
            score=score if i == last else None,
            stop=whole.stop if i == last else Stop.STEP,
        )
        for i, piece in enumerate(pieces)
    )
