"""What a stage trains on, once it is ids: the columns that its trainer takes, and what is said and kept of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class StageRows:
    """columns: of the data set. summary: one line. sample: the first row as a person reads it. dropped: by reason."""

    columns: dict[str, list[Any]]
    summary: str
    sample: str
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        return len(next(iter(self.columns.values())))
