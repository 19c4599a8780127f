"""What the steps do for the answer, by teacher: the rows that `cord audit` prints and that the report shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cord_distill.common.jsonl import read_json
from cord_distill.recipe.recipe import Recipe
from cord_distill.report.table import NONE, percent
from cord_distill.run_folder.paths import RunFolder

# A step that moves S by less than this does nothing for the answer.
NOTHING = 0.005
TITLE = "What the steps do for the answer"
HEAD = ["steps of", "steps", "effect on S", "95 %", "idle %", "hindering %"]
NOTE = f"""\
effect on S: how much lower S is when the numbers of a step are changed, behind the trace as it is and behind a changed
one (mean of both), per step; 95 %: over problems. idle: steps that move S by less than {NOTHING:g}; hindering: steps
that lower it by more. S is the meta-prover's probability of the known answer."""


def effect_rows(figures: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """figures: what `audit.json` holds, an entry per teacher, for kinds of steps, and for all of them."""
    return [_row(name, one) for name, one in figures.items()]


def audited(recipes: list[Recipe]) -> list[list[str]]:
    """The rows of every method that was audited, each behind the method's name."""
    rows = []
    for recipe in recipes:
        run = RunFolder.of(recipe)
        rows += [[f"{run.method}: {name}", *cells] for name, *cells in effect_rows(read_json(run.audit))]
    return rows


def _row(name: str, one: Mapping[str, Any]) -> list[str]:
    between = f"{one['interval'][0]:+.3f} to {one['interval'][1]:+.3f}" if one["interval"] else NONE
    return [
        name,
        f"{one['steps']:,}",
        f"{one['effect']:+.3f}",
        between,
        percent(one["idle"]),
        percent(one["hindering"]),
    ]
