"""Finds the files that travel with the package: in a clone beside it, in a wheel inside it."""

from __future__ import annotations

import os
from pathlib import Path

from cord_distill.common.errors import CordError

PACKAGE = Path(__file__).resolve().parents[1]


def bundled(kind: str) -> Path:
    """Folder of `recipes`, `accelerate_configs` or `eval`, or the file `train.py`. Raises CordError when it is gone."""
    for root in (PACKAGE.parent, PACKAGE / "bundled"):
        path = root / kind
        if path.exists() and (root.name == "bundled" or (root / "pyproject.toml").exists()):
            return path
    raise CordError(f"{kind} is missing beside the package: install cord-distill again, or run from a clone")


def expanded(path: str) -> Path:
    """A path with `$NAME` and `~` written out. Raises CordError where nobody says which folder `~` is."""
    try:
        return Path(os.path.expandvars(path)).expanduser()
    except RuntimeError:
        raise CordError(f"{path}: no home folder is known here; write the path out, or set HOME") from None


def short_path(path: Path) -> str:
    """The path as it is printed: relative to the working directory where it lies below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
