"""Generated tokens per engine step with full engines: in this process, behind a Ray actor, behind HTTP.

    python benchmarks/saturated.py [in_process] [ray] [http]

One search of P problems, decoded at once, on one engine with P x B = 2 x max_num_seqs: unscored, and with every
candidate scored on the same engine. The target is 0.95 of the tokens per step in this process. An engine in another
process goes on stepping while the next request is on its way, so what it loses depends on how long a step takes. A
random model on a CPU; proposals have the lengths of workload.py.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cord_distill.common.quiet import prepare_environment

prepare_environment()

from server_scores import PORT, metric, vllm_server  # noqa: E402
from workload import MARKER, Forced, Size, bound, build_model, ensemble, problems, row_of  # noqa: E402

from cord_distill.decode.pipelines.cord import cord  # noqa: E402
from cord_distill.decode.replay import Meter  # noqa: E402
from cord_distill.engines.base import Generation, Sampling  # noqa: E402
from cord_distill.prompts.render import Renderer, load_renderer  # noqa: E402
from cord_distill.recipe.models import ModelConfig  # noqa: E402
from cord_distill.run_folder.journal import Journal  # noqa: E402
from cord_distill.types import Stop  # noqa: E402

SIZE = Size(problems=8, proposals=1, beams=4, steps=5, question=100, slots=16)
LENGTH = 4096
Steps = Callable[[], Awaitable[float]]


@dataclass
class EndsItself(Forced):
    """Forced lengths without a logits processor, which only an engine in this process could have: the marker takes the
    place of the last tokens."""

    async def generate(self, ids: list[int], sampling: Sampling) -> Generation:
        made = await super().generate(ids, sampling)
        if not sampling.stop:
            return made
        ids = (*made.ids[: -len(self.tail)], *self.tail)
        text = self.renderer.decode(list(ids)).rpartition(MARKER)[0]
        return Generation(ids, text, Stop.STEP, MARKER, made.cached)


@asynccontextmanager
async def in_process(path: Path, _: Renderer) -> AsyncIterator[tuple[Any, Steps]]:
    from cord_distill.engines.vllm.engine import VllmEngine

    engine = await VllmEngine.start(section(path), str(path), deterministic=False, max_model_len=LENGTH)

    async def steps() -> float:
        return float(engine.steps or 0)

    yield engine, steps
    await engine.close()


@asynccontextmanager
async def behind_ray(path: Path, _: Renderer) -> AsyncIterator[tuple[Any, Steps]]:
    from cord_distill.engines.ray.connect import connect
    from cord_distill.engines.ray.engine import RayEngine
    from cord_distill.engines.ray.spec import EngineSpec
    from cord_distill.recipe.cluster import ClusterConfig

    connect(ClusterConfig(address="local"))
    import ray

    options = {"deterministic": False, "max_model_len": LENGTH}
    engine = RayEngine(EngineSpec.of(section(path), "teachers.0", str(path), options), timeout=600, wait=600)
    engine.add()
    await engine.is_up()

    async def steps() -> float:
        return float(await engine.replicas[0].actor.__ray_call__.remote(lambda actor: actor._engine.steps))

    yield engine, steps
    await engine.close()
    ray.shutdown()


@asynccontextmanager
async def behind_http(path: Path, renderer: Renderer) -> AsyncIterator[tuple[Any, Steps]]:
    from cord_distill.engines.server.engine import ServerEngine

    with vllm_server(path, "--max-num-seqs", str(SIZE.slots), "--max-model-len", str(LENGTH)):
        asked = section(path, engine="server", url=f"http://127.0.0.1:{PORT}")
        engine = await ServerEngine.start(asked, "teachers.0", renderer, timeout=600, wait=1200)

        async def steps() -> float:
            await asyncio.sleep(1)  # the server counts a little later than it answers
            return await metric(engine.client, "vllm:iteration_tokens_total_count")

        yield engine, steps
        await engine.close()


def section(path: Path, **keys: Any) -> ModelConfig:
    return ModelConfig(model=str(path), max_num_seqs=SIZE.slots, **keys)


async def measure(name: str, engine: Any, steps: Steps, renderer: Renderer, *, scored: bool) -> None:
    forced = EndsItself(engine, renderer)
    whole = ensemble(forced, forced if scored else None, renderer, SIZE)
    asked = problems(renderer, SIZE)
    meters: dict[str, Meter] = {}
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal", fingerprint="", inputs={})
        before, begun = await steps(), time.monotonic()
        outcomes = await asyncio.gather(*(cord(p, bound(whole, p, journal, meters)) for p in asked))
        seconds, taken = time.monotonic() - begun, await steps() - before
        for problem, outcome in zip(asked, outcomes, strict=True):
            journal.finish(problem, row_of(outcome))
        journal.close()
    what = "scored" if scored else "not scored"
    per_step = forced.generated / taken
    print(f"| {name} | {what} | {forced.generated} | {taken:.0f} | {per_step:.2f} | {seconds:.0f} |", flush=True)


async def main(names: list[str]) -> None:
    ways = {"in_process": in_process, "ray": behind_ray, "http": behind_http}
    with tempfile.TemporaryDirectory() as folder:
        path = build_model(Path(folder), layers=2, hidden=64, positions=LENGTH)
        renderer = load_renderer(str(path), name="teacher")
        head = ("engine", "search", "generated tokens", "engine steps", "tokens per step", "seconds")
        print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
        for name in names or ways:
            async with ways[name](path, renderer) as (engine, steps):
                for scored in (False, True):
                    await measure(name, engine, steps, renderer, scored=scored)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
