"""`cluster.drivers`: the searches of one command in several processes on the nodes of its cluster.

The command keeps the engines and writes the files; its drivers (driver.py) ask the engines themselves, each with its
part of their room. A driver that dies is started anew; whoever is there first takes over its problems.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from dataclasses import dataclass, fields
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.progress import Progress
from cord_distill.common.task_group import gather_or_cancel, tasks_cancelled_on_exit
from cord_distill.common.terminal import warn
from cord_distill.decode.admission import EngineShare, problems_in_flight
from cord_distill.decode.decode_all import Decoding
from cord_distill.decode.driver import DriverOrder, DriverReport, drive
from cord_distill.decode.engine_pool import EnginePool
from cord_distill.decode.progress_note import DecodeNote, keep_showing
from cord_distill.decode.replay import Meter
from cord_distill.engines.liveness import RESTARTS, Restarts
from cord_distill.engines.ray.board import LostReplica, start_board
from cord_distill.engines.ray.cluster import Cluster
from cord_distill.engines.ray.spec import Failure, Surroundings, short
from cord_distill.run_folder.journal import Journal
from cord_distill.types import Problem


async def decode_with_drivers(work: Decoding) -> tuple[dict[str, Any], int]:
    """Decodes as `decode_all` does, in `cluster.drivers` processes. Raises CordError where one of them cannot go on."""
    recipe, todo, journal, pool, display = work.recipe, work.todo, work.journal, work.pool, work.display
    assert recipe.cluster is not None and isinstance(pool.cluster, Cluster)
    # Each has at least one problem and room for it.
    of = min(recipe.cluster.drivers, len(todo), problems_in_flight(recipe, work.ensemble))
    drivers = Drivers(pool, DecodeNote(pool.meters, work.ensemble.live), journal, display)
    for left_by_a_kill in journal.path.glob(".drivers-*") if journal.first else ():
        left_by_a_kill.unlink(missing_ok=True)
    sign = journal.path / f".drivers-{uuid.uuid4().hex}"
    sign.touch()
    board = start_board()
    try:
        async with tasks_cancelled_on_exit() as beside:
            beside.add(asyncio.create_task(keep_showing(display, drivers.note, work.live)))
            beside.add(asyncio.create_task(pool.cluster.lend(board)))
            beside.add(asyncio.create_task(drivers.listen(board)))
            orders = [
                DriverOrder(
                    recipe, EngineShare(i, of), str(sign), journal.failures_before, work.wait, Surroundings.here()
                )
                for i in range(of)
            ]
            ended = await gather_or_cancel([_run_driver(order, todo, board) for order in orders])
    finally:
        sign.unlink(missing_ok=True)
    for done in ended:
        drivers.hear(done)
    work.live.log(drivers.note.figures(time.monotonic(), display.done))
    with journal.turn():
        left = sum(not journal.has_row(problem) for problem in todo)
    display.advance(max(0, len(todo) - left - drivers.written))
    return _summed([done.admission for done in ended]), left


@dataclass
class Drivers:
    """What all drivers of a command did, as if it had done so itself: its meters, its display and its journal's count.

    written: rows so far.
    """

    pool: EnginePool
    note: DecodeNote
    journal: Journal
    display: Progress
    written: int = 0

    def __post_init__(self) -> None:
        self._done: dict[tuple[int, int], DriverReport] = {}

    async def listen(self, board: Any) -> None:
        assert isinstance(self.pool.cluster, Cluster)
        while True:
            for message in await board.messages.remote():
                if isinstance(message, LostReplica):
                    self.pool.cluster.lost(message)
                else:
                    self.hear(message)

    def hear(self, report: DriverReport) -> None:
        """Takes a driver's newest report; that of one that died keeps counting."""
        self._done[report.driver, report.pid] = report
        everybody = self._done.values()
        for name, meter in self.pool.meters.items():
            for key in (one.name for one in fields(Meter)):
                setattr(meter, key, sum(done.meters.get(name, {}).get(key, 0) for done in everybody))
        self.note.failed, self.note.scored = sum(d.failed for d in everybody), sum(d.scored for d in everybody)
        self.note.scores = sum(done.scores for done in everybody)
        self.note.live.clear()
        for done in {done.driver: done for done in everybody}.values():
            self.note.live.update(done.live)
        written = sum(done.written for done in everybody)
        self.journal.written += written - self.written
        self.display.advance(written - self.written, self.note.text(time.monotonic()))
        self.written = written


async def _run_driver(order: DriverOrder, todo: list[Problem], board: Any) -> DriverReport:
    """Runs a driver to its end. One that dies is started anew, at most three times within an hour."""
    import ray
    from ray.exceptions import RayError

    # No CPU is asked for: engines may have taken all of them, and a driver would wait for them for ever.
    task = ray.remote(drive).options(num_cpus=0, max_retries=0, scheduling_strategy="SPREAD")
    starts = Restarts(first_wait=0)
    while True:
        ref = task.remote(order, todo, board)
        try:
            done: DriverReport | Failure = await ref
        except RayError as error:
            if starts.next_wait() is None:
                raise CordError(
                    f"driver {order.share.number}: {short(error)} (after {RESTARTS} restarts). What is finished is "
                    "safe; mend the cause and run the same command again"
                ) from error
            warn(f"driver {order.share.number}: {short(error)}; started anew, its problems go on from the journal")
            continue
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                ray.cancel(ref, force=True)
            raise
        if isinstance(done, Failure):
            raise CordError(done.reason)
        return done


def _summed(admission: list[dict[str, Any]]) -> dict[str, Any]:
    """Adds up the admission figures of all drivers."""
    known = [one for one in admission if one]
    return {
        key: sum(one[key] for one in known) if all(one[key] is not None for one in known) else None
        for key in (known[0] if known else {})
    }
