"""The table that `cord audit` prints."""

from __future__ import annotations

from collections.abc import Mapping

from cord_distill.audit.figures import NOTHING, EffectFigures
from cord_distill.report.table import NONE, draw_table, percent

HEAD = ["steps of", "steps", "effect on S", "95 %", "idle %", "hindering %"]
NOTE = f"""\
effect on S: how much lower S is when the numbers of a step are changed, behind the trace as it is and behind a changed
one (mean of both), per step; 95 %: over problems. idle: steps that move S by less than {NOTHING:g}; hindering: steps
that lower it by more. S is the meta-prover's probability of the known answer."""


def effects_table(methods: Mapping[str, Mapping[str, EffectFigures]]) -> str:
    """One table per method, with a row per teacher, for right and wrong steps, and for all."""
    tables = [
        draw_table(method, HEAD, [_row(name, one) for name, one in figures.items()])
        for method, figures in methods.items()
    ]
    return "\n".join([*tables, NOTE])


def _row(name: str, one: EffectFigures) -> list[str]:
    between = f"{one.interval[0]:+.3f} to {one.interval[1]:+.3f}" if one.interval else NONE
    return [name, f"{one.steps:,}", f"{one.effect:+.3f}", between, percent(one.idle), percent(one.hindering)]
