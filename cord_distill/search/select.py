"""Computes the selectors' values and the strict order of candidates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from cord_distill.search.seeds import SEED_BITS

# Scores closer than this count as equal: engines agree to about 1e-6, and a choice must not hang on less.
TIE_DIGITS = 6


def predictive_perplexity(answer_logprobs: Sequence[float]) -> float:
    """S of eq. 3: the geometric mean probability of the answer's tokens, in [0, 1]; higher is better.

    answer_logprobs: log p_meta(a_m | prefix, suffix, a_<m), one per answer token. Raises ValueError when there is none.
    """
    if not answer_logprobs:
        raise ValueError("the answer has no tokens: nothing to predict")
    return math.exp(math.fsum(answer_logprobs) / len(answer_logprobs))


def step_reward(outputs: Sequence[float], activation: str = "auto", output: int = 1) -> float:
    """The reward that a head's raw outputs at one token mean.

    activation: softmax, sigmoid or none of output number `output` (of the only one, where there is one); auto = softmax
    for several, as Qwen2.5-Math-PRM has (bad, good), and sigmoid for one. Raises IndexError: there is no such output.
    """
    chosen = outputs[output] if len(outputs) > 1 else outputs[0]
    if activation == "none":
        return chosen
    if activation == "softmax" or (activation == "auto" and len(outputs) > 1):
        return 1 / math.fsum(math.exp(min(x - chosen, 700.0)) for x in outputs)
    return 1 / (1 + math.exp(min(-chosen, 700.0)))


def aggregate(rewards: Sequence[float], how: str) -> float:
    """One value from the rewards of a trace's steps: `last`, `min` or `mean`. Raises ValueError when there are none."""
    if not rewards:
        raise ValueError("the trace has no steps: nothing to reward")
    return {"last": rewards[-1], "min": min(rewards), "mean": math.fsum(rewards) / len(rewards)}[how]


def share_right(verdicts: Sequence[bool]) -> float:
    """Binary judgment's value: the share of right completions. Raises ValueError when there is none."""
    if not verdicts:
        raise ValueError("no completion was judged")
    return sum(verdicts) / len(verdicts)


def random_value(seed: int) -> float:
    """A 48-bit seed (seeds.py) as a number in [0, 1)."""
    return seed / 2**SEED_BITS


def order_key(score: float, parent: int | tuple[int, ...], teacher: int, sample: int) -> tuple[Any, ...]:
    """Sorts candidates best first: by S rounded to 1e-6, then the parent's place among the kept, teacher, sample.

    The order is strict and owes nothing to arrival.
    """
    return (-round(score, TIE_DIGITS), parent, teacher, sample)
