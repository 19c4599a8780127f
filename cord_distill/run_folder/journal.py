"""The journal: an append-only JSONL of engine calls and finished rows, all that a run needs to go on after a kill.

Line 1 says whose journal it is (schema, fingerprint, the recipe keys behind it). Then, per problem `p`: calls
`{"p", "k", "v"}` (key of the request, its answer), each flushed before its answer is used, and at the end of a problem
`{"p", "row"}`, which is fsynced. A kill loses at most the requests in flight; a power cut may also lose calls since the
last finished problem, which are then made again with the same result.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.files import _unwritable, lock_folder

JOURNAL_SCHEMA = 1
# Made once: `json.dumps` with options of its own would build an encoder for each line.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Journal:
    """Open for one process at a time (a lock file beside it).

    inputs: the recipe values that decide the results, by dotted key; a journal of other values is refused.
    Raises CordError: locked by another process, written by another recipe or schema, damaged in the middle.
    """

    def __init__(self, path: Path, *, fingerprint: str, inputs: dict[str, Any]) -> None:
        self.path = path
        self._rows: dict[str, int] = {}
        self._failed: set[str] = set()
        self._calls: dict[str, dict[str, Any]] = {}
        self._lock = lock_folder(path.parent)
        try:
            size = self._load(fingerprint, inputs) if path.exists() else 0
            # Unbuffered: a line that could not be written leaves nothing behind that a later flush would write.
            self._file = open(path, "r+b" if path.exists() else "w+b", buffering=0)  # noqa: SIM115
        except OSError as error:
            os.close(self._lock)
            raise CordError(_unwritable(path, error)) from None
        except CordError:
            os.close(self._lock)
            raise
        self._file.truncate(size)
        self._file.seek(size)
        self._size = size
        if size == 0:
            self._append({"journal": JOURNAL_SCHEMA, "fingerprint": fingerprint, "inputs": inputs})

    def is_finished(self, problem_id: str) -> bool:
        return problem_id in self._rows and problem_id not in self._failed

    def has_row(self, problem_id: str) -> bool:
        """Whether the problem came to an end, be it with an error."""
        return problem_id in self._rows

    def calls(self, problem_id: str) -> dict[str, Any]:
        """Answers known for a problem that is not finished, by request key. The caller may drop them with `finish`."""
        return self._calls.setdefault(problem_id, {})

    def record_call(self, problem_id: str, key: str, value: Any) -> None:
        self._append({"p": problem_id, "k": key, "v": value})
        self.calls(problem_id)[key] = value

    def finish(self, problem_id: str, row: dict[str, Any]) -> None:
        """Writes a problem's row and forgets its calls. A row with an error is tried again by the next run."""
        self._rows[problem_id] = self._size
        self._append({"p": problem_id, "row": row})
        os.fsync(self._file.fileno())
        self._calls.pop(problem_id, None)
        (self._failed.add if row.get("error") else self._failed.discard)(problem_id)

    def rows(self, problem_ids: list[str]) -> Iterator[dict[str, Any]]:
        """The latest row of each problem, in this order, read from the disk one at a time."""
        with open(self.path, "rb") as file:
            for problem_id in problem_ids:
                if problem_id in self._rows:
                    file.seek(self._rows[problem_id])
                    yield json.loads(file.readline())["row"]

    def close(self) -> None:
        self._file.close()
        os.close(self._lock)

    def _append(self, entry: dict[str, Any]) -> None:
        line = _encode(entry).encode("utf-8", "surrogatepass") + b"\n"
        try:
            left = memoryview(line)
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            self._cut_back(self._size)
            raise CordError(
                f"{self.path}: {error.strerror or error}: what was finished is safe; make room and run the same "
                "command again"
            ) from error
        self._size += len(line)

    def _cut_back(self, size: int) -> None:
        """After a failed write the file must end with a whole line; if this fails too, the next start repairs it."""
        try:
            os.ftruncate(self._file.fileno(), size)
        except OSError as error:
            raise CordError(
                f"{self.path}: {error.strerror}: the last line may be torn; it is repaired on the next run"
            ) from error

    def _load(self, fingerprint: str, inputs: dict[str, Any]) -> int:
        """Reads what is there; returns the size without a torn last line."""
        size = 0
        with open(self.path, "rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    entry = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    entry = None
                if entry is None:
                    if file.read(1):
                        raise CordError(
                            f"{self.path}, line {number}: damaged in the middle; move the file away to start anew, or "
                            "cut it before this line to keep what came earlier"
                        )
                    return size
                if number == 1:
                    if len(line) == self.path.stat().st_size and entry.get("fingerprint") != fingerprint:
                        return 0  # a run that failed before its first answer binds nobody
                    self._check_header(entry, fingerprint, inputs)
                elif "row" in entry:
                    self._rows[entry["p"]] = size
                    (self._failed.add if entry["row"].get("error") else self._failed.discard)(entry["p"])
                    if not entry["row"].get("error"):
                        self._calls.pop(entry["p"], None)
                else:
                    self._calls.setdefault(entry["p"], {})[entry["k"]] = entry["v"]
                size += len(line)
        return size

    def _check_header(self, header: dict[str, Any], fingerprint: str, inputs: dict[str, Any]) -> None:
        if header.get("journal") != JOURNAL_SCHEMA:
            raise CordError(
                f"{self.path}: a journal of schema {header.get('journal')!r}, this version writes {JOURNAL_SCHEMA}; "
                "finish it with the version that began it, or pass --overwrite to set it aside and start anew"
            )
        if header["fingerprint"] != fingerprint:
            changed = sorted(
                key for key in {*header["inputs"], *inputs} if header["inputs"].get(key, "") != inputs.get(key, "")
            )
            raise CordError(
                f"{self.path}: made by another recipe; changed since: {', '.join(changed) or 'the models'}. Change "
                "them back, choose another output_dir, or pass --overwrite to set the old results aside and start anew"
            )


def written_fingerprint(path: Path) -> str | None:
    """The fingerprint in a journal's first line, or None when there is no readable one."""
    try:
        with open(path, "rb") as file:
            return str(json.loads(file.readline())["fingerprint"])
    except (OSError, ValueError, KeyError):
        return None
