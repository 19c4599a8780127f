"""The journal: an append-only JSONL of engine calls and finished rows, all that a run needs to go on after a kill.

Line 1 says whose journal it is (schema, fingerprint, the recipe keys behind it). Then, per problem `p`: calls
`{"p", "k", "v"}` (key of the request, its answer), each flushed before its answer is used, and at the end of a problem
`{"p", "h", "row"}`, which is fsynced; `h` is the hash of what the problem says. Each line ends with a checksum of
itself (journal_lines.py). A kill loses at most the requests in flight; a power cut may also lose calls since the last
finished problem, which are then made again with the same result.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.files import lock_folder, unwritable
from cord_distill.run_folder import archive
from cord_distill.run_folder.journal_lines import encoded, parsed, row_content

JOURNAL_SCHEMA = 1


class Journal:
    """Open for one process at a time (a lock file beside it).

    inputs: the recipe values that decide the results, by dotted key; a journal of other values is refused. same:
    fingerprints that mean the same inputs (those of earlier versions). beside: files made of this journal, which move
    with it. overwrite: a journal of other inputs is set aside (`stale/`) instead of refused. One of the same inputs
    that lies in `stale/` is brought back in any case: it is the same run.

    Raises CordError: locked by another process, written by another recipe or schema, damaged in the middle.
    """

    def __init__(
        self, path: Path, *, fingerprint: str, inputs: dict[str, Any], same: Sequence[str] = (),
        beside: Sequence[Path] = (), overwrite: bool = False,
    ) -> None:  # fmt: skip
        self.path = path
        self._rows: dict[str, int] = {}
        self._content: dict[str, str | None] = {}
        self._failed: set[str] = set()
        self._calls: dict[str, dict[str, Any]] = {}
        self._lock = lock_folder(path.parent)
        try:
            if os.path.lexists(path) and not path.is_file():
                raise CordError(f"{path}: not a plain file; move it away, or choose another output_dir")
            # Under the lock: what another process writes is never moved away from under it.
            _exchange(path, (fingerprint, *same), beside, overwrite)
            size = self._load((fingerprint, *same), inputs) if os.path.lexists(path) else 0
            # At its end only, whatever the offset: where locks hold on one machine alone, two writers lose nothing.
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            if os.fstat(self._file).st_size != size:
                os.ftruncate(self._file, size)
        except OSError as error:
            os.close(self._lock)
            raise CordError(unwritable(path, error)) from None
        except CordError:
            os.close(self._lock)
            raise
        self._size = size
        # Whether anything was answered before this process.
        self.resumed = bool(self._rows or self._calls)
        if size == 0:
            self._append({"journal": JOURNAL_SCHEMA, "fingerprint": fingerprint, "inputs": inputs, "checked": True})

    def is_finished(self, problem_id: str, content: str | None = None) -> bool:
        """Whether there is a row without an error. content: the hash of what the problem says now (`content_of`); a
        row of another question or answer is none. Rows of old journals that do not say theirs count."""
        return self.has_row(problem_id, content) and problem_id not in self._failed

    def has_row(self, problem_id: str, content: str | None = None) -> bool:
        """Whether the problem came to an end, be it with an error."""
        return problem_id in self._rows and not self.is_other(problem_id, content)

    def is_other(self, problem_id: str, content: str | None) -> bool:
        """Whether there is a row under this id that is of another question or answer."""
        written = self._content.get(problem_id)
        return content is not None and written is not None and written != content

    def calls(self, problem_id: str) -> dict[str, Any]:
        """Answers known for a problem that is not finished, by request key. The caller may drop them with `finish`."""
        return self._calls.setdefault(problem_id, {})

    def record_call(self, problem_id: str, key: str, value: Any) -> None:
        self._append({"p": problem_id, "k": key, "v": value})
        self.calls(problem_id)[key] = value

    def finish(self, problem_id: str, row: dict[str, Any], content: str | None = None) -> None:
        """Writes a problem's row and forgets its calls. A row with an error is tried again by the next run."""
        at = self._size
        self._append({"p": problem_id, "h": content, "row": row})
        try:
            os.fsync(self._file)
        except OSError as error:
            raise CordError(self._lost(error)) from error
        self._rows[problem_id] = at
        self._content[problem_id] = content or row_content(row)
        self._calls.pop(problem_id, None)
        (self._failed.add if row.get("error") else self._failed.discard)(problem_id)

    def rows(self, problems: Sequence[str | tuple[str, str]]) -> Iterator[dict[str, Any]]:
        """The latest row of each problem (its id, or id and content), in this order, read from the disk one by one."""
        with open(self.path, "rb") as file:
            for one in problems:
                problem_id, content = (one, None) if isinstance(one, str) else one
                if self.has_row(problem_id, content):
                    file.seek(self._rows[problem_id])
                    entry = parsed(file.readline())
                    if entry is None or entry.get("p") != problem_id:
                        raise CordError(f"{self.path}: another process wrote into it; run the same command again")
                    yield entry["row"]

    def close(self) -> None:
        os.close(self._file)
        os.close(self._lock)

    def _append(self, entry: dict[str, Any]) -> None:
        line = encoded(entry)
        written = 0
        try:
            if os.fstat(self._file).st_size != self._size:
                raise CordError(
                    f"{self.path}: another process writes into it too (its file system's locks hold on one machine "
                    "alone); what is finished is safe: end one of the two, or choose another output_dir"
                )
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError as error:
            self._cut_back(self._size, written)
            raise CordError(self._lost(error)) from error
        self._size += len(line)

    def _lost(self, error: OSError) -> str:
        said = error.strerror or str(error)
        return f"{self.path}: {said}: what was finished is safe; make room and run the same command again"

    def _cut_back(self, size: int, written: int) -> None:
        """After a failed write the file must end with a whole line; if this fails too, the next start repairs it."""
        try:
            if os.fstat(self._file).st_size == size + written:
                os.ftruncate(self._file, size)
        except OSError as error:
            raise CordError(
                f"{self.path}: {error.strerror}: the last line may be torn; it is repaired on the next run"
            ) from error

    def _load(self, fingerprints: Sequence[str], inputs: dict[str, Any]) -> int:
        """Reads what is there; returns the size of what is kept.

        Damage behind the last finished row (a torn line, a page of zeros after a power cut) is cut off with what
        follows it: calls that are made again. Damage before a finished row is nobody's accident and is refused.
        """
        size = whole = 0
        damaged: int | None = None
        checked = False
        with open(self.path, "rb") as file:
            for number, line in enumerate(file, start=1):
                size += len(line)
                entry = parsed(line, checked=checked)
                if number == 1:
                    self._check_schema(line)
                    if entry is None or "journal" not in entry:
                        self._refuse_foreign(line, alone=size == os.fstat(file.fileno()).st_size)
                        return 0
                    if size == os.fstat(file.fileno()).st_size and entry.get("fingerprint") not in fingerprints:
                        return 0  # a run that failed before its first answer binds nobody
                    self._check_header(entry, fingerprints, inputs)
                    checked = entry.get("checked") is True
                    whole = size
                elif entry is None or "journal" in entry:
                    damaged = damaged or number
                elif damaged is None:
                    self._take(entry, size - len(line))
                    whole = size
                elif "row" in entry:
                    raise CordError(
                        f"{self.path}, line {damaged}: damaged in the middle; move the file away to start anew, or "
                        "cut it before this line to keep what came earlier"
                    )
        return whole

    def _take(self, entry: dict[str, Any], at: int) -> None:
        problem = entry["p"]
        if "row" not in entry:
            self._calls.setdefault(problem, {})[entry["k"]] = entry["v"]
            return
        self._rows[problem] = at
        self._content[problem] = entry.get("h") or row_content(entry["row"])
        if entry["row"].get("error"):
            self._failed.add(problem)
        else:
            self._failed.discard(problem)
            self._calls.pop(problem, None)

    def _refuse_foreign(self, line: bytes, alone: bool) -> None:
        """Raises CordError unless the first line is what a kill or a power cut leaves of our own."""
        begun = b'{"journal":'
        if alone and (line.startswith(begun) or begun.startswith(line) or not line.strip(b"\0")):
            return
        if line.startswith(begun):
            raise CordError(
                f"{self.path}, line 1: damaged, so that nobody knows whose answers these are; move the file away"
            )
        raise CordError(f"{self.path}: not a journal of cord; move the file away, or choose another output_dir")

    def _check_schema(self, line: bytes) -> None:
        try:
            header = json.loads(line)
        except (ValueError, RecursionError):
            return
        if isinstance(header, dict) and header.get("journal", JOURNAL_SCHEMA) != JOURNAL_SCHEMA:
            raise CordError(
                f"{self.path}: a journal of schema {header['journal']!r}, this version writes {JOURNAL_SCHEMA}; "
                "finish it with the version that began it, or pass --overwrite to set it aside and start anew"
            )

    def _check_header(self, header: dict[str, Any], fingerprints: Sequence[str], inputs: dict[str, Any]) -> None:
        if header.get("fingerprint") not in fingerprints:
            before = header.get("inputs")
            before = before if isinstance(before, dict) else {}
            changed = sorted(key for key in {*before, *inputs} if before.get(key, "") != inputs.get(key, ""))
            raise CordError(
                f"{self.path}: made by another recipe; changed since: {', '.join(changed) or 'the models'}. Change "
                "them back, choose another output_dir, or pass --overwrite to set the old results aside and start anew"
            )


def _exchange(path: Path, fingerprints: Sequence[str], beside: Sequence[Path], overwrite: bool) -> None:
    """Brings the journal of these inputs back where it was set aside; sets one of other inputs aside where asked."""
    written = written_fingerprint(path) if os.path.lexists(path) else None
    if written in fingerprints or (written is None and os.path.lexists(path)):
        return
    found = [kept for one in fingerprints if (kept := archive.find(path.parent, one, path.name))]
    if written is not None and not found and not overwrite:
        return  # refused where its header is read, unless nothing was ever answered in it
    if written is not None:
        kept = archive.set_aside([path, *beside], written)
        print(f"the results of the changed recipe are kept in {kept}", file=sys.stderr, flush=True)
    if found:
        archive.bring_back(found[0], path.parent)
        print(f"goes on with what lay in {found[0]}: the same recipe made it", file=sys.stderr, flush=True)


def written_fingerprint(path: Path) -> str | None:
    """The fingerprint in a journal's first line, or None when there is no readable one."""
    try:
        with open(path, "rb") as file:
            return str(json.loads(file.readline())["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
