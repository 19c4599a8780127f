"""Whether a safetensors file is whole, by its header and its size, without reading the weights."""

from __future__ import annotations

import json
from pathlib import Path


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


def tensor_names(path: Path) -> list[str]:
    """The names of the file's tensors. Raises OSError or ValueError where it is no safetensors file."""
    head = _header(path)
    return [name for name in json.loads(head or b"{}") if name != "__metadata__"]


def _header(path: Path) -> bytes | None:
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return file.read(length) if 2 <= length <= path.stat().st_size - 8 else None


def _whole_size(path: Path) -> int | None:
    """The size that the header says; None where it is no header."""
    head = _header(path)
    if head is None:
        return None
    length = len(head)
    try:
        ends = [tensor["data_offsets"][1] for name, tensor in json.loads(head).items() if name != "__metadata__"]
        return int(8 + length + max(ends, default=0))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return None
