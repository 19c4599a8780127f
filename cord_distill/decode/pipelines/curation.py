"""Curation, the paper's baseline: complete traces by each teacher, rated whole (by S), the best kept (sect. 4.1)."""

from __future__ import annotations

import math

from cord_distill.common.task_group import gather_or_cancel
from cord_distill.decode.ensemble import Ensemble
from cord_distill.decode.model import Model
from cord_distill.decode.pipelines.base import Outcome, with_closed_thought, write_answer
from cord_distill.search.select import order_key
from cord_distill.types import Beam, Candidate, Problem, Step, Stop


async def curation(problem: Problem, ensemble: Ensemble) -> Outcome:
    """Keeps the best of `curation.traces_per_teacher` complete traces of each teacher."""
    traces = ensemble.decode.curation.traces_per_teacher
    return await best_trace(problem, ensemble, [(t, s) for t in range(len(ensemble.teachers)) for s in range(traces)])


async def single(problem: Problem, ensemble: Ensemble) -> Outcome:
    """Samples one trace of the first teacher."""
    return await best_trace(problem, ensemble, [(0, 0)])


async def best_trace(problem: Problem, ensemble: Ensemble, who: list[tuple[int, int]]) -> Outcome:
    """Samples one complete trace per (teacher, sample); keeps the best rated, ties by teacher and sample."""
    outcomes = await gather_or_cancel([complete_trace(problem, ensemble, teacher, sample) for teacher, sample in who])
    values = [-math.inf if (value := outcome.score) is None else value for outcome in outcomes]
    order = sorted(range(len(who)), key=lambda i: order_key(values[i], (), *who[i]))
    best = outcomes[order[0]]
    final, fed = await ensemble.final_score(problem, best.steps)
    rows = tuple(
        Candidate(
            parent=0,
            teacher=ensemble.teachers[who[i][0]].name,
            sample=who[i][1],
            text=outcomes[i].text,
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
        score=final,
        answer_tokens=best.answer_tokens,
        generated=sum(outcome.generated for outcome in outcomes),
        scored=sum(outcome.scored for outcome in outcomes) + fed,
        candidates=(rows,),
        answer_rule=best.answer_rule,
    )


async def complete_trace(problem: Problem, ensemble: Ensemble, teacher_index: int, sample: int) -> Outcome:
    """Samples one complete trace with its answer; its `score` is what the selector says of it."""
    teacher = ensemble.teachers[teacher_index]
    budgets = ensemble.decode.budgets
    seed = ensemble.seed_for(problem, "trace", teacher_index, sample)
    thought = await teacher.write(
        problem.question, (), ensemble.segmentation.opening(()), max_tokens=budgets.reasoning_tokens, seed=seed
    )
    whole = Step(1, teacher.name, thought.text, thought.ids, len(thought.ids), None, thought.stop)
    steps = with_closed_thought(Beam((whole,)), teacher)
    answer = await write_answer(problem, ensemble, teacher, steps, "trace answer", teacher_index, sample)
    rating = await ensemble.rate(problem, steps, "trace", teacher_index, sample)
    return Outcome(
        steps=split_steps(ensemble, teacher, steps[0], rating.value),
        final_answer_text=answer.text,
        stop=thought.stop,
        score=rating.value,
        answer_tokens=answer.num_tokens,
        generated=thought.generated + answer.generated + rating.generated,
        scored=rating.fed,
        candidates=(),
        answer_rule=answer.rule,
    )


def split_steps(ensemble: Ensemble, teacher: Model, whole: Step, score: float | None) -> tuple[Step, ...]:
    """Cuts a complete trace into Steps by the run's segmentation; only the last one carries the value of the whole."""
    counter = ensemble.meta_prover or teacher
    pieces = ensemble.segmentation.split(whole.text)
    last = len(pieces) - 1
    return tuple(
        Step(
            n=i + 1,
            teacher=whole.teacher,
            text=piece,
            ids=tuple(teacher.renderer.encode(teacher.renderer.step(piece))),
            num_tokens=len(counter.renderer.encode(counter.renderer.step(piece))),
            score=score if i == last else None,
            stop=whole.stop if i == last else Stop.STEP,
        )
        for i, piece in enumerate(pieces)
    )
