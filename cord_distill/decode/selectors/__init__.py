"""The ways of choosing among candidates, by their recipe name (`decode.selector`).

A rating is asked for by `Ensemble.rate`: of each candidate step by CoRD, of whole traces by Curation.
"""

from __future__ import annotations

from cord_distill.decode.selectors import ratings
from cord_distill.decode.selectors.base import Rating, Selector

SELECTORS: dict[str, Selector] = {
    "predictive_perplexity": Selector(ratings.predictive_perplexity),
    "process_reward": Selector(ratings.process_reward),
    "binary_judgment": Selector(ratings.binary_judgment),
    "consensus": Selector(ratings.consensus),
    "student_fit": Selector(ratings.student_fit),
    "gain": Selector(ratings.gain),
    "random": Selector(ratings.random),
    "longest": Selector(ratings.longest, of_prefixes=False),
    "rank_surprisal": Selector(ratings.rank_surprisal, of_prefixes=False),
}

__all__ = ["SELECTORS", "Rating", "Selector"]
