"""Finds the candidates of one step that say the same, of which only the best is kept (beyond the paper)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

from cord_distill.types import Beam

REPEATED = "the same as a better candidate"
StateKey = Callable[[Beam], Hashable]  # None: the same as no other


def text_key(beam: Beam) -> str:
    """The whole trace so far, with every run of white space as one blank: equal words after equal prefixes."""
    return " ".join(beam.text.split())


def first_of_each(beams: Iterable[Beam], key: StateKey) -> list[bool]:
    """Whether each beam, in the order given, is the first with its key. A finished trace never equals a live one."""
    seen: set[tuple[bool, Hashable]] = set()
    first = []
    for beam in beams:
        known = key(beam)
        first.append(known is None or (beam.live, known) not in seen)
        seen.add((beam.live, known))
    return first
