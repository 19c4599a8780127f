"""The answers of engines for one problem that is being decoded, in a file that only one process may write.

The process holds a lock of the system on the file, which ends with the process, however it ends: that is its claim on
the problem. Each answer is written before it is used. The file is deleted once the problem's row is on the disk.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import resource
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.files import unwritable
from cord_distill.run_folder.journal_lines import append_line, encoded, parsed

# Open files that the rest of the process may need: engines, servers, graders.
ROOM = 64


def calls_name(problem_id: str) -> str:
    """Returns the file's name: the plain characters of the id, and its hash."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", problem_id)[:40].strip("._-")
    return f"{plain}-{hashlib.sha256(problem_id.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}.jsonl"


class CallsFile:
    """The file of one problem, locked until `discard` or `release`. calls: the answers so far, by request key."""

    def __init__(self, path: Path, problem_id: str, file: int) -> None:
        self.path = path
        self.problem_id = problem_id
        self.calls: dict[str, Any] = {}
        self._file = file
        self._load()

    @classmethod
    def claim(cls, folder: Path, problem_id: str) -> CallsFile | None:
        """Opens and locks the problem's file; None where another process holds it."""
        path = folder / calls_name(problem_id)
        while True:
            file = _opened(path)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                return None
            except OSError as error:
                os.close(file)
                raise CordError(unwritable(path, error)) from None
            # Whoever held it before may have deleted it since it was opened: then this one is nobody's file.
            if _is_at(file, path):
                try:
                    return cls(path, problem_id, file)
                except OSError as error:
                    os.close(file)
                    raise _cannot_open(path, error) from None
            os.close(file)

    def record(self, key: str, value: Any) -> None:
        line = encoded({"p": self.problem_id, "k": key, "v": value})
        try:
            append_line(self._file, line, self.path)
        except CordError as error:
            cause = error.__cause__
            if not (isinstance(cause, OSError) and cause.errno == errno.ESTALE):
                raise
            # Another machine, whose locks do not reach here, finished the problem and deleted the file.
            os.close(self._file)
            self._file = _opened(self.path)
            append_line(self._file, line, self.path)
        self.calls[key] = value

    def discard(self) -> None:
        """Deletes the file: nobody needs these answers any more."""
        self.path.unlink(missing_ok=True)
        self._close()

    def release(self) -> None:
        """Keeps the answers for whoever claims the problem next; a file without any is deleted."""
        if os.fstat(self._file).st_size == 0:
            self.path.unlink(missing_ok=True)
        self._close()

    def _close(self) -> None:
        # A child that was forked meanwhile has the same lock: closing alone would leave it with the child.
        fcntl.flock(self._file, fcntl.LOCK_UN)
        os.close(self._file)

    def _load(self) -> None:
        """Reads every whole line, in any order; a damaged one is an answer that is asked for again."""
        whole = size = 0
        with open(self.path, "rb") as file:
            for line in file:
                size += len(line)
                if line.endswith(b"\n"):
                    whole = size
                entry = parsed(line)
                if entry is not None:
                    self.calls[entry["k"]] = entry["v"]
        if size > whole:
            os.ftruncate(self._file, whole)


def _opened(path: Path) -> int:
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        raise _cannot_open(path, error) from None
    usual, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # One open file for each problem in flight: as many as the system allows, where the usual number would not do.
    if usual - ROOM < file and usual < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return file


def _cannot_open(path: Path, error: OSError) -> CordError:
    if error.errno == errno.EMFILE:
        return CordError(
            "decode.problems_in_flight: each problem in flight needs an open file, and the system allows no more; "
            "raise the number with `ulimit -n`, or lower decode.problems_in_flight"
        )
    return CordError(unwritable(path, error))


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False
