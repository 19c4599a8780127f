"""Whose journal it is: `header.json` in its folder, with the recipe keys that decide the results and their hash."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.files import write_atomic
from cord_distill.run_folder.journal_lines import encoded, parsed

SCHEMA = 2
FILE = "header.json"


@dataclass(frozen=True, slots=True)
class Header:
    """What a journal is to be opened for. same: fingerprints that mean the same inputs (those of earlier versions)."""

    fingerprint: str
    inputs: Mapping[str, Any]
    same: Sequence[str] = ()

    @property
    def fingerprints(self) -> tuple[str, ...]:
        return (self.fingerprint, *self.same)

    @staticmethod
    def read(path: Path) -> dict[str, Any] | None:
        """The header in a journal's folder; None where there is none, or a damaged one."""
        try:
            entry = parsed((path / FILE).read_bytes(), checked=True)
        except OSError:
            return None
        return entry if entry is not None and "journal" in entry else None

    def write(self, path: Path, converted: int | None = None) -> None:
        """Writes `header.json`. converted: the size of the old journal that the folder is made of."""
        more = {} if converted is None else {"converted": converted}
        entry = {"journal": SCHEMA, "fingerprint": self.fingerprint, "inputs": dict(self.inputs), **more}
        write_atomic(path / FILE, encoded(entry).decode("utf-8", "surrogatepass"))

    def check_schema(self, found: Mapping[str, Any], where: Path, schema: int = SCHEMA) -> None:
        """Raises CordError: a journal of a version that is not known here."""
        if found.get("journal", schema) != schema:
            raise CordError(
                f"{where}: a journal of schema {found['journal']!r}, this version writes {SCHEMA}; "
                "finish it with the version that began it, or pass --overwrite to set it aside and start anew"
            )

    def check_inputs(self, found: Mapping[str, Any], where: Path) -> None:
        """Raises CordError: made by another recipe."""
        if found.get("fingerprint") not in self.fingerprints:
            before = found.get("inputs")
            before = before if isinstance(before, dict) else {}
            changed = sorted(key for key in {*before, *self.inputs} if before.get(key, "") != self.inputs.get(key, ""))
            raise CordError(
                f"{where}: made by another recipe; changed since: {', '.join(changed) or 'the models'}. Change "
                "them back, choose another output_dir, or pass --overwrite to set the old results aside and start anew"
            )


def written_fingerprint(path: Path) -> str | None:
    """The fingerprint of a journal (of an earlier version: in the file's first line); None without a readable one."""
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        return None
    try:
        with open(file, "rb") as opened:
            return str(json.loads(opened.readline())["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
