"""How signals end a command: SIGTERM (a scheduler) and SIGHUP (a closed terminal) do what Ctrl-C does, and that is
answered at once, also while a library computes and Python itself cannot react yet."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from cord_distill.common.die_with_parent import PARENT

ANSWER = "stopping: waiting for what is being computed (Ctrl-C again: at once)"


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


@contextlib.contextmanager
def answered_at_once() -> Iterator[None]:
    """Inside it the first Ctrl-C prints ANSWER, once, from a thread that reads the signals' numbers off a pipe. The
    handlers of the signal stay as they are. A child of `cord run` prints nothing: its parent does."""
    if PARENT in os.environ or threading.current_thread() is not threading.main_thread():
        yield
        return
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    teller = threading.Thread(target=_tell, args=(read,), daemon=True)
    teller.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(write)  # ends the thread
        teller.join(timeout=1)
        os.close(read)


def _tell(read: int) -> None:
    told = False
    while byte := os.read(read, 1):
        if byte[0] == signal.SIGINT and not told:
            told = True
            print(f"\n{ANSWER}", file=sys.stderr, flush=True)
