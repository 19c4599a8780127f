"""Children of `cord run` end with it, even when it is killed: an orphan would hold the run folder and its memory."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PARENT = "CORD_PARENT_PID"
TORCHRUN = "TORCHELASTIC_RUN_ID"


def child_environment(environment: dict[str, str]) -> dict[str, str]:
    """`environment` with the mark that makes a child (and the launcher's child in turn) call for its own end.

    A child starts a W&B service of its own: in one that is shared, the run of a process that was killed stays in use.
    """
    own = {name: value for name, value in environment.items() if name != "WANDB_SERVICE"}
    return {**own, PARENT: str(os.getpid())}


def signal_at_parents_end(number: int) -> None:
    """Asks Linux to send this process a signal when its parent ends; other systems know no such request."""
    if not sys.platform.startswith("linux"):
        return
    set_parent_death_signal = 1
    ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, number)


def die_with_parent() -> None:
    """Asks Linux for SIGTERM when the parent ends; only in what `cord run` or torchrun (`accelerate launch`) started.

    A rank whose launcher was killed would train on, beside the ranks of the next start and into the same folder.
    """
    if not ({PARENT, TORCHRUN} & {*os.environ}) or not sys.platform.startswith("linux"):
        return
    signal_at_parents_end(signal.SIGTERM)
    if os.getppid() == 1 and PARENT in os.environ:  # in a container torchrun itself may be process 1
        # The parent was gone before we asked.
        raise SystemExit("the process that started this one is gone")
