"""One progress display for long work: a live bar on a terminal, a plain line now and then in a file or in CI.

`CORD_PLAIN_PROGRESS=1` asks for plain lines on a terminal too: two processes cannot share it with live bars.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

PLAIN_EVERY_SECONDS = 15.0


class Progress:
    """Counts `total` things. `advance(n, note)`: n more are done; note: what else to show (tokens/s, live beams, loss).

    done: how many were done before, when work goes on where it was.
    """

    def __init__(self, label: str, total: int, done: int = 0) -> None:
        self.label = label
        self.total = total
        self.done = done
        self.begun = self._shown = time.monotonic()
        self._bar = None
        if sys.stderr.isatty() and os.environ.get("CORD_PLAIN_PROGRESS", "0") in ("", "0"):
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bars

            self._bar = Bars(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=_stderr_console(),
            )
            self._task = self._bar.add_task(label, total=total, completed=done, note="")
            self._bar.start()

    def advance(self, n: int = 1, note: str = "") -> None:
        self.done += n
        if self._bar is not None:
            self._bar.update(self._task, advance=n, note=note)
        elif time.monotonic() - self._shown > PLAIN_EVERY_SECONDS:
            self._shown = time.monotonic()
            self._line(note)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        else:
            self._line(f"in {time.monotonic() - self.begun:.0f} s")

    def _line(self, note: str) -> None:
        print(f"{self.label}: {self.done}/{self.total} {note}".rstrip(), file=sys.stderr, flush=True)


def _stderr_console():
    from rich.console import Console

    return Console(stderr=True)


@contextmanager
def progress(label: str, total: int) -> Iterator[Progress]:
    display = Progress(label, total)
    try:
        yield display
    finally:
        display.close()
