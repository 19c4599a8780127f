"""The `Ensemble`: the started models that every pipeline decodes one problem with."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cord_distill.decode.model import Model
from cord_distill.decode.own import segmentation_of, selector_of
from cord_distill.decode.reward_model import RewardModel
from cord_distill.decode.selectors import Rating, Selector
from cord_distill.engines.chat import ChatModel
from cord_distill.grading import Grader
from cord_distill.recipe.decode import DecodeConfig
from cord_distill.search.seeds import keyed_seed
from cord_distill.search.segment import Segmentation
from cord_distill.types import Problem, Step


@dataclass(frozen=True)
class Ensemble:
    """The models of one run and the settings they decode under. meta_prover None: S is not known.

    integrator: who merges the traces of `pipeline: integration`. live: live beams per problem under way, for the
    display. reward_model, judge, grade, student: whom the selectors process_reward, binary_judgment, student_fit and
    rank_surprisal ask, None for the others.
    """

    teachers: tuple[Model, ...]
    meta_prover: Model | None
    decode: DecodeConfig
    seed: int
    reward_model: RewardModel | None = None
    judge: Model | None = None
    student: Model | None = None
    grade: Grader | None = None
    integrator: ChatModel | None = None
    live: dict[str, int] = field(default_factory=dict)

    @cached_property
    def selector(self) -> Selector:
        return selector_of(self.decode)

    @cached_property
    def segmentation(self) -> Segmentation:
        return segmentation_of(self.decode)

    @property
    def searching(self) -> tuple[Model, ...]:
        """The models that read every prefix, so that their caches hold it: the teachers and the meta-prover."""
        return (*self.teachers, self.meta_prover) if self.meta_prover else self.teachers

    def seed_for(self, problem: Problem, *parts: Any) -> int:
        return keyed_seed(self.seed, problem.id, *parts)

    def teacher(self, name: str) -> Model:
        return next(model for model in self.teachers if model.name == name)

    async def score(self, problem: Problem, steps: tuple[Step, ...]) -> tuple[float | None, int, int]:
        """Returns (S, None without a meta-prover or known answer; tokens of the last step in the budget's unit; tokens
        fed)."""
        if self.meta_prover is None or not problem.answer:
            return None, self.num_tokens(steps[-1]), 0
        scored = await self.meta_prover.score(problem.question, steps, self.decode.answer_suffix, problem.answer)
        return scored.score, scored.num_tokens, scored.fed

    async def rate(self, problem: Problem, steps: tuple[Step, ...], *key: Any) -> Rating:
        """What `decode.selector` says of the prefix or whole trace `steps`. key: names the candidate, for its seeds."""
        return await self.selector.rate(problem, self, steps, key)

    async def final_score(self, problem: Problem, steps: tuple[Step, ...]) -> tuple[float | None, int]:
        """Returns (S of a finished trace, tokens fed for it), whatever it was selected by; (None, 0) without steps."""
        if not steps:
            return None, 0
        if self.decode.selector == "predictive_perplexity":
            return steps[-1].score, 0
        score, _, fed = await self.score(problem, steps)
        return score, fed

    def num_tokens(self, step: Step) -> int:
        """Tokens of a step in the budget's unit, `</think>` left out: the meta-prover's, else the proposer's own."""
        return len(self.meta_prover.open_ids(step) if self.meta_prover else step.ids)
