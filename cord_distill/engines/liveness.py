"""When an engine that does not answer is taken to hang, and how often it is started anew: one rule for engines in this
process, replicas of a cluster and servers."""

from __future__ import annotations

import time

RESTARTS = 3
FIRST_WAIT = 2.0
# Deaths further apart than this are separate accidents of a long run, not an engine that cannot live.
WINDOW = 3600.0


def hangs(answered: float, timeout: float) -> bool:
    """Whether an engine hangs that left one request without an answer for `timeout` seconds; else this request was
    slow and fails alone. answered: when it last answered any of them, by the monotonic clock.

    It hangs when it answered nothing in the later half of that time. Not "since the request began": others may have
    been answered just before it began to hang.
    """
    return time.monotonic() - answered > timeout / 2


def too_late(timeout: float) -> str:
    return f"no answer within {timeout:g} s (decode.request_timeout)"


class Restarts:
    """At most RESTARTS new starts within WINDOW seconds, each after twice the wait of the one before."""

    def __init__(self, first_wait: float = FIRST_WAIT) -> None:
        self._first_wait = first_wait
        self._begun: list[float] = []

    def next_wait(self) -> float | None:
        """Seconds before the next start, which counts from now on; None where the engine is given up."""
        now = time.monotonic()
        self._begun = [at for at in self._begun if now - at < WINDOW]
        if len(self._begun) >= RESTARTS:
            return None
        self._begun.append(now)
        return float(self._first_wait * 2 ** (len(self._begun) - 1))
