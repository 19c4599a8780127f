"""Problems that failed: the error that stands in a row, how many there are, and what is said of them at the end."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cord_distill.common.errors import PluginError
from cord_distill.common.exit_codes import FINE, SOME_FAILED, TOO_MANY_FAILED
from cord_distill.common.markdown import without_places
from cord_distill.common.terminal import one_line
from cord_distill.engines.base import EngineError
from cord_distill.run_folder.trajectories import read_rows

# Beyond these exceptions the place in the code is said too: nobody expected them.
EXPECTED = (EngineError, PluginError)


@dataclass(frozen=True, slots=True)
class Failures:
    """How many problems of a run ended with an error. reason: the most frequent one."""

    failed: int
    total: int
    reason: str = ""

    @property
    def share(self) -> float:
        return self.failed / self.total if self.total else 0.0

    def line(self, label: str) -> str:
        return (
            f"{label}: {self.failed} of {self.total} problems failed ({100 * self.share:.1f} %), most often with: "
            f"{self.reason}. The same command tries them again"
        )

    def exit_code(self, max_share: float) -> int:
        """The exit code for these failures. max_share: `decode.max_failed_share`."""
        if not self.failed:
            return FINE
        return TOO_MANY_FAILED if self.share > max_share else SOME_FAILED


def failures_of(path: Path) -> Failures:
    """Counts the failures in a run's trajectories.jsonl; none where there is no such file."""
    return count_failures(row.get("error") for row in read_rows(path)) if path.is_file() else Failures(0, 0)


def count_failures(errors: Iterable[Any]) -> Failures:
    """Counts the failures. errors: one per problem, None where it did not fail."""
    total = 0
    reasons: Counter[str] = Counter()
    for error in errors:
        total += 1
        if error is not None:
            reasons[one_line(error, 200)] += 1
    return Failures(reasons.total(), total, reasons.most_common(1)[0][0] if reasons else "")


def error_text(error: Exception) -> str:
    """The error of a row, on one line: `EngineError: no answer`, with file and line where the code failed."""
    at = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(at[-1].filename).name}, line {at[-1].lineno})" if at and not isinstance(error, EXPECTED) else ""
    return one_line(without_places(f"{type(error).__name__}: {error}")) + where
