"""Reads the headers of a folder's safetensors files: the modules, and the number of the parameters."""

from __future__ import annotations

import math
from pathlib import Path

from cord_distill.common.jsonl import read_object
from cord_distill.common.weights_file import tensors


def module_names(folder: Path) -> frozenset[str]:
    """The dotted names of the modules that have weights; empty where no file says them."""
    index = folder / "model.safetensors.index.json"
    try:
        if index.is_file():
            names = list((read_object(index) or {})["weight_map"])
        else:
            names = [name for file in folder.glob("*.safetensors") for name in tensors(file)]
    except (OSError, ValueError, KeyError, TypeError):  # look.py says what is wrong with the files
        return frozenset()
    return frozenset(str(name).rpartition(".")[0] for name in names)


def stored_parameters(folder: Path) -> int | None:
    """The elements of all tensors, for `cord check`; None without a file, or where one cannot be read."""
    try:
        headers = [tensors(path) for path in sorted(folder.glob("*.safetensors"))]
        return sum(math.prod(tensor["shape"]) for header in headers for tensor in header.values()) if headers else None
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
