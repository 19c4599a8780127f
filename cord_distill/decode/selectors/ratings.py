"""The package's own ways of rating a candidate, one function each, under the names that `decode.selector` takes.

Every function is given the problem, the ensemble, the steps of the candidate (a prefix, or a whole trace) and a key
that names the candidate for its seeds. check.py says before any model is started what each needs of a recipe.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cord_distill.common.task_group import gather_or_cancel
from cord_distill.decode.off_the_loop import off_the_loop
from cord_distill.decode.selectors.base import Rating
from cord_distill.search.select import aggregate, random_value, share_right
from cord_distill.types import THINK_CLOSE, Problem, Step

if TYPE_CHECKING:
    from cord_distill.decode.ensemble import Ensemble

Steps = tuple[Step, ...]
Key = tuple[Any, ...]
# S can underflow to 0 on a long answer; its logarithm is cut here.
LEAST_SCORE = 1e-300
# One token of rank 40,000 must not outweigh a whole trace.
HIGHEST_RANK = 100
LEAST_SURPRISAL = 1e-9


async def predictive_perplexity(problem: Problem, ensemble: Ensemble, steps: Steps, key: Key) -> Rating:
    """S of the known answer after the prefix, by the meta-prover (eq. 3), in [0, 1]; None without a meta-prover."""
    score, _, fed = await ensemble.score(problem, steps)
    return Rating(score, fed)


async def gain(problem: Problem, ensemble: Ensemble, steps: Steps, key: Key) -> Rating:
    """By how much the last step lifts log S above its highest value so far; None without a meta-prover.

    A step that only keeps a high S gains nothing. The first step is compared with S of the bare question, so what the
    meta-prover guesses without any reasoning is taken out.
    """
    prover = ensemble.meta_prover
    if prover is None:
        return Rating(None)
    suffix, answer = ensemble.decode.answer_suffix, problem.answer
    bare = await prover.score(problem.question, (), suffix, answer)
    last = await prover.score(problem.question, steps, suffix, answer)
    # Each step before carries its own gain, and the highest value rose by those above 0: no prefix is scored again.
    highest = _log(bare.score) + math.fsum(max(step.score or 0.0, 0.0) for step in steps[:-1])
    return Rating(_log(last.score) - highest, last.fed)


async def binary_judgment(problem: Problem, ensemble: Ensemble, steps: Steps, key: Key) -> Rating:
    """The share of right answers, in [0, 1], when a judge is told that time is up and finishes from the prefix n times.

    The problem's own grader says what is right. Each of the n runs has a seed of its own.
    """
    judge, grade = ensemble.judge, ensemble.grade
    assert judge is not None and grade is not None  # check_selector
    settings = ensemble.decode.binary_judgment
    runs = await gather_or_cancel(
        [
            judge.conclude(
                problem.question,
                steps,
                settings.conclusion,
                max_tokens=settings.max_tokens,
                seed=ensemble.seed_for(problem, "judgment", *key, run),
            )
            for run in range(settings.runs)
        ]
    )
    thought = "".join(step.text for step in steps).removesuffix(THINK_CLOSE)
    texts = [thought + run.text for run in runs]
    verdicts = await off_the_loop(lambda: [bool(grade(text, problem)[1]) for text in texts], graders=(grade,))
    return Rating(share_right(verdicts), generated=sum(run.generated for run in runs))


async def process_reward(problem: Problem, ensemble: Ensemble, steps: Steps, key: Key) -> Rating:
    """The last, least or mean reward of the steps, by a model with a reward head. A whole trace is split into steps
    first."""
    settings, model = ensemble.decode.process_reward, ensemble.reward_model
    assert settings is not None and model is not None  # check_selector
    texts = ensemble.segmentation.split("".join(step.text for step in steps))
    said = [text for text in texts if ensemble.segmentation.said(text)]
    rewards, fed = await model.rewards(problem.question, said or texts)
    return Rating(aggregate(rewards, settings.aggregation), fed)


async def consensus(problem: Problem, ensemble: Ensemble, steps: Steps, key: Key) -> Rating:
    """How likely the other teachers find the last step (or a whole trace, where that is one step), in [0, 1].

    Each teacher but the step's own gives the geometric mean probability of the step's tokens, and these are averaged
    (Collaborative Beam Search averages perplexities of several models in the same way). It reads no known answer, so
    CoRD runs on unlabelled problems.
    """
    others = [teacher for teacher in ensemble.teachers if teacher.name != steps[-1].teacher]
    fits = await gather_or_cancel([teacher.fit(problem.question, steps) for teacher in others])
    return Rating(math.fsum(fit.score for fit in fits) / len(fits), sum(fit.fed for fit in fits))


async def student_fit(problem: Problem, ensemble: Ensemble, steps: Steps, key: Key) -> Rating:
    """S + weight * fit, so that the student is taught what it can take up; the fit alone under `alone`.

    The fit is the geometric mean probability that the untrained student gives to the step's tokens, as in Local
    Naturalness and Gen-SSD, which choose among generations by the student's own likelihood.
    """
    settings, student = ensemble.decode.student_fit, ensemble.student
    assert settings is not None and student is not None  # check_selector
    fit = await student.fit(problem.question, steps)
    if settings.alone:
        return Rating(fit.score, fit.fed)
    score, _, fed = await ensemble.score(problem, steps)
    return Rating(None if score is None else score + settings.weight * fit.score, fed + fit.fed)


async def rank_surprisal(problem: Problem, ensemble: Ensemble, steps: Steps, key: Key) -> Rating:
    """Minus the rank-surprisal ratio: which whole trace the student can learn most from (Yang et al. 2026, arXiv
    2601.14249).

    A trace teaches where its tokens are unlikely to the student and yet among those that it would try first: the mean
    rank of the tokens over their mean surprisal is small. A step is too short for a ratio, so only whole traces are
    ordered.
    """
    assert ensemble.student is not None  # check_selector
    tokens, fed = await ensemble.student.ranked(problem.question, steps)
    ranks = sum(min(rank, HIGHEST_RANK) for _, rank in tokens)
    surprisal = -math.fsum(logprob for logprob, _ in tokens)
    return Rating(-ranks / max(surprisal, LEAST_SURPRISAL), fed)


async def random(problem: Problem, ensemble: Ensemble, steps: Steps, key: Key) -> Rating:
    """A number in [0, 1) drawn from the candidate's name, whatever the candidate says: the control that reads nothing.

    Of complete traces it is the row of the paper; of steps (`pipeline: cord`) it is a search whose choices mean
    nothing.
    """
    return Rating(random_value(ensemble.seed_for(problem, "random", *key)))


async def longest(problem: Problem, ensemble: Ensemble, steps: Steps, key: Key) -> Rating:
    """The tokens of a complete trace in the budget's unit, `</think>` left out.

    It cannot order prefixes: they would be kept for being wordy, and a finished trace would always lose to one that
    goes on.
    """
    return Rating(float(sum(ensemble.num_tokens(step) for step in steps)))


def _log(score: float) -> float:
    return math.log(max(score, LEAST_SCORE))
