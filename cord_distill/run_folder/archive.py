"""`stale/` of a folder: results of changed settings, kept under the fingerprint of what made them.

Nothing in it is ever replaced: a second one of the same fingerprint gets a number. A run whose fingerprint lies there
is the same run, so it is brought back instead of made anew. The caller holds the folder's lock.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from cord_distill.common.errors import CordError
from cord_distill.common.files import unwritable

STALE = "stale"


def set_aside(paths: Sequence[Path], label: str) -> Path:
    """Moves `paths`, which lie in one folder, into a new folder `stale/<label>` or `stale/<label>-N` and returns it."""
    root = paths[0].parent / STALE
    try:
        target = _new_folder(root, label)
        for path in paths:
            if os.path.lexists(path):
                os.rename(path, target / path.name)
    except OSError as error:
        raise CordError(unwritable(root, error)) from None
    return target


def find(folder: Path, label: str, name: str) -> Path | None:
    """The newest folder of this label in `stale/` that holds a file or folder `name`; None where there is none."""
    numbered = re.compile(re.escape(label) + r"(?:-(\d+))?")
    found = [
        (int(match[1] or 1), path)
        for path in (folder / STALE).glob("*")
        if (match := numbered.fullmatch(path.name)) and os.path.lexists(path / name)
    ]
    return max(found)[1] if found else None


def bring_back(kept: Path, folder: Path) -> None:
    """Moves what lies in `kept` (of `find`) back into `folder`. Whatever stands there already stays where it is."""
    try:
        for path in sorted(kept.iterdir()):
            if not os.path.lexists(folder / path.name):
                os.rename(path, folder / path.name)
        if not any(kept.iterdir()):
            kept.rmdir()
    except OSError as error:
        raise CordError(unwritable(folder, error)) from None


def _new_folder(root: Path, label: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        target = root / (label if number == 1 else f"{label}-{number}")
        try:
            target.mkdir()
            return target
        except FileExistsError:
            number += 1
