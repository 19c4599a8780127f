"""How many parameters a folder's weights hold, from the headers of its safetensors files: for `cord check`."""

from __future__ import annotations

import math
from pathlib import Path

from cord_distill.common.weights_file import tensors


def stored_parameters(folder: Path) -> int | None:
    """The elements of all tensors in the folder's safetensors files; None without one, or where one cannot be read."""
    try:
        headers = [tensors(path) for path in sorted(folder.glob("*.safetensors"))]
        return sum(math.prod(tensor["shape"]) for header in headers for tensor in header.values()) if headers else None
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
