"""What a task file is written with: one import for the files in `eval/` and for a user's own.

A task file names its suites, and `__getattr__ = tasks_table(SUITES)` makes it a task file of lighteval too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cord_distill.evaluation.suite import Hub, OpenEnded, Row, Suite
from cord_distill.grading.judge import VERDICT_LINE

__all__ = ["VERDICT_LINE", "Hub", "OpenEnded", "Row", "Suite", "tasks_table"]


def tasks_table(suites: Mapping[str, Suite]) -> Callable[[str], Any]:
    """A module-level `__getattr__` that makes `TASKS_TABLE` (and with it loads lighteval) only when it is asked for."""

    def attribute(name: str) -> Any:
        if name == "TASKS_TABLE":
            from cord_distill.evaluation.tasks import hub_table

            return hub_table(suites)
        raise AttributeError(name)

    return attribute
