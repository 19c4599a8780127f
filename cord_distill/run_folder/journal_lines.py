"""One line of a journal: how it is written, with a checksum of itself at its end, and how it is read.

Journals of earlier versions have lines without a checksum; they are read as they are.
"""

from __future__ import annotations

import json
import re
import zlib
from typing import Any

from cord_distill.types import content_of

# Made once: `json.dumps` with options of its own would build an encoder for each line.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_SUM = re.compile(rb',"c":"([0-9a-f]{8})"\}\n\Z')


def encoded(entry: dict[str, Any]) -> bytes:
    """The entry as a line, `"c"` last: the CRC-32 of the line without it."""
    body = _encode(entry).encode("utf-8", "surrogatepass")
    return body[:-1] + b',"c":"%08x"}\n' % zlib.crc32(body)


def parsed(line: bytes, *, checked: bool = False) -> dict[str, Any] | None:
    """The entry of a line; None where it is torn, damaged, or nothing that a journal holds.

    checked: the journal's header says that every line has a checksum.
    """
    found = _SUM.search(line)
    if found is None and (checked or not line.endswith(b"\n")):
        return None
    if found is not None and int(found[1], 16) != zlib.crc32(line[: found.start()] + b"}"):
        return None
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and _has_its_parts(entry) else None


def _has_its_parts(entry: dict[str, Any]) -> bool:
    if "journal" in entry:
        return True
    if not isinstance(entry.get("p"), str):
        return False
    return isinstance(entry["row"], dict) if "row" in entry else isinstance(entry.get("k"), str) and "v" in entry


def row_content(row: dict[str, Any]) -> str | None:
    """`content_of` the problem in a trajectory row; None for a row that does not hold its problem."""
    problem = row.get("problem")
    if not isinstance(problem, dict) or not isinstance(problem.get("question"), str):
        return None
    return content_of(problem["question"], problem.get("answer"), problem.get("meta") or {})
