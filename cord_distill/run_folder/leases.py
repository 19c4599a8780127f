"""Leases on checkpoints: whoever reads one holds it, and only what nobody holds is deleted."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = ".leases"


@contextmanager
def lease(checkpoint: Path) -> Iterator[bool]:
    """Holds `checkpoint` as long as the context lasts; gives False at once when another process holds it.

    A lock of the file system on `.leases/<name>` beside it: the system drops it with its process, so that a killed
    reader blocks nobody. Whoever got it has to look whether the checkpoint is still there.
    """
    place = checkpoint.parent / FOLDER / checkpoint.name
    place.parent.mkdir(exist_ok=True)
    with open(place, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = True
        except BlockingIOError:
            held = False
        yield held


def rotate(output_dir: Path, keep: int | None, best: str | None = None) -> list[Path]:
    """Deletes the oldest checkpoints until `keep` are left, and returns those; None or 0 keeps all.

    The newest and `best` always stay, and one under a lease stays until a later call. A checkpoint is renamed before
    it is deleted: a kill in between leaves nothing that looks complete.
    """
    for half in output_dir.glob(".checkpoint-*.old"):
        shutil.rmtree(half, ignore_errors=True)
    found = sorted(
        (p for p in output_dir.glob("checkpoint-*") if p.is_dir() and p.name.rpartition("-")[2].isdigit()),
        key=lambda p: int(p.name.rpartition("-")[2]),
    )
    protected = {found[-1], *(p for p in found if best and p == Path(best))} if found else set()
    surplus = len(found) - max(keep, len(protected)) if keep else 0
    deleted = []
    for path in [p for p in found if p not in protected][: max(0, surplus)]:
        with lease(path) as held:
            if held:
                old = path.with_name(f".{path.name}.old")
                os.replace(path, old)
                (output_dir / FOLDER / path.name).unlink(missing_ok=True)
                shutil.rmtree(old, ignore_errors=True)
                deleted.append(path)
    return deleted
