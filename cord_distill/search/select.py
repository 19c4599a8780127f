"""The maths of selection: predictive perplexity, the strict order of candidates, and what it means to be certain."""

from __future__ import annotations

import math
from collections.abc import Sequence

# Scores closer than this count as equal: engines agree to about 1e-6, and a choice must not hang on less.
TIE_DIGITS = 6

Key = tuple  # (-rounded score, the parent's Key, teacher index, sample index): nested, compared element by element


def predictive_perplexity(answer_logprobs: Sequence[float]) -> float:
    """S of eq. 3: the geometric mean probability of the answer's tokens, in [0, 1]; higher is better.

    answer_logprobs: log p_meta(a_m | prefix, suffix, a_<m), one per answer token. Raises ValueError when there is none.
    """
    if not answer_logprobs:
        raise ValueError("the answer has no tokens: nothing to predict")
    return math.exp(math.fsum(answer_logprobs) / len(answer_logprobs))


def order_key(score: float, parent: Key, teacher: int, sample: int) -> Key:
    """Sorts candidates best first: by S rounded to 1e-6, then the parent's own place, teacher, sample.

    The order is strict and owes nothing to arrival: comparing the parents' keys gives the same as comparing their final
    ranks, and is known as soon as the parents are scored.
    """
    return (-round(score, TIE_DIGITS), parent, teacher, sample)


def is_certain(rank: int, beam_size: int, outstanding: int) -> bool:
    """True when a candidate of this rank (from 1) among those in hand survives whatever the outstanding ones score."""
    return rank <= beam_size - outstanding
