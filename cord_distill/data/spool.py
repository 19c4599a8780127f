"""Lines that arrive in any order and are written by id: a file on disk holds them meanwhile, not the memory."""

from __future__ import annotations

import hashlib
import json
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from cord_distill.common.files import replacing


class Spool(AbstractContextManager["Spool"]):
    """Holds the rows of a data set in a temporary file, as a context manager; `write` puts them in the order of their
    ids."""

    def __init__(self, folder: Path) -> None:
        self._file: Any = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._places: dict[tuple[str, int], tuple[int, int]] = {}

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._places)

    def add(self, id: str, row: dict[str, Any], times: int = 1) -> None:
        """A line under `id`, which is written `times` times. A later one of the same id takes its place."""
        line = (json.dumps(row, ensure_ascii=False) + "\n").encode()
        self._places |= {(id, copy): (self._file.tell(), len(line)) for copy in range(times)}
        self._file.write(line)

    def write(self, path: Path) -> str:
        """Writes all lines to `path`, which is replaced as a whole; returns the sha256 of the file."""
        digest = hashlib.sha256()
        with replacing(path) as out:
            for _, (start, length) in sorted(self._places.items()):
                self._file.seek(start)
                line = self._file.read(length)
                digest.update(line)
                out.write(line)
        return digest.hexdigest()
