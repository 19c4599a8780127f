"""The ways of choosing among candidates, by their recipe name (`decode.selector`), one file each.

A rating is asked for by `Ensemble.rate`: of each candidate step by CoRD, of whole traces by Curation.
"""

from __future__ import annotations

from cord_distill.decode.selectors import (
    binary_judgment,
    chance,
    consensus,
    gain,
    longest,
    predictive_perplexity,
    process_reward,
    rank_surprisal,
    student_fit,
)
from cord_distill.decode.selectors.base import Rating, Selector

SELECTORS: dict[str, Selector] = {
    "predictive_perplexity": Selector(predictive_perplexity.rate),
    "process_reward": Selector(process_reward.rate),
    "binary_judgment": Selector(binary_judgment.rate),
    "consensus": Selector(consensus.rate),
    "student_fit": Selector(student_fit.rate),
    "gain": Selector(gain.rate),
    "random": Selector(chance.rate),
    "longest": Selector(longest.rate, of_prefixes=False),
    "rank_surprisal": Selector(rank_surprisal.rate, of_prefixes=False),
}

__all__ = ["SELECTORS", "Rating", "Selector"]
