"""Writes files so that a reader never sees half of one, and locks folders."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from cord_distill.common.errors import CordError, Taken


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file beside `path` that takes its place once it is written: a reader sees the old or the new, never a half.

    What killed processes of this machine left beside it is removed. Raises CordError: disk full, no right to write.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CordError(unwritable(path, error)) from error
    host = socket.gethostname().partition(".")[0]
    for left in path.parent.glob(f".{glob.escape(path.name)}.{glob.escape(host)}.*.tmp"):
        if not _alive(left.name.split(".")[-2]):
            left.unlink(missing_ok=True)
    beside = path.with_name(f".{path.name}.{host}.{os.getpid()}.tmp")
    try:
        with open(beside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        if error.filename not in (None, str(beside)):
            raise
        raise CordError(unwritable(path, error)) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def write_atomic(path: Path, text: str) -> None:
    """Writes a text as `replacing` does: a reader sees the old file or the whole new one."""
    with replacing(path) as file:
        file.write(text.encode())


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError):
        return True
    return True


def lock_folder(folder: Path, name: str = ".lock", how: int = fcntl.LOCK_EX | fcntl.LOCK_NB) -> int:
    """Takes the folder's lock for this process; gives the file descriptor to close. Raises Taken (a CordError).

    how: alone and at once, unless other flags of `flock` are given.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise CordError(unwritable(folder, error)) from None
    try:
        fcntl.flock(lock, how)
    except BlockingIOError:
        os.close(lock)
        raise Taken(
            f"{folder}: another process is working in this run folder; wait for it or choose another output_dir"
        ) from None
    except OSError as error:
        os.close(lock)
        raise CordError(
            f"{folder}: its file system cannot lock files ({error.strerror}); mount it with locks (Lustre: -o flock), "
            "or choose an output_dir elsewhere"
        ) from None
    return lock


def unwritable(path: Path, error: OSError) -> str:
    """The sentence for what could not be written."""
    return f"{path}: cannot be written: {error.strerror}; free it or choose another output_dir"
