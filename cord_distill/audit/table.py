"""The table that `cord audit` prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from cord_distill.audit.figures import EffectFigures
from cord_distill.report.effects import HEAD, NOTE, effect_rows
from cord_distill.report.table import draw_table


def effects_table(methods: Mapping[str, Mapping[str, EffectFigures]]) -> str:
    """One table per method, with a row per teacher, for right, wrong and needless steps, and for all."""
    tables = [
        draw_table(method, HEAD, effect_rows({name: asdict(one) for name, one in figures.items()}))
        for method, figures in methods.items()
    ]
    return "\n".join([*tables, NOTE])
