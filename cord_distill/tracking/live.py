"""What a decoding says to Weights & Biases as it goes on. A fault there is a warning; decoding goes on without it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cord_distill.common.terminal import warn


class Live:
    """run: of W&B, None where nothing is tracked. complete: whether the files of all rows are written at the end; not
    where other processes still decode."""

    def __init__(self, run: Any = None) -> None:
        self.run = run
        self.complete = True

    def log(self, values: Mapping[str, float]) -> None:
        if self.run is None:
            return
        try:
            self.run.log({f"live/{name}": value for name, value in values.items()})
        except Exception as error:
            warn_of("the live figures", error)
            self.run = None  # said once


@contextmanager
def faults_are_warnings(what: str) -> Iterator[None]:
    """Whatever W&B raises inside is said and left behind: the results are in the run folder all the same."""
    try:
        yield
    except Exception as error:
        warn_of(what, error)


def warn_of(what: str, error: Exception) -> None:
    said = " ".join(str(error).split())[:200] or type(error).__name__
    warn(f"warning: Weights & Biases did not take {what} ({said}); everything is in the run folder all the same")
