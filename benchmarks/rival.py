"""The ceiling (a) in a process of its own, on the same core, at the same time as what is compared with it.

The speed of a shared machine moves by ten per cent and more within a minute. Two processes that take turns on one core,
some milliseconds each, see the same machine; each counts its own CPU seconds.
"""

from __future__ import annotations

import asyncio
import os
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from variants import Bench
from workload import Size, problems, start_engine


def stay_on_one_core() -> None:
    """The last core that is ours. Not everywhere possible; elsewhere the rival has a core of its own."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


class Rival:
    """(a) once per `go()`. Until both sides are done each goes on with work that is not counted, so that neither ever
    has the core for itself.
    """

    def __init__(self, path: Path, size: Size) -> None:
        context = get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_run, args=(there, str(path), size), daemon=True)
        self._process.start()
        there.close()
        self._here.recv()

    def go(self) -> None:
        self._here.send("go")
        self._here.recv()

    def finish(self, bench: Bench) -> float:
        """(a)'s tokens per CPU-second, when it is done; until then `bench` has the same to do."""
        bench.plain_until(self._here.poll)
        self._here.send("stop")
        return float(self._here.recv())

    def close(self) -> None:
        self._here.send("close")
        self._process.join()


def _run(orders: Connection, path: str, size: Size) -> None:
    stay_on_one_core()
    asyncio.run(_serve(orders, Path(path), size))


async def _serve(orders: Connection, path: Path, size: Size) -> None:
    engine, renderer = await start_engine(path, size, kv_cache_gib=2)
    bench = Bench(engine, None, renderer, problems(renderer, size), size)
    await bench.run("b")
    orders.send("ready")
    while orders.recv() == "go":
        orders.send("begun")
        orders.send(bench.plain().per_second)
        bench.plain_until(orders.poll)
        orders.recv()
    await engine.close()
