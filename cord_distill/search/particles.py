"""Draws the survivors of a step in proportion to their scores, instead of keeping the best (particle selection).

A trace that scores low now may be the only one that comes out right; drawing keeps some of these alive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from cord_distill.search.seeds import keyed_seed
from cord_distill.search.select import random_value

# From (scores of a step's candidates, best first; how many; the step) to the places of those that live on.
Choose = Callable[[Sequence[float], int, int], list[int]]

LEAST = 1e-12


def draw(scores: Sequence[float], count: int, step: int, *, seed: int) -> list[int]:
    """Places of `count` of the scores (all >= 0), in order, drawn without return, each time in proportion to the scores
    that are left. `cord` hands it to the search under `decode.survivors: sampled`.

    Adding Gumbel noise to the logarithms and taking the largest is such a draw (Kool et al., ICML 2019). The noise is
    keyed by seed, step and place, so that the same search draws the same.
    """

    def noisy(place: int) -> float:
        uniform = (random_value(keyed_seed(seed, "survivor", step, place)) + LEAST) / (1 + 2 * LEAST)
        return math.log(max(scores[place], LEAST)) - math.log(-math.log(uniform))

    return sorted(sorted(range(len(scores)), key=noisy, reverse=True)[:count])
