"""Makes text of models, servers and files safe for a terminal: nothing in it may move the cursor or hide text."""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Iterable

# C0 without tab and line feed, DEL, C1, marks that change the direction of writing, and halves of surrogate pairs.
_UNSAFE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

MOST_LISTED = 20


def plain(text: object) -> str:
    """The text with every control character written out, e.g. `\\x1b`. Line feeds and tabs stay."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def one_line(text: object, length: int = 500) -> str:
    """`plain`, on one line, cut to `length` characters."""
    line = " ".join(plain(text).split())
    return line if len(line) <= length else f"{line[: length - 4]} ..."


def listed(names: Iterable[object]) -> str:
    """The names as an error lists them: the first MOST_LISTED, each cut, since a table may have a million columns."""
    first = list(itertools.islice(names, MOST_LISTED + 1))
    line = ", ".join(one_line(name, 60) for name in first[:MOST_LISTED])
    return f"{line} and others" if len(first) > MOST_LISTED else line


def warn(text: str) -> None:
    """Prints a line to stderr that must not be overlooked: in red on a terminal."""
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    print(f"\x1b[1;31m{plain(text)}\x1b[0m" if colour else plain(text), file=sys.stderr, flush=True)


def first_line(error: BaseException) -> str:
    """The first line of what a library says, which may explain itself over a page."""
    text = str(error).strip() or type(error).__name__
    return one_line(text.splitlines()[0], 200)
