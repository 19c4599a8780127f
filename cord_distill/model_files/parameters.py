"""How many parameters a folder's weights hold, from the headers of its safetensors files: for `cord check`."""

from __future__ import annotations

import json
import math
from pathlib import Path


def stored_parameters(folder: Path) -> int | None:
    """The elements of all tensors in the folder's safetensors files; None without one, or where one cannot be read."""
    try:
        headers = [_header(path) for path in sorted(folder.glob("*.safetensors"))]
        return sum(math.prod(tensor["shape"]) for header in headers for tensor in header.values()) if headers else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def _header(path: Path) -> dict[str, dict[str, list[int]]]:
    """The tensors by name: the file begins with the length of a JSON object in 8 bytes."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError("longer than the file")
        found: dict[str, dict[str, list[int]]] = json.loads(file.read(length))
    found.pop("__metadata__", None)
    return found
