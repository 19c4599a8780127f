"""Other answers that a problem's traces gave, scored beside the known one (`decode.rival_answers`).

S of the known answer says how well a trace predicts it, and not whether the trace predicts another answer as well. The
rivals change nothing of what is selected; the report makes a margin of them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from cord_distill.common.task_group import gather_or_cancel
from cord_distill.decode.ensemble import Ensemble
from cord_distill.decode.pipelines.base import Outcome
from cord_distill.grading.extract import answer_of, stated_answer
from cord_distill.types import THINK_CLOSE, Problem, Rival


async def with_rivals(problem: Problem, ensemble: Ensemble, outcome: Outcome) -> Outcome:
    """Adds the rivals to an outcome, best scored first. It stays as it was where none is asked for, or none was
    given."""
    answers = rival_answers(problem, ensemble, outcome)
    prover = ensemble.meta_prover
    if prover is None or not answers or not outcome.steps:
        return outcome
    suffix = ensemble.decode.answer_suffix
    made = await gather_or_cancel([prover.score(problem.question, outcome.steps, suffix, one) for one in answers])
    found = [Rival(answer, scored.score) for answer, scored in zip(answers, made, strict=True)]
    best_first = tuple(sorted(found, key=lambda one: -one.score))
    return replace(outcome, rivals=best_first, scored=outcome.scored + sum(scored.fed for scored in made))


def rival_answers(problem: Problem, ensemble: Ensemble, outcome: Outcome) -> list[str]:
    """Returns at most `decode.rival_answers` answers that the graders tell from the known one, the most frequent
    first."""
    wanted, grade = ensemble.decode.rival_answers, ensemble.grade
    if not wanted or grade is None or not problem.answer:
        return []
    texts = [outcome.text, *(candidate.text for at_step in outcome.candidates for candidate in at_step)]
    given = Counter(answer for text in texts if (answer := _answer_in(text)) is not None)
    rivals = []
    for answer, _ in given.most_common():
        prediction, right = grade(f"{THINK_CLOSE}\n\n\\boxed{{{answer}}}", problem)
        if prediction is not None and right is False:
            rivals.append(answer)
        if len(rivals) == wanted:
            break
    return rivals


def _answer_in(text: str) -> str | None:
    """Returns the final answer of a whole trace, or the answer that a single step announces."""
    return answer_of(text, in_thought=True) if THINK_CLOSE in text else stated_answer(text)
