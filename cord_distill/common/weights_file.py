"""Reads the header of a safetensors file: which tensors it holds, and whether the file is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def weights_fault(path: Path) -> str | None:
    """Why the file is not whole, None where it is."""
    try:
        size, whole = path.stat().st_size, _whole_size(path)
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"
    if whole is None:
        return f"{path.name} ({size:,} bytes) is no safetensors file: half copied, damaged, or a pointer of git-lfs"
    return None if size == whole else f"{path.name} has {size:,} bytes of {whole:,}: it was half copied"


def is_cut_off(path: Path) -> bool:
    """Whether the file has a header and fewer bytes than that says: a save that a power cut left behind."""
    whole = _whole_size(path)
    return whole is not None and path.stat().st_size < whole


def tensors(path: Path) -> dict[str, dict[str, Any]]:
    """What the header says of each tensor: its `dtype`, `shape` and `data_offsets`.

    Raises OSError or ValueError where it is no safetensors file.
    """
    return _header(path)[1]


def _header(path: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """(its length, the tensors by name): the file begins with the length of a JSON object in 8 bytes."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= path.stat().st_size - 8:
            raise ValueError(f"{path.name} has no header")
        try:
            found = json.loads(file.read(length))
        except RecursionError:
            raise ValueError(f"{path.name}: its header is nested too deep") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path.name}: its header is no object")
    found.pop("__metadata__", None)
    return length, found


def _whole_size(path: Path) -> int | None:
    """The size that the header says; None where it is no header."""
    try:
        length, found = _header(path)
        return int(8 + length + max((tensor["data_offsets"][1] for tensor in found.values()), default=0))
    except (ValueError, KeyError, TypeError, IndexError):
        return None
