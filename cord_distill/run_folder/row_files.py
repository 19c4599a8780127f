"""The finished rows of a run: one append-only file per writer, and where in them each problem's row stands.

A line is `{"p", "h", "failed", "row", "c"}`: the problem's id, the hash of what it says, whether it ended with an
error. Looking rows up parses no row; the texts stay on the disk.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import socket
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple

from cord_distill.common.errors import CordError
from cord_distill.common.files import unwritable
from cord_distill.run_folder.journal_lines import append_line, encoded, lost, parsed, row_head
from cord_distill.types import Problem


class RowPlace(NamedTuple):
    """Where one row stands. failed: it has an error."""

    failed: bool
    file: str
    at: int


class RowFiles:
    """All rows in a folder, and this process's own file there, which it makes when it has something to write.

    Of several rows of one problem (its id and what it says) the first one without an error counts, in the order of the
    files' names and of the lines; where all have errors, the last one. So every process comes to the same row.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # How many rows with an error were seen, by problem.
        self.failures: Counter[str] = Counter()
        # By the problem's id and the hash of what it says.
        self._places: dict[tuple[str, str], RowPlace] = {}
        self._read: dict[str, int] = {}
        self._own: int | None = None
        self._own_name = ""

    def find(self, problem: Problem) -> RowPlace | None:
        """Finds the row that counts of this problem, as it reads now."""
        return self._places.get((problem.id, problem.content))

    def failed_by_id(self) -> dict[str, bool]:
        """Returns, for the id of each problem that has a row, whether all its rows have errors."""
        found: dict[str, bool] = {}
        for (problem_id, _), place in self._places.items():
            found[problem_id] = place.failed and found.get(problem_id, True)
        return found

    def refresh(self, *, strict: bool = False) -> None:
        """Reads what was written to every file since the last call. strict: raises CordError on damage with rows behind
        it; without it such a place is left for later, since another machine may not see yet all of what was
        written."""
        for name in sorted(os.listdir(self.folder)):
            if name.endswith(".jsonl") and name != self._own_name:
                self._read_on(name, strict)

    def append(self, problem: Problem, row: dict[str, Any]) -> None:
        """Writes a row to this process's file; it is on the disk when this returns."""
        if self._own is None:
            self._own = self._open_own()
        path, at = self.folder / self._own_name, self._read[self._own_name]
        if os.fstat(self._own).st_size != at:
            raise CordError(
                f"{path}: another process writes into it too (its file system's locks hold on one machine alone, and "
                "another machine has the same name); what is finished is safe: run the same command again"
            )
        failed, content = bool(row.get("error")), problem.content
        line = encoded({"p": problem.id, "h": content, "failed": failed, "row": row})
        append_line(self._own, line, path)
        try:
            os.fsync(self._own)
        except OSError as error:
            raise CordError(lost(path, error)) from error
        self._read[self._own_name] = at + len(line)
        self._add(problem.id, content, RowPlace(failed, self._own_name, at))

    def rows(self, problems: Iterable[Problem]) -> Iterator[dict[str, Any]]:
        """Yields the row that counts of each problem, in this order; a problem without one is left out."""
        with ExitStack() as opened:
            files: dict[str, IO[bytes]] = {}
            for problem in problems:
                place = self.find(problem)
                if place is None:
                    continue
                if place.file not in files:
                    files[place.file] = opened.enter_context(open(self.folder / place.file, "rb"))
                files[place.file].seek(place.at)
                entry = parsed(files[place.file].readline())
                if entry is None or entry["p"] != problem.id:
                    raise CordError(
                        f"{self.folder / place.file}: changed by another process; run the same command again"
                    )
                yield entry["row"]

    def close(self) -> None:
        if self._own is not None:
            os.close(self._own)

    def _add(self, problem_id: str, content: str, place: RowPlace) -> None:
        if place.failed:
            self.failures[problem_id] += 1
        known = self._places.get((problem_id, content), place)
        # A place without an error is less than one with an error.
        counts = max if known.failed and place.failed else min
        self._places[problem_id, content] = counts(known, place)

    def _read_on(self, name: str, strict: bool) -> None:
        path = self.folder / name
        at = done = self._read.get(name, 0)
        if os.stat(path).st_size <= done:
            return
        damaged: int | None = None
        with open(path, "rb", buffering=1 << 20) as file:
            file.seek(done)
            for number, line in enumerate(file, start=1):
                head = row_head(line)
                if head is None:
                    damaged = damaged or number
                elif damaged is None:
                    self._add(head["p"], head["h"], RowPlace(head["failed"], name, at))
                    self._read[name] = at + len(line)
                elif strict:
                    raise CordError(
                        f"{path}, line {damaged}: damaged in the middle; move the file away to decode its problems "
                        "again, or take this line out to decode only this one again"
                    )
                else:
                    return
                at += len(line)

    def _open_own(self) -> int:
        """Opens the first file of this machine's name that no process holds, and cuts a torn line off its end."""
        host = re.sub(r"[^A-Za-z0-9._-]+", "_", socket.gethostname().partition(".")[0]) or "host"
        for number in itertools.count(1):
            name = f"{host}.jsonl" if number == 1 else f"{host}-{number}.jsonl"
            try:
                file = os.open(self.folder / name, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(file)
                    continue
                self._read_on(name, strict=True)
                self._own_name, size = name, self._read.setdefault(name, 0)
                if os.fstat(file).st_size > size:
                    os.ftruncate(file, size)
                folder = os.open(self.folder, os.O_RDONLY)
                os.fsync(folder)  # so that a new file is still there after a power cut
                os.close(folder)
                return file
            except OSError as error:
                raise CordError(unwritable(self.folder / name, error)) from None
        raise AssertionError
