"""The ceiling (a) in a process of its own, on the same core, at the same time as what is compared with it.

The speed of a shared machine moves by ten per cent and more within a minute. Two processes that take turns on one core,
some milliseconds each, see the same machine; each counts its own CPU seconds.
"""

from __future__ import annotations

import asyncio
import os
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from workload import Size, problems, start_engine


def stay_on_one_core() -> None:
    """The last core that is ours. Not everywhere possible; elsewhere the rival has a core of its own."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


class Rival:
    """(a), again and again, between `go()` and `stop()`."""

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

    def stop(self) -> tuple[int, float]:
        """Tokens generated since `go()`, and the CPU seconds that they took."""
        self._here.send("stop")
        return self._here.recv()

    def close(self) -> None:
        self._here.send("close")
        self._process.join()


def _run(orders: Connection, path: str, size: Size) -> None:
    from cord_distill.engines.quiet import prepare_environment

    prepare_environment()
    stay_on_one_core()
    asyncio.run(_serve(orders, Path(path), size))


async def _serve(orders: Connection, path: Path, size: Size) -> None:
    from variants import Bench

    engine, renderer = await start_engine(path, size, kv_cache_gib=2)
    bench = Bench(engine, None, renderer, problems(renderer, size), size)
    await bench.run("b")
    llm = engine.runner.engine
    generated = 0
    get_output = llm.engine_core.get_output

    def counted() -> Any:
        nonlocal generated
        outputs = get_output()
        generated += sum(len(out.new_token_ids) for out in outputs.outputs)
        return outputs

    llm.engine_core.get_output = counted
    orders.send("ready")
    while orders.recv() == "go":
        run = bench.plain_steps()
        begun, before = time.process_time(), generated
        orders.send("begun")
        while not orders.poll():
            if next(run, None) is None:
                run = bench.plain_steps()
        orders.recv()
        orders.send((generated - before, time.process_time() - begun))
        llm.abort_request(list(llm.output_processor.request_states), internal=True)
    await engine.close()
