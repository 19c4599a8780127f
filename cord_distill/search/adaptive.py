"""Decides how many candidates of a step live on: B, or more where the scores hardly differ (beyond the paper).

Where a step does not touch the answer, all candidates score alike, and a plain beam prunes at random there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cord_distill.search.select import TIE_DIGITS

Width = Callable[[Sequence[float]], int]  # from the scores of a step's candidates, best first, to how many are kept


@dataclass(frozen=True, slots=True)
class AdaptiveBeam:
    """The best `beam_size` are kept, and then one after the other up to `max_beam` while they are close to the best.

    spread: a candidate beyond the plain beam is kept when the best score minus its own is smaller than this (in units
    of S); the first that is not ends the list. 0 is the plain beam.
    """

    beam_size: int
    max_beam: int
    spread: float

    def __call__(self, scores: Sequence[float]) -> int:
        kept = min(self.beam_size, len(scores))
        # The gap is rounded like the scores: 0.9 - 0.8 is not smaller than 0.1.
        while kept < min(self.max_beam, len(scores)) and round(scores[0] - scores[kept], TIE_DIGITS) < self.spread:
            kept += 1
        return kept
