"""One of several drivers of a command: a process on a node of the cluster that decodes problems with the command's
engines. It claims them in the run folder's journal, as any process does that shares a run folder."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.progress import progress
from cord_distill.common.quiet import keep_private, prepare_environment
from cord_distill.common.task_group import tasks_cancelled_on_exit
from cord_distill.decode.admission import EngineShare
from cord_distill.decode.decode_all import Decoding, decode_all, open_journal
from cord_distill.decode.engine_pool import EnginePool
from cord_distill.decode.progress_note import EVERY_SECONDS, DecodeNote
from cord_distill.decode.start import start_ensemble
from cord_distill.engines.ray.lent import LentCluster
from cord_distill.engines.ray.spec import Failure, Surroundings
from cord_distill.recipe.recipe import Recipe
from cord_distill.tracking.live import Live
from cord_distill.types import Problem


@dataclass(frozen=True, slots=True)
class DriverOrder:
    """What a driver is to do. sign: a file that the command put into the run folder, which the driver must see too.
    failures: how many rows with an error the command found, by problem: those it is to try again."""

    recipe: Recipe
    share: EngineShare
    sign: str
    failures: Counter[str]
    wait: bool
    surroundings: Surroundings


@dataclass(frozen=True, slots=True)
class DriverReport:
    """What one process of a driver has done so far. Each report to the command takes the place of the one before.

    driver: its number. written: rows. meters: by model. live: live beams by problem under way.
    """

    driver: int
    pid: int
    written: int = 0
    failed: int = 0
    scored: int = 0
    scores: float = 0.0
    meters: dict[str, dict[str, Any]] = field(default_factory=dict)
    live: dict[str, int] = field(default_factory=dict)
    admission: dict[str, Any] = field(default_factory=dict)


def drive(order: DriverOrder, todo: list[Problem], board: Any) -> DriverReport | Failure:
    """Decodes as a task of Ray, in the main thread of its process, where a user's grader may set an alarm."""
    order.surroundings.enter()
    prepare_environment()
    keep_private()
    try:
        return asyncio.run(_drive(order, todo, board))
    except CordError as error:
        return Failure("settings", str(error))


async def _drive(order: DriverOrder, todo: list[Problem], board: Any) -> DriverReport:
    recipe, share = order.recipe, order.share
    if not os.path.exists(order.sign):
        raise CordError(
            f"cluster.drivers: node {os.uname().nodename} does not see the run folder {os.path.dirname(order.sign)}: "
            "put output_dir on a file system that all nodes share, or remove cluster.drivers"
        )
    journal = open_journal(recipe)
    journal.failures_before = order.failures
    cluster = LentCluster(board, recipe.decode.request_timeout, share.number, share.of)
    pool = EnginePool(cluster=cluster)
    try:
        ensemble = await start_ensemble(recipe, todo, pool)
        note = DecodeNote(pool.meters, ensemble.live)

        def done(**more: Any) -> DriverReport:
            meters = {name: asdict(meter) for name, meter in pool.meters.items()}
            rows = (journal.written, note.failed, note.scored, note.scores)
            return DriverReport(share.number, os.getpid(), *rows, meters=meters, live=dict(ensemble.live), **more)

        async def keep_telling() -> None:
            while True:
                await board.send.remote(done())
                await asyncio.sleep(EVERY_SECONDS)

        async with tasks_cancelled_on_exit() as beside:
            beside.add(asyncio.create_task(keep_telling()))
            with progress(f"driver {share.number}", len(todo)) as display:
                work = Decoding(recipe, todo, ensemble, journal, pool, display, Live(), order.wait)
                admission, _ = await decode_all(work, note=note, share=share)
        return done(admission=admission)
    finally:
        await pool.close()
        journal.close()
