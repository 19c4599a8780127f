"""What `decode.early_start` gains: the same scored search with and without it, at several numbers of problems."""

from __future__ import annotations

import statistics
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

from variants import Bench
from workload import Forced, Size, build_model, problems, start_engine


async def early_start_gain(folder: Path, size: Size, counts: tuple[int, ...], options: Namespace) -> dict[str, Any]:
    """Per number of problems: fewer engine steps and CPU seconds with early start, as shares (0.05 = 5 % fewer)."""
    path = build_model(folder, layers=options.layers, hidden=options.hidden, positions=4096)
    engine, renderer = await start_engine(path, size)
    found = {}
    for count in counts:
        here = replace(size, problems=count)
        bench = Bench(engine, None, renderer, problems(renderer, here), here)
        steps, cpu = [], []
        for _ in range(1 if options.quick else 3):
            runs = {}
            for early in (False, True):
                forced = Forced(engine, renderer)
                runs[early] = await bench.measured(forced, forced, early_start=early)
            steps.append(1 - runs[True].steps / runs[False].steps)
            cpu.append(1 - runs[True].cpu / runs[False].cpu)
        found[str(count)] = {"steps": round(statistics.median(steps), 4), "cpu": round(statistics.median(cpu), 4)}
    await engine.close()
    return found
