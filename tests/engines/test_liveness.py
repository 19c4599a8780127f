"""When an engine hangs and when it is given up: exact values on a clock of our own."""

from types import SimpleNamespace

import pytest

from cord_distill.engines import liveness
from cord_distill.engines.liveness import RESTARTS, WINDOW, Restarts, hangs


@pytest.fixture
def now(monkeypatch):
    """The seconds that the clock says, to be set."""
    at = [1000.0]
    monkeypatch.setattr(liveness, "time", SimpleNamespace(monotonic=lambda: at[0]))
    return at


def test_an_engine_hangs_that_answered_nothing_in_the_later_half(now):
    """A request of 100 s was begun at 900. Fails the rule "nothing since it began", by which an engine that hung at
    905, after an answer at 904, would be well."""
    assert hangs(answered=904.0, timeout=100.0) and hangs(answered=949.0, timeout=100.0)
    assert not hangs(answered=950.0, timeout=100.0) and not hangs(answered=1000.0, timeout=100.0)


def test_starts_are_counted_within_the_hour_and_waits_double(now):
    """Fails the count over a whole run, in which three accidents of a week would be the last."""
    starts = Restarts(first_wait=2.0)
    assert [starts.next_wait() for _ in range(RESTARTS + 1)] == [2.0, 4.0, 8.0, None]
    now[0] += WINDOW
    assert starts.next_wait() == 2.0
