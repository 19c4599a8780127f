"""What a data set holds besides its training rows, where the recipe asks for it: preference pairs and step values."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.data.preferences import preference_pairs
from cord_distill.data.spool import Spool
from cord_distill.data.step_values import step_values
from cord_distill.recipe.data import DataConfig
from cord_distill.run_folder.paths import PREFERENCES_FILE, STEP_VALUES_FILE
from cord_distill.types import Trajectory


class Exports(ExitStack):
    """`add` takes each own trajectory that became a training row; `write` writes the files and returns their counts."""

    def __init__(self, data: DataConfig, folder: Path, markers: re.Pattern[str] | None) -> None:
        super().__init__()
        self.data, self.folder, self.markers = data, folder, markers
        self.pairs = self.enter_context(Spool(folder)) if data.preferences else None
        self.values = self.enter_context(Spool(folder)) if data.step_values else None
        self.of_pairs: dict[str, Any] = {"pairs": 0, "step": 0, "trace": 0, "problems": 0}
        self.of_values: dict[str, Any] = {"rows": 0, "steps": 0, "siblings": 0}
        self.margins = 0.0

    def add(self, trajectory: Trajectory) -> None:
        if self.pairs is not None and self.data.preferences is not None:
            pairs = preference_pairs(trajectory, self.data.preferences, self.markers)
            self.of_pairs["problems"] += bool(pairs)
            for pair in pairs:
                self.pairs.add(pair["id"], pair)
                self.of_pairs["pairs"] += 1
                self.of_pairs[pair["kind"]] += 1
                self.margins += pair["margin"]
        if self.values is not None and (row := step_values(trajectory, self.markers)):
            self.values.add(trajectory.id, row)
            self.of_values["rows"] += 1
            self.of_values["steps"] += len(row["values"])
            self.of_values["siblings"] += sum(map(len, row["siblings"]))

    def write(self) -> dict[str, dict[str, Any]]:
        """Removes a file that this recipe does not ask for. Raises CordError where pairs were asked for and none came
        out."""
        counts = {}
        if self.pairs is None or self.data.preferences is None:
            (self.folder / PREFERENCES_FILE).unlink(missing_ok=True)
        elif not len(self.pairs):
            raise CordError(
                f"data.preferences: no pair has a margin of {self.data.preferences.min_margin:g} or more: lower "
                "data.preferences.min_margin, or remove data.preferences"
            )
        else:
            sha256 = self.pairs.write(self.folder / PREFERENCES_FILE)
            mean_margin = self.margins / len(self.pairs)
            counts["preferences"] = {**self.of_pairs, "sha256": sha256, "mean_margin": mean_margin}
        if self.values is None:
            (self.folder / STEP_VALUES_FILE).unlink(missing_ok=True)
        else:
            counts["step_values"] = {**self.of_values, "sha256": self.values.write(self.folder / STEP_VALUES_FILE)}
        return counts
