"""Behind long prefixes (a model of one layer): (b)/(a), and our own time per request."""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import statistics
import tempfile
from pathlib import Path
from typing import Any

from variants import Bench
from workload import Forced, Size, bound, build_model, ensemble, problems, start_engine

from cord_distill.decode.replay import Meter
from cord_distill.engines.vllm.engine import VllmEngine
from cord_distill.prompts.render import Renderer
from cord_distill.run_folder.journal import Journal
from cord_distill.types import Problem, Step, Stop

ROOM = 2048
# Our file that vLLM calls.
INSIDE = "engines/vllm/shims.py"


def sized(tokens: int) -> Size:
    return Size(problems=8, steps=2, question=tokens)


async def long_prefixes(folder: Path, lengths: tuple[int, ...], repetitions: int) -> dict[str, Any]:
    """(b)/(a) per CPU-second at each prefix length. Questions are in the cache before the clock starts."""
    path = build_model(folder, layers=1, hidden=64, positions=max(lengths) + ROOM)
    engine, renderer = await start_engine(path, sized(0), kv_cache_gib=1)
    found = {}
    for length in lengths:
        size = sized(length)
        asked = problems(renderer, size)
        bench = Bench(engine, None, renderer, asked, size)
        pairs = []
        for _ in range(repetitions):
            bench.reset()
            await warm(engine, renderer, asked)
            ours = await bench.measured(Forced(engine, renderer), None, keep_cache=True)
            pairs.append(ours.per_second / bench.plain().per_second)
        found[str(length)] = {"b/a": [round(x, 3) for x in pairs], "median": round(statistics.median(pairs), 3)}
    await engine.close()
    return found


async def warm(engine: VllmEngine, renderer: Renderer, asked: list[Problem]) -> None:
    for problem in asked:
        await engine.logprobs(renderer.prompt_ids(problem.question), renderer.encode("7"))


async def own_time(folder: Path, length: int, requests: int = 48) -> tuple[dict[str, float], dict[str, Any]]:
    """Milliseconds of ours per proposal and per score: everything that ran, less what vLLM ran for it (cProfile).

    The event loop, the journal, hashing and tokenising count as ours; so does the profiler's own weight on them.
    """
    path = build_model(folder, layers=1, hidden=64, positions=length + ROOM)
    size = Size(problems=1, question=length)
    engine, renderer = await start_engine(path, size, kv_cache_gib=1)
    problem = problems(renderer, size)[0]
    await warm(engine, renderer, [problem])
    forced = Forced(engine, renderer)
    made: list[Step] = []
    with tempfile.TemporaryDirectory() as name:
        journal = Journal(Path(name) / "journal", fingerprint="", inputs={})
        models = bound(ensemble(forced, forced, renderer, size), problem, journal, {"teacher": Meter()})
        teacher = models.teachers[0]

        async def propose(seed: int) -> None:
            written = await teacher.propose(problem.question, (), models.segmentation, max_tokens=120, seed=seed)
            made.append(Step(1, "teacher", written.text, written.ids, len(written.ids), None, Stop.STEP))

        async def score(step: Step) -> None:
            await models.score(problem, (step,))

        await propose(10**6)
        await score(made.pop())
        proposals = await profiled(propose(i) for i in range(requests))
        scores = await profiled(score(step) for step in made)
        journal.close()
    await engine.close()
    figures = {"ms_per_proposal_16k": proposals["ours"], "ms_per_score_16k": scores["ours"]}
    return figures, {"length": length, "proposal": proposals, "score": scores}


async def profiled(calls: Any) -> dict[str, float]:
    """Per call, in ms: ours, and what vLLM spent on taking a request in (hashing its blocks, its detokeniser)."""
    together = list(calls)
    profile = cProfile.Profile()
    profile.enable()
    await asyncio.gather(*together)
    profile.disable()
    stats = pstats.Stats(profile)
    total = vllm = inside = taking_in = 0.0
    for (file, _, function), (_, _, own, _, callers) in stats.stats.items():  # type: ignore[attr-defined]
        total += own
        inside += own if file.endswith(INSIDE) else 0.0
        if "/vllm/" in file:
            called = sum(
                seconds[3]
                for (caller, _, _), seconds in callers.items()
                if "cord_distill" in caller and not caller.endswith(INSIDE)
            )
            vllm += called
            taking_in += called if function == "add_request" else 0.0
    per_call = 1000 / len(together)
    return {"ours": round((total - vllm + inside) * per_call, 3), "vllm_add_request": round(taking_in * per_call, 3)}
