"""Decides which of several equal replicas a problem asks: the URLs of a server, or the actors of a cluster."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from contextlib import contextmanager


class Homes:
    """Replicas by number. A problem's home is the replica with the fewest problems at its first request, and stays so:
    its growing prefix is cached there. While its home is away it is the guest of another one.

    "Fewest" counts those at home and the guests, so problems that came while a replica was away spread over the others.
    first: where the counting begins; drivers that do not know of each other's problems begin at different replicas.
    """

    def __init__(self, replicas: int = 0, first: int = 0) -> None:
        self._first = first
        self._problems = [0] * replicas
        self._given = [0] * replicas
        self._away: set[int] = set()
        self._home: dict[str, int] = {}
        self._guest: dict[str, int] = {}
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._problems)

    def add(self) -> int:
        """A further replica; its number."""
        self._problems.append(0)
        self._given.append(0)
        return len(self) - 1

    def down(self, replica: int, *, forget: bool = False) -> None:
        """Marks a replica that does not answer for now. forget: it lost its cache, so its problems get another home."""
        self._away.add(replica)
        if forget:
            for problem in [name for name, home in self._home.items() if home == replica]:
                self.leave(problem)

    def up(self, replica: int) -> None:
        self._away.discard(replica)

    def any_up(self) -> bool:
        return len(self._away) < len(self)

    def next_home(self, due: Collection[int] = ()) -> int:
        """Where a new problem would be at home: the replica with the fewest problems now, then in all, among those that
        are up or `due` (away, and worth another look)."""
        up = [replica for replica in range(len(self)) if replica not in self._away or replica in due]
        return min(up or range(len(self)), key=self._filled)

    def home(self, problem: str, due: Collection[int] = ()) -> int:
        """The home of `problem`, whether it is up or not; its first call decides it."""
        if problem not in self._home:
            self._home[problem] = self.next_home(due)
            self._take(self._home[problem])
        return self._home[problem]

    def of(self, problem: str, due: Collection[int] = ()) -> int:
        """The replica to ask now: its home, or where it is a guest; its home too when nobody is up."""
        home = self.home(problem, due)
        if home not in self._away:
            self._part(problem)
            return home
        guest = self._guest.get(problem)
        if guest is None or guest in self._away:
            self._part(problem)
            guest = self.next_home()
            if guest in self._away:
                return home
            self._guest[problem] = guest
            self._take(guest)
        return guest

    @contextmanager
    def staying(self, problem: str) -> Iterator[str]:
        """The name that one request goes by: the problem's, or for "" a new one that leaves at the request's end."""
        if problem:
            yield problem
            return
        name = f"\0{next(self._numbers)}"
        try:
            yield name
        finally:
            self.leave(name)

    def leave(self, problem: str) -> None:
        """Frees the place of a problem that is over; one that never asked may leave too."""
        self._part(problem)
        home = self._home.pop(problem, None)
        if home is not None:
            self._problems[home] -= 1

    def _filled(self, replica: int) -> tuple[int, int, int]:
        return self._problems[replica], self._given[replica], (replica - self._first) % len(self)

    def _take(self, replica: int) -> None:
        self._problems[replica] += 1
        self._given[replica] += 1

    def _part(self, problem: str) -> None:
        guest = self._guest.pop(problem, None)
        if guest is not None:
            self._problems[guest] -= 1
