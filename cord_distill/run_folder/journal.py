"""The journal: a folder with all that a run needs to go on after a kill, for any number of processes at once.

- `header.json` says whose it is (schema, fingerprint, the recipe keys behind it).
- `open/<problem>.jsonl` holds the answers for a problem that is being decoded, each written before it is used. Whoever
  decodes the problem holds a lock on the file, so no other process does; the file goes when the row is on the disk.
- `rows/<machine>.jsonl` holds the finished rows of one writer, each fsynced.

Each line ends with a checksum of itself (journal_lines.py). A kill loses at most the requests in flight; a power cut
may also lose answers for open problems, which are then asked for again with the same result.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError, Taken
from cord_distill.common.files import lock_folder, unwritable
from cord_distill.run_folder import archive
from cord_distill.run_folder.calls_file import CallsFile, calls_name
from cord_distill.run_folder.journal_header import FILE, Header
from cord_distill.run_folder.row_files import RowFiles
from cord_distill.types import Problem

ROWS, OPEN, FIGURES = "rows", "open", "figures"
# Beside the journal: held in turn, for moments, by who opens it or makes files of all its rows.
TURN = ".turn.lock"


class Claim(enum.Enum):
    """Whose a problem is: this process's, nobody's any more, or another process's."""

    OURS = enum.auto()
    FINISHED = enum.auto()
    HELD = enum.auto()


