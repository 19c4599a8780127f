"""What every selector gives: a Rating of a candidate, and what may be selected by it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cord_distill.types import Problem, Step

if TYPE_CHECKING:
    from cord_distill.decode.ensemble import Ensemble


@dataclass(frozen=True, slots=True)
class Rating:
    """What a selector says of a candidate. value: orders candidates, higher is better; None: cannot be rated.

    fed: tokens sent to a meta-prover or reward model for it. generated: tokens sampled for it (binary judgment).
    """

    value: float | None
    fed: int = 0
    generated: int = 0


Rate = Callable[[Problem, "Ensemble", tuple[Step, ...], tuple[Any, ...]], Awaitable[Rating]]


@dataclass(frozen=True, slots=True)
class Selector:
    """rate(problem, ensemble, steps, key): the rating of a prefix or of a whole trace.

    of_prefixes: it can order unfinished traces; False = complete traces alone (pipeline curation).
    """

    rate: Rate
    of_prefixes: bool = True
