"""Writes what the teachers add when every box is made, in the world with tails: nothing new.

Real traces go on after the answer is certain. Each teacher has its own habit: the adder checks the last box, the
multiplier sums up, and the allrounder doubts the last box, names a wrong digit and takes it back. Only the last box is
checked: models of this size cannot look up a digit far back by its number alone.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

Piece = tuple[str, str]

# The chance of each further step, while step numbers last.
GOES_ON = 0.6
# What the allrounder says by mistake before it takes it back: the digit of the box and this much more.
DOUBT = 5
HABITS: dict[str, dict[str, float]] = {
    "a": {"check": 0.8, "sum": 0.2},
    "b": {"check": 0.3, "sum": 0.7},
    "c": {"check": 0.4, "doubt": 0.6},
}


def tail_step(rng: random.Random, style: str, values: Sequence[int], every: int) -> list[Piece]:
    """One step after its marker, of the teacher with this style. values: of the boxes from 1; every: as the answer."""
    (kind,) = rng.choices(list(HABITS[style]), list(HABITS[style].values()))
    if kind == "sum":
        boxes = range(every, len(values) + 1, every)
        openings = [" In sum: box", *[", box"] * (len(boxes) - 1)]
        said = [piece for opening, n in zip(openings, boxes, strict=True) for piece in _says(opening, n, values[n - 1])]
    else:
        n, value = len(values), values[-1]
        said = _says(" Check again: box", n, value)
        if kind == "doubt":
            said = [*_says(" Hold on: box", n, (value + DOUBT) % 10), *_says(". Wait, box", n, value)]
    return [*said, ("\n\n", "style")]


def _says(opening: str, n: int, value: int) -> list[Piece]:
    return [(opening, "style"), (f" {n} = ", "label"), (str(value), "result")]
