"""One training process: `python -m cord_distill.worlds.ledger.worker FD [PEER_FD]`, started by `build`.

Jobs come in through the pipe FD, reports go out. A parent or peer that is gone ends the process at its next message.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from cord_distill.worlds.ledger import net
from cord_distill.worlds.ledger.plan import BASE, STAMP, Plan
from cord_distill.worlds.ledger.train import train

_GONE = (EOFError, BrokenPipeError, ConnectionResetError)


def serve(parent: Connection, peer: Connection | None) -> None:
    """Train what `parent` sends as (name, folder, plan, rank or None) until it sends None.

    Sends (name, n) for n examples done, (name, "done") at the end of a job, (name, traceback) if it failed.
    """
    for name, folder, plan, rank in iter(parent.recv, None):
        try:
            start = None if name == BASE else net.load(folder / BASE)
            together = peer if rank is not None else None

            def report(n: int, name: str = name) -> None:
                parent.send((name, n))

            flat = train(name, start, plan, report, together, rank or 0)
            if not rank:
                write(flat, folder, name, plan)
            parent.send((name, "done"))
        except _GONE:
            raise
        except Exception:
            parent.send((name, traceback.format_exc()))


def write(flat: torch.Tensor, folder: Path, name: str, plan: Plan) -> None:
    """Save into a hidden folder first, then rename: a model folder that exists is complete."""
    hidden, final = folder / f".tmp-{name.lstrip('.')}", folder / name
    hidden.mkdir()
    net.save(flat, hidden)
    (hidden / STAMP).write_text(plan.stamp())
    if final.exists():  # of another plan: build_models has checked that it is one of ours
        shutil.rmtree(final)
    hidden.rename(final)


if __name__ == "__main__":
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers itself
    with contextlib.suppress(*_GONE):
        serve(*[Connection(int(fd)) for fd in sys.argv[1:3]], *[None] * (3 - len(sys.argv)))