class Journal:
    """The journal, open for this process beside others. alone: no other process may have it open.

    inputs: the recipe values that decide the results, by dotted key; a journal of other values is refused. beside:
    files made of this journal, which move with it. overwrite: a journal of other inputs is set aside (`stale/`) instead
    of refused. One of the same inputs that lies in `stale/` is brought back in any case: it is the same run.

    Raises CordError: written by another recipe or schema, damaged in the middle; Taken: another process is at work here
    whose results would have to move.
    """

    def __init__(
        self, path: Path, *, fingerprint: str, inputs: dict[str, Any], beside: Sequence[Path] = (),
        overwrite: bool = False, alone: bool = False,
    ) -> None:  # fmt: skip
        self.path = path
        self.fingerprint = fingerprint
        # Rows that this process wrote.
        self.written = 0
        self._claimed: dict[str, CallsFile] = {}
        self._rows = RowFiles(path / ROWS)
        header = Header(fingerprint, inputs)
        with _turn(path.parent):
            # Whether nobody else was at work when this process came.
            self._lock, self.first = _joined(path.parent, alone)
            try:
                if self.first:
                    # What another process writes is never moved away from under it.
                    _exchange(path, header, beside, overwrite)
                elif overwrite and not header.is_of(path):
                    raise Taken(
                        f"{path.parent}: another process is working in this run folder, so that its results cannot be "
                        "set aside; wait for it or choose another output_dir"
                    )
                _check_whose(path, header, may_write=self.first)
                self._rows.refresh(strict=True)
                if not alone:
                    fcntl.flock(self._lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BaseException as error:
                os.close(self._lock)
                if isinstance(error, OSError):
                    raise CordError(unwritable(path, error)) from None
                raise
        # How many rows with an error were there before this run, by problem. A driver begins later than the command
        # that it belongs to, which tells it.
        self.failures_before = self._rows.failures.copy()
        # Whether anything was answered before this process.
        self.resumed = _has_answers(path)

    def is_finished(self, problem: Problem) -> bool:
        """Whether the problem, as it reads now, has a row without an error."""
        place = self._rows.find(problem)
        return place is not None and not place.failed

    def has_row(self, problem: Problem) -> bool:
        """Whether the problem came to an end, be it with an error."""
        return self._rows.find(problem) is not None

    def edited(self, problems: Iterable[Problem]) -> int:
        """How many of these problems have rows of another question or answer alone."""
        known = self._rows.failed_by_id()
        return sum(problem.id in known and not self.has_row(problem) for problem in problems)

    def claim(self, problem: Problem) -> Claim:
        """Takes the problem for this process, if no other has it or has finished it, be it with an error, since this
        one began."""
        if problem.id in self._claimed:
            return Claim.OURS
        calls = CallsFile.claim(self.path / OPEN, problem.id)
        # A row is written before the claim is given up, so this finds it where the claim was to be had.
        self._rows.refresh()
        finished = self.is_finished(problem)
        if finished or self._rows.failures[problem.id] > self.failures_before[problem.id]:
            if calls is not None:
                (calls.discard if finished else calls.release)()
            return Claim.FINISHED
        if calls is None:
            return Claim.HELD
        self._claimed[problem.id] = calls
        return Claim.OURS

    def is_held(self, problem: Problem) -> bool:
        """Whether another process decodes it at this moment."""
        if problem.id in self._claimed or not (self.path / OPEN / calls_name(problem.id)).exists():
            return False
        calls = CallsFile.claim(self.path / OPEN, problem.id)
        if calls is not None:
            calls.release()
        return calls is None

    def calls(self, problem_id: str) -> dict[str, Any]:
        """Answers known for a problem that this process decodes, by request key. Raises Taken where another does."""
        if problem_id not in self._claimed:
            calls = CallsFile.claim(self.path / OPEN, problem_id)
            if calls is None:
                raise Taken(f"{self.path}: another process decodes {problem_id}; wait for it, or end it")
            self._claimed[problem_id] = calls
        return self._claimed[problem_id].calls

    def record_call(self, problem_id: str, key: str, value: Any) -> None:
        """Writes an answer for a problem that this process decodes."""
        self.calls(problem_id)
        self._claimed[problem_id].record(key, value)

    def finish(self, problem: Problem, row: dict[str, Any]) -> None:
        """Writes a problem's row and forgets its calls. A row with an error is tried again by the next run, from the
        same calls."""
        self._rows.append(problem, row)
        self.written += 1
        calls = self._claimed.pop(problem.id, None)
        if calls is not None:
            (calls.release if row.get("error") else calls.discard)()

    def rows(self, problems: Iterable[Problem]) -> Iterator[dict[str, Any]]:
        """Yields the row that counts of each problem that has one, in this order."""
        return self._rows.rows(problems)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Lets one process at a time make files of all rows, with what the others have written."""
        with _turn(self.path.parent):
            self._rows.refresh()
            yield

    def close(self) -> None:
        for calls in self._claimed.values():
            calls.release()
        self._claimed.clear()
        self._rows.close()
        os.close(self._lock)


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    lock = lock_folder(folder, TURN, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(lock)


def _joined(folder: Path, alone: bool) -> tuple[int, bool]:
    """Locks the folder, alone where no other process has it open, else shared; returns the lock and whether it is
    alone."""
    try:
        return lock_folder(folder), True
    except Taken:
        if alone:
            raise
        return lock_folder(folder, how=fcntl.LOCK_SH | fcntl.LOCK_NB), False


def _exchange(path: Path, header: Header, beside: Sequence[Path], overwrite: bool) -> None:
    """Brings the journal of these inputs back where it was set aside; sets one of other inputs aside where asked."""
    here = Header.read(path)
    if header.is_of(path) or (here is None and os.path.lexists(path)):
        return
    back = archive.find(path.parent, header.fingerprint, path.name)
    if here:
        if not back and not overwrite:
            return  # refused by _check_whose, unless nothing was ever answered in it
        kept = archive.set_aside([path, *beside], here.fingerprint)
        print(f"the results of the changed recipe are kept in {kept}", file=sys.stderr, flush=True)
    if back:
        archive.bring_back(back, path.parent)
        print(f"goes on with what lay in {back}: the same recipe made it", file=sys.stderr, flush=True)


def _check_whose(path: Path, header: Header, *, may_write: bool) -> None:
    """Makes the folder where there is none. Raises CordError where it is another recipe's, or no journal."""
    if header.is_of(path):
        return
    found, answers = Header.read(path), _has_answers(path)
    if found is None:
        _refuse_foreign(path, answers)
    elif answers:
        changed = ", ".join(header.changed(found)) or "the models"
        raise CordError(
            f"{path}: made by another recipe; changed since: {changed}. Change them back, choose another "
            "output_dir, or pass --overwrite to set the old results aside and start anew"
        )
    # Nothing was ever answered here, so it is no other recipe's.
    if not may_write:
        raise Taken(f"{path}: another process is beginning another recipe here; choose another output_dir")
    for name in (ROWS, OPEN, FIGURES):
        (path / name).mkdir(parents=True, exist_ok=True)
    header.write(path)


def _refuse_foreign(path: Path, answers: bool) -> None:
    """Raises CordError unless the folder, whose header cannot be read, is what a killed process leaves of a journal."""
    if os.path.lexists(path) and not path.is_dir():
        raise CordError(f"{path}: not a folder; move it away, or choose another output_dir")
    ours = {FILE, ROWS, OPEN, FIGURES}
    if path.is_dir() and any(name not in ours and not name.startswith(".") for name in os.listdir(path)):
        raise CordError(f"{path}: not a journal of cord; move it away, or choose another output_dir")
    if answers:
        raise CordError(
            f"{path / FILE}: missing, damaged or of another version of cord, so that nobody knows whose answers these "
            f"are; move {path.name}/ away"
        )


def _has_answers(path: Path) -> bool:
    return any(file.stat().st_size for name in (ROWS, OPEN) for file in (path / name).glob("*.jsonl"))
