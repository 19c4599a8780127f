"""One line of a journal: how it is made and appended, with a checksum of itself at its end, and how it is read."""

from __future__ import annotations

import json
import os
import re
import zlib
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError

# Made once: `json.dumps` with options of its own would build an encoder for each line.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_SUM = re.compile(rb',"c":"([0-9a-f]{8})"\}\n\Z')
_LENGTH_OF_SUM = len(b',"c":"01234567"}\n')
# No text of a line holds this: a quotation mark inside a text has a backslash before it.
_ROW = b',"row":'


def encoded(entry: dict[str, Any]) -> bytes:
    """Returns the entry as a line with `"c"` at its end: the CRC-32 of the line without it."""
    body = _encode(entry).encode("utf-8", "surrogatepass")
    return body[:-1] + b',"c":"%08x"}\n' % zlib.crc32(body)


def parsed(line: bytes) -> dict[str, Any] | None:
    """Returns the entry of a line; None where it is torn or damaged."""
    entry: dict[str, Any] | None = json.loads(line) if _is_whole(line) else None
    return entry


def row_head(line: bytes) -> dict[str, Any] | None:
    """Returns what stands before the row in a line; the row itself, which is long, is not parsed.

    None where the line is torn, damaged, or holds no row.
    """
    cut = line.find(_ROW)
    head: dict[str, Any] | None = json.loads(line[:cut] + b"}") if cut >= 0 and _is_whole(line) else None
    return head


def append_line(file: int, line: bytes, path: Path) -> None:
    """Writes a whole line at the end of an open file, or none. Raises CordError, e.g. where the disk is full."""
    size = os.fstat(file).st_size
    written = 0
    try:
        while written < len(line):
            written += os.write(file, line[written:])
    except OSError as error:
        _cut_back(file, size, written, path)
        raise CordError(lost(path, error)) from error


def lost(path: Path, error: OSError) -> str:
    """Returns the sentence for an answer or a row that could not be written."""
    said = error.strerror or str(error)
    return f"{path}: {said}: what was finished is safe; make room and run the same command again"


def _cut_back(file: int, size: int, written: int, path: Path) -> None:
    """After a failed write the file must end with a whole line; if this fails too, the next start repairs it."""
    try:
        if os.fstat(file).st_size == size + written:
            os.ftruncate(file, size)
    except OSError as error:
        raise CordError(
            f"{path}: {error.strerror}: the last line may be torn; it is repaired on the next run"
        ) from error


def _is_whole(line: bytes) -> bool:
    """Whether the line is what the checksum at its end says."""
    found = _SUM.match(line, max(0, len(line) - _LENGTH_OF_SUM))
    if found is None:
        return False
    return int(found[1], 16) == zlib.crc32(b"}", zlib.crc32(memoryview(line)[: found.start()]))
