"""What a data set holds besides its training rows, where the recipe asks for it: preference pairs and step values."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.data.preferences import preference_pairs
from cord_distill.data.spool import Spool
from cord_distill.data.step_values import step_values
from cord_distill.recipe.data import DataConfig
from cord_distill.run_folder.paths import PREFERENCES_FILE, STEP_VALUES_FILE
from cord_distill.types import Trajectory


class Exports:
    """`add` takes each own trajectory that became a training row; `write` writes the files and returns their counts."""

    def __init__(self, data: DataConfig, folder: Path, markers: re.Pattern[str] | None) -> None:
        self.data, self.folder, self.markers = data, folder, markers
        self.counts: dict[str, dict[str, Any]] = {}
        self._open = ExitStack()
        self._pairs = self._open.enter_context(Spool(folder)) if data.preferences else None
        self._values = self._open.enter_context(Spool(folder)) if data.step_values else None
        self._margins = 0.0
        if self._pairs is not None:
            self.counts["preferences"] = {"pairs": 0, "step": 0, "trace": 0, "problems": 0}
        if self._values is not None:
            self.counts["step_values"] = {"rows": 0, "steps": 0, "siblings": 0}

    def __enter__(self) -> Exports:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    def add(self, trajectory: Trajectory) -> None:
        if self._pairs is not None and self.data.preferences is not None:
            counts = self.counts["preferences"]
            pairs = preference_pairs(trajectory, self.data.preferences, self.markers)
            counts["problems"] += bool(pairs)
            for pair in pairs:
                self._pairs.add(pair["id"], pair)
                counts["pairs"] += 1
                counts[pair["kind"]] += 1
                self._margins += pair["margin"]
        if self._values is not None and (row := step_values(trajectory, self.markers)):
            counts = self.counts["step_values"]
            self._values.add(trajectory.id, row)
            counts["rows"] += 1
            counts["steps"] += len(row["values"])
            counts["siblings"] += sum(map(len, row["siblings"]))

    def write(self) -> dict[str, dict[str, Any]]:
        """A file of an earlier recipe goes. Raises CordError where pairs were asked for and none came out."""
        for name, spool in ((PREFERENCES_FILE, self._pairs), (STEP_VALUES_FILE, self._values)):
            if spool is None:
                (self.folder / name).unlink(missing_ok=True)
            elif not len(spool) and name == PREFERENCES_FILE:
                assert self.data.preferences is not None
                raise CordError(
                    f"data.preferences: no pair has a margin of {self.data.preferences.min_margin:g} or more: lower "
                    "data.preferences.min_margin, or remove data.preferences"
                )
            else:
                sha256 = spool.write(self.folder / name)
                self.counts["preferences" if spool is self._pairs else "step_values"]["sha256"] = sha256
        if self._pairs is not None:
            self.counts["preferences"]["mean_margin"] = self._margins / len(self._pairs)
        return self.counts
