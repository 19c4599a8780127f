"""Homogeneous teachers: a section whose `temperature` is a list is one teacher at each, on one shared engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def one_teacher_per_temperature(given: Any, validate: Callable[[Any], list[Any]]) -> list[Any]:
    """The checked teachers, those of a list called NAME-tTEMPERATURE (`qwq-t0.5`). validate: checks plain sections.

    Raises ValueError on an empty list and on a temperature that is given twice.
    """
    sections = given if isinstance(given, list) else []
    lists = {i: s["temperature"] for i, s in enumerate(sections) if _has_list(s)}
    if not lists:
        return validate(given)
    for i, temperatures in lists.items():
        if not temperatures:
            raise ValueError(f"teachers.{i}.temperature: the list is empty: give numbers, e.g. [0.5, 0.6, 0.7]")
        if any(temperatures.count(t) > 1 for t in temperatures):
            raise ValueError(
                f"teachers.{i}.temperature: {temperatures} names one twice: to sample a teacher more than once, set "
                "decode.proposals_per_teacher"
            )
    # In their places first, so that an error names the section as it stands in the recipe.
    for turn in range(max(map(len, lists.values()))):
        at = {i: temperatures[min(turn, len(temperatures) - 1)] for i, temperatures in lists.items()}
        checked = validate([{**s, "temperature": at[i]} if i in at else s for i, s in enumerate(sections)])
    return validate(
        [
            one
            for i, section in enumerate(sections)
            for one in (
                [{**section, "name": f"{checked[i].label}-t{t:g}", "temperature": t} for t in lists[i]]
                if i in lists
                else [section]
            )
        ]
    )


def _has_list(section: Any) -> bool:
    return isinstance(section, dict) and isinstance(section.get("temperature"), list)
