"""What every pipeline is given and what it gives back. A pipeline asks models; it knows no engine, writes no file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from cord_distill.chat import ChatModel
from cord_distill.grading import Grader
from cord_distill.model import Model, Written
from cord_distill.recipe import Decode
from cord_distill.reward import RewardModel
from cord_distill.search.line_break import LineBreak
from cord_distill.search.prefix_phrases import PrefixPhrases
from cord_distill.search.seeds import keyed_seed
from cord_distill.search.segment import Segmentation, StepMarker
from cord_distill.selectors import SELECTORS, Rating
from cord_distill.types import THINK_CLOSE, Beam, Candidate, Problem, Step, Stop


@dataclass(frozen=True)
class Ensemble:
    """The models of one run and the settings they decode under. meta_prover None: S is not known.

    integrator: who merges the traces of `pipeline: integration`. live: live beams per problem under way, for the
    display. reward_model, judge, grade: whom the selectors
    process_reward and binary_judgment ask, None for the others.
    """

    teachers: tuple[Model, ...]
    meta_prover: Model | None
    decode: Decode
    seed: int
    reward_model: RewardModel | None = None
    judge: Model | None = None
    grade: Grader | None = None
    integrator: ChatModel | None = None
    live: dict[str, int] = field(default_factory=dict)

    @cached_property
    def segmentation(self) -> Segmentation:
        return segmentation_of(self.decode)

    def seed_for(self, problem: Problem, *parts: Any) -> int:
        return keyed_seed(self.seed, problem.id, *parts)

    def teacher(self, name: str) -> Model:
        return next(model for model in self.teachers if model.name == name)

    async def score(self, problem: Problem, steps: tuple[Step, ...]) -> tuple[float | None, int, int]:
        """(S or None without a meta-prover, tokens of the last step in the budget's unit, tokens fed)."""
        if self.meta_prover is None:
            return None, self.num_tokens(steps[-1]), 0
        scored = await self.meta_prover.score(problem.question, steps, self.decode.answer_suffix, problem.answer)
        return scored.score, scored.num_tokens, scored.fed

    async def rate(self, problem: Problem, steps: tuple[Step, ...], *key: Any) -> Rating:
        """What `decode.selector` says of the prefix or whole trace `steps`. key: names the candidate, for its seeds."""
        return await SELECTORS[self.decode.selector].rate(problem, self, steps, key)

    async def final_score(self, problem: Problem, steps: tuple[Step, ...]) -> tuple[float | None, int]:
        """(S of a finished trace, tokens fed for it), whatever it was selected by. No steps: (None, 0)."""
        if not steps:
            return None, 0
        if self.decode.selector == "predictive_perplexity":
            return steps[-1].score, 0
        score, _, fed = await self.score(problem, steps)
        return score, fed

    def num_tokens(self, step: Step) -> int:
        """Tokens of a step in the budget's unit, `</think>` left out: the meta-prover's, else the proposer's own."""
        return len(self.meta_prover.open_ids(step) if self.meta_prover else step.ids)


def segmentation_of(decode: Decode) -> Segmentation:
    """Where steps begin and end, by `decode.segmentation`."""
    if decode.segmentation == "line_break":
        return LineBreak()
    if decode.segmentation == "prefix_phrases":
        return PrefixPhrases(tuple(decode.phrases))
    return StepMarker(decode.step_marker)


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
