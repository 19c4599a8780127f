"""SIGTERM (a scheduler) and SIGHUP (a closed terminal) end a command as Ctrl-C does: with what to do next."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class EndedBy:
    """The signal that ended the command, for its exit code."""

    number: int = signal.SIGINT


@contextlib.contextmanager
def ended_like_ctrl_c() -> Iterator[EndedBy]:
    """Inside it both signals arrive as KeyboardInterrupt. One that somebody ignores (nohup) or handles stays so."""
    ended_by = EndedBy()
    before = {}

    def interrupt(number: int, frame: object) -> None:
        ended_by.number = number
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as `cord run &` in a script has it
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, interrupt)
    try:
        yield ended_by
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
