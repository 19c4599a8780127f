"""Finds the name that an error suggests in place of a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name that is most like `name`; None where none is near. cutoff: how like, from 0 to 1 (equal)."""
    return next(iter(get_close_matches(name, list(known), n=1, cutoff=cutoff)), None)


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """`did you mean 'curation'?` where one of the known names is near, else `otherwise`."""
    near = nearest(name, known)
    return f"did you mean {near!r}?" if near is not None else otherwise
