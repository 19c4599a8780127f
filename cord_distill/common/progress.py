"""Shows how long work goes on: a live bar on a terminal, a plain line now and then in a file or in CI.

`CORD_PLAIN_PROGRESS=1` asks for plain lines on a terminal too: two processes cannot share it with live bars.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from cord_distill.common.terminal import plain
from cord_distill.common.verbosity import is_quiet
from cord_distill.common.verbosity import note as say

# Seconds between plain lines: at first the one, then twice as long each time, up to the other.
FIRST_PLAIN_LINE = 15.0
LONGEST_SILENCE = 300.0
_shown: list[Progress] = []


class Progress:
    """Counts `total` things. `advance(n, note)`: n more are done; note: what else to show (tokens/s, live beams, loss).

    done: how many were done before, when work goes on where it was.
    """

    def __init__(self, label: str, total: int, done: int = 0) -> None:
        self.label = label
        self.total = total
        self.done = done
        self.begun = self._shown_at = time.monotonic()
        self._before = done
        self._first: tuple[float, int] | None = None  # when the first came, and how many at once
        self._silence = FIRST_PLAIN_LINE
        self._bar = None
        _shown.append(self)
        if not is_quiet() and sys.stderr.isatty() and os.environ.get("CORD_PLAIN_PROGRESS", "0") in ("", "0"):
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bars
            from rich.table import Column

            # Count and time stay whole on a narrow terminal; what is too long of the note is cut.
            self._bar = Bars(
                TextColumn("{task.description}", table_column=Column(no_wrap=True)),
                MofNCompleteColumn(table_column=Column(no_wrap=True)),
                TimeElapsedColumn(table_column=Column(no_wrap=True)),
                BarColumn(bar_width=10),
                TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
                console=_stderr_console(),
                expand=True,
            )
            self._task = self._bar.add_task(label, total=total, completed=done, note="")
            self._bar.start()

    def advance(self, n: int = 1, note: str = "") -> None:
        self.done += n
        if self._first is None and n > 0:
            self._first = time.monotonic(), n
        self.show(note)

    def show(self, note: str) -> None:
        """Another note, when nothing more is done yet."""
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, note=self._with_eta(note))
        elif time.monotonic() - self._shown_at > self._silence:
            self._shown_at = time.monotonic()
            self._silence = min(2 * self._silence, LONGEST_SILENCE)
            self._line(self._with_eta(note))

    def say(self, line: str) -> None:
        """A line that stays, above the bar."""
        if is_quiet():
            return
        if self._bar is not None:
            self._bar.console.print(plain(f"{self.label}: {line}"), markup=False, highlight=False)
        else:
            say(plain(f"{self.label}: {line}"))

    @property
    def seconds_left(self) -> float | None:
        """At the pace of this process so far. None before that says anything: work in flight begins together and ends
        together, so one first answer alone tells nothing until as long again has passed."""
        made = self.done - self._before
        if self._first is None or not made:
            return None
        spent, (first, at_once) = time.monotonic() - self.begun, self._first
        if at_once == 1 and spent < 2 * (first - self.begun):
            return None
        return spent / made * (self.total - self.done)

    def close(self) -> None:
        if self.done >= self.total and self in _shown:
            _shown.remove(self)
        if self._bar is not None:
            self._bar.stop()
        else:
            self._line(f"in {time.monotonic() - self.begun:.0f} s")

    def _with_eta(self, note: str) -> str:
        left = self.seconds_left
        return ", ".join(filter(None, [f"{short_time(left)} left" if left else "", note]))

    def _line(self, note: str) -> None:
        say(plain(f"{self.label}: {self.done}/{self.total} {note}".rstrip()))


def unfinished() -> list[str]:
    """What was begun in this process and not brought to its end, e.g. `decode cord: 37 of 100`."""
    return [f"{one.label}: {one.done} of {one.total}" for one in _shown if one.done < one.total]


def short_time(seconds: float) -> str:
    """45 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def _stderr_console():
    from rich.console import Console

    return Console(stderr=True)


@contextmanager
def progress(label: str, total: int, done: int = 0) -> Iterator[Progress]:
    display = Progress(label, total, done)
    try:
        yield display
    finally:
        display.close()
