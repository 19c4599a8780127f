"""Whose journal it is: `header.json` in its folder, with the recipe keys that decide the results and their hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cord_distill.common.files import replacing
from cord_distill.run_folder.journal_lines import encoded, parsed

SCHEMA = 2
FILE = "header.json"


@dataclass(frozen=True, slots=True)
class Header:
    """What a journal was made of. inputs: the recipe values that decide the results, by dotted key. fingerprint: their
    hash."""

    fingerprint: str
    inputs: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Header | None:
        """Reads the header in a journal's folder; None where there is none, or one that is damaged or of another
        schema."""
        try:
            entry = parsed((folder / FILE).read_bytes())
        except OSError:
            return None
        return cls(entry["fingerprint"], entry["inputs"]) if entry and entry.get("journal") == SCHEMA else None

    def write(self, folder: Path) -> None:
        with replacing(folder / FILE) as file:
            file.write(encoded({"journal": SCHEMA, **asdict(self)}))

    def is_of(self, folder: Path) -> bool:
        """Whether the journal in this folder was made of the same inputs."""
        found = Header.read(folder)
        return found is not None and found.fingerprint == self.fingerprint

    def changed(self, before: Header) -> list[str]:
        """The keys whose values differ from those of `before`."""
        keys = sorted({*before.inputs, *self.inputs})
        return [key for key in keys if before.inputs.get(key, "") != self.inputs.get(key, "")]
