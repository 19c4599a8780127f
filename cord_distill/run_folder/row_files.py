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
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple

from cord_distill.common.errors import CordError
from cord_distill.common.files import unwritable
from cord_distill.run_folder.journal_lines import append_line, encoded, lost, parsed, row_head


class Place(NamedTuple):
    """Where one row stands."""

    content: str | None
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
        self._places: dict[str, tuple[Place, ...]] = {}
        self._read: dict[str, int] = {}
        self._own: int | None = None
        self._own_name = ""

    def __len__(self) -> int:
        return len(self._places)

    def ids(self) -> Iterator[str]:
        return iter(self._places)

    def find(self, problem_id: str, content: str | None = None) -> Place | None:
        """The row that counts. content: the hash of what the problem says now; a row that does not say its own fits."""
        fitting = [
            place
            for place in self._places.get(problem_id, ())
            if content is None or place.content is None or place.content == content
        ]
        return max(fitting, key=lambda p: (p.content == content, not p.failed, p.file, p.at), default=None)

    def has_any(self, problem_id: str) -> bool:
        return problem_id in self._places

    def refresh(self, *, strict: bool = False) -> None:
        """Reads on in every file, other writers' too. strict: raises CordError on damage with rows behind it; without
        it such a place is left for later, since another machine may not see yet all of what was written."""
        for name in sorted(os.listdir(self.folder)):
            if name.endswith(".jsonl") and name != self._own_name:
                self._read_on(name, strict)

    def append(self, problem_id: str, row: dict[str, Any], content: str | None) -> None:
        """Writes a row behind this process's others, on the disk when it returns."""
        if self._own is None:
            self._own = self._open_own()
        path, at = self.folder / self._own_name, self._read[self._own_name]
        if os.fstat(self._own).st_size != at:
            raise CordError(
                f"{path}: another process writes into it too (its file system's locks hold on one machine alone, and "
                "another machine has the same name); what is finished is safe: run the same command again"
            )
        failed = bool(row.get("error"))
        line = encoded({"p": problem_id, "h": content, "failed": failed, "row": row})
        append_line(self._own, line, path)
        try:
            os.fsync(self._own)
        except OSError as error:
            raise CordError(lost(path, error)) from error
        self._read[self._own_name] = at + len(line)
        self._add(problem_id, Place(content, failed, self._own_name, at))

    def rows(self, problems: Sequence[str | tuple[str, str]]) -> Iterator[dict[str, Any]]:
        """The row that counts of each problem (its id, or id and content), in this order, read one by one."""
        with ExitStack() as opened:
            files: dict[str, IO[bytes]] = {}
            for one in problems:
                problem_id, content = (one, None) if isinstance(one, str) else one
                place = self.find(problem_id, content)
                if place is None:
                    continue
                if place.file not in files:
                    files[place.file] = opened.enter_context(open(self.folder / place.file, "rb"))
                files[place.file].seek(place.at)
                entry = parsed(files[place.file].readline(), checked=True)
                if entry is None or entry.get("p") != problem_id:
                    raise CordError(
                        f"{self.folder / place.file}: changed by another process; run the same command again"
                    )
                yield entry["row"]

    def close(self) -> None:
        if self._own is not None:
            os.close(self._own)

    def _add(self, problem_id: str, place: Place) -> None:
        if place.failed:
            self.failures[problem_id] += 1
        known = self._places.get(problem_id, ())
        same = next((p for p in known if p.content == place.content), None)
        if same is not None:
            if same.failed and place.failed:
                place = max(same, place, key=lambda p: (p.file, p.at))
            elif same.failed or place.failed:
                place = place if same.failed else same
            else:
                place = min(same, place, key=lambda p: (p.file, p.at))
        self._places[problem_id] = (*(p for p in known if p is not same), place)

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
                    self._add(head["p"], Place(head.get("h"), bool(head.get("failed")), name, at))
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
        """The first file of this machine's name that no process holds, mended at its end."""
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
