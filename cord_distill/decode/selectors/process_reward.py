"""Process reward: a model with a reward head rewards every step, and the rewards are made one value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cord_distill.decode.selectors.base import Rating
from cord_distill.search.select import aggregate
from cord_distill.types import Problem, Step

if TYPE_CHECKING:
    from cord_distill.decode.ensemble import Ensemble


async def rate(problem: Problem, ensemble: Ensemble, steps: tuple[Step, ...], key: tuple[Any, ...]) -> Rating:
    """value: the last, least or mean reward of the steps; a whole trace is split into them first. key is not read."""
    assert ensemble.reward_model is not None  # check_decode
    texts = ensemble.segmentation.split("".join(step.text for step in steps))
    said = [text for text in texts if ensemble.segmentation.said(text)]
    rewards, fed = await ensemble.reward_model.rewards(problem.question, said or texts)
    settings = ensemble.decode.process_reward
    assert settings is not None
    return Rating(aggregate(rewards, settings.aggregation), fed)
