"""Chooses which of several equal servers a request goes to, and remembers which of them are away."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from cord_distill.common.terminal import one_line
from cord_distill.engines.homes import Homes

LONGEST_ABSENCE = 30.0
SHORTEST_ABSENCE = 0.5
# An outage shorter than this is not worth a line on the terminal.
SAID_AFTER = 2.0


@dataclass
class Replica:
    """One URL. down_since, retry_at, answered: seconds of the monotonic clock; down_since None = it is up."""

    number: int
    url: str
    down_since: float | None = None
    retry_at: float = 0.0
    answered: float = 0.0
    announced: bool = False


class Replicas:
    """looking: seconds that one look at an absent server may take; meanwhile the other requests stay away from it."""

    def __init__(self, urls: list[str], looking: float) -> None:
        self._all = [Replica(number, url) for number, url in enumerate(urls)]
        self.homes = Homes(len(urls))
        self.looking = looking

    def __iter__(self) -> Iterator[Replica]:
        return iter(self._all)

    def choose(self, problem: str) -> Replica:
        """The problem's home while it is up, or when its time for another look has come; else where it is a guest.

        Where none is up, the one whose time for another look comes first."""
        now = time.monotonic()
        due = {replica.number for replica in self if replica.down_since is not None and replica.retry_at <= now}
        home = self.homes.home(problem, due)
        found = self._all[home if home in due else self.homes.of(problem)]
        if found.down_since is not None and found.number not in due:
            found = min(self, key=lambda replica: replica.retry_at)
        if found.down_since is not None:
            found.retry_at = now + self.looking
        return found

    def down(self, replica: Replica, reason: str) -> None:
        now = time.monotonic()
        replica.down_since = replica.down_since or now
        self.homes.down(replica.number)
        away = now - replica.down_since
        # As long again as it has been away: a back-off that does not depend on how many requests look.
        replica.retry_at = now + min(max(away, SHORTEST_ABSENCE), LONGEST_ABSENCE)
        if away >= SAID_AFTER and not replica.announced:
            replica.announced = True
            print(
                f"{replica.url}: {one_line(reason, 200)}; waiting for it (decode.server_wait)",
                file=sys.stderr,
                flush=True,
            )

    def up(self, replica: Replica) -> None:
        replica.answered = time.monotonic()
        replica.down_since = None
        self.homes.up(replica.number)
        if replica.announced:
            replica.announced = False
            print(f"{replica.url}: back", file=sys.stderr, flush=True)

    def gone_since(self) -> float | None:
        """The time since which no replica is up; None while one is."""
        since = [replica.down_since for replica in self]
        return None if None in since else max(at for at in since if at is not None)
