"""TODO docstring of cord_distill.evaluation.task_file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cord_distill.evaluation.suites import Suite


def tasks_table(suites: Mapping[str, Suite]) -> Callable[[str], Any]:
    """A module-level `__getattr__` that makes `TASKS_TABLE` (and with it loads lighteval) only when it is asked for."""

    def attribute(name: str) -> Any:
        if name == "TASKS_TABLE":
            from cord_distill.evaluation.tasks import hub_table

            return hub_table(suites)
        raise AttributeError(name)

    return attribute
