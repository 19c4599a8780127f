"""The figures of an audit: how much the steps of each teacher do for the answer; and the table of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cord_distill.metrics import t_interval
from cord_distill.report.effects import HEAD, NOTE, NOTHING, effect_rows
from cord_distill.report.table import draw_table


@dataclass(frozen=True, slots=True)
class StepEffect:
    """What one step does for the answer: S with the step as it is and changed, behind a prefix as it is and changed.

    step: its number in the trace, from 1. right, needless: what the process check said of the step, None where it said
    nothing.
    """

    id: str
    step: int
    teacher: str
    intact: float
    step_changed: float
    prefix_changed: float
    both_changed: float
    right: bool | None = None
    needless: bool | None = None

    @property
    def effect(self) -> float:
        """The mean of what the step adds to S behind the intact and behind the changed prefix, in [-1, 1].

        The true-thinking score of Zhao et al. (2025) with S in place of the probability of the model's own answer, and
        with its sign: above 0 the step helps the known answer, below 0 it hinders it.
        """
        return ((self.intact - self.step_changed) + (self.prefix_changed - self.both_changed)) / 2

    def to_row(self) -> dict[str, Any]:
        return {**asdict(self), "effect": self.effect}


@dataclass(frozen=True, slots=True)
class EffectFigures:
    """Over the steps of one teacher, or of all. interval: 95 % over problems. idle: the share of steps that move S by
    less than NOTHING; hindering: the share that lowers it by more."""

    steps: int
    effect: float
    interval: tuple[float, float] | None
    idle: float
    hindering: float


def effect_figures(effects: Iterable[StepEffect]) -> dict[str, EffectFigures]:
    """Figures by teacher, most steps first, and of `all`; with a process check of `right steps`, `wrong steps` and
    `needless steps`."""
    groups: defaultdict[str, list[StepEffect]] = defaultdict(list)
    for one in effects:
        groups[one.teacher].append(one)
    found = {name: groups[name] for name in sorted(groups, key=lambda name: (-len(groups[name]), name))}
    every = [one for group in found.values() for one in group]
    found["right steps"] = [one for one in every if one.right]
    found["wrong steps"] = [one for one in every if one.right is False]
    found["needless steps"] = [one for one in every if one.needless]
    return {name: _of(group) for name, group in {**found, "all": every}.items() if group}


def _of(effects: list[StepEffect]) -> EffectFigures:
    by_problem: defaultdict[str, list[float]] = defaultdict(list)
    for one in effects:
        by_problem[one.id].append(one.effect)
    means = [sum(values) / len(values) for values in by_problem.values()]
    return EffectFigures(
        steps=len(effects),
        effect=sum(one.effect for one in effects) / len(effects),
        interval=t_interval(means) if len(means) > 1 else None,
        idle=sum(abs(one.effect) < NOTHING for one in effects) / len(effects),
        hindering=sum(one.effect <= -NOTHING for one in effects) / len(effects),
    )


def effects_table(methods: Mapping[str, Mapping[str, EffectFigures]]) -> str:
    """What `cord audit` prints: one table per method, a row per teacher, for each kind of step, and for all."""
    tables = [
        draw_table(method, HEAD, effect_rows({name: asdict(one) for name, one in figures.items()}))
        for method, figures in methods.items()
    ]
    return "\n".join([*tables, NOTE])
