"""What one request costs beyond the engine, in CPU time: a direct call, a Ray actor, JSON over HTTP.

    python benchmarks/transport.py direct|ray|http|openai [requests]

The engine does nothing: it gives 300 tokens back at once. Prompts have 1,000 and 16,000 ids, and 64 requests
are under way at a time. Printed per request: CPU of the caller's process, of its event loop's thread, and of
the engine's side. `ray` starts a cluster of one node on a loopback address, or takes $RAY_ADDRESS; `http`
starts a bare aiohttp server, on top of which vLLM's own validation would come; `openai` asks the same
server through OpenAI's client, in place of ours.
"""

from __future__ import annotations

import asyncio
import functools
import os
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from cord_distill.common.quiet import prepare_environment
from cord_distill.engines.base import Generation, Sampling
from cord_distill.types import Stop

SIZES = (1000, 16000)
AT_ONCE = 64
MADE = Generation(tuple(range(1000, 1300)), " step" * 300, Stop.STEP, "### Step")
SAMPLING = Sampling(2048, 1, stop=("### Step", "</think>"))

SERVER = """
import time
from aiohttp import web
page = {"choices": [{"text": " step" * 300, "token_ids": list(range(1000, 1300)), "finish_reason": "stop",
                     "stop_reason": "### Step"}], "usage": {}}
async def complete(request):
    await request.json()
    return web.json_response(page)
async def usage(request):
    return web.json_response(time.process_time())
app = web.Application(client_max_size=2**28)
app.add_routes([web.post("/v1/completions", complete), web.get("/usage", usage)])
web.run_app(app, host="127.0.0.1", port=18765, print=None)
"""


class Instant:
    """Answers at once, in process or as an actor."""

    async def generate(self, ids: bytes, sampling: Sampling) -> Generation:
        from cord_distill.engines.ray.actor import unpacked

        unpacked(ids)
        return MADE

    async def usage(self) -> float:
        return time.process_time()


async def measure(
    name: str, ask: Callable[[list[int]], Awaitable[Any]], usage: Callable[[], Awaitable[float]], requests: int
) -> None:
    for size in SIZES:
        dice = random.Random(size)
        prompts = [[dice.randrange(150000) for _ in range(size)] for _ in range(8)]
        await asyncio.gather(*(ask(prompt) for prompt in prompts))
        waiting = iter(range(requests))

        async def one(waiting: Any = waiting, prompts: Any = prompts) -> None:
            for n in waiting:
                await ask(prompts[n % 8])

        theirs, mine, loop = await usage(), time.process_time(), time.thread_time()
        await asyncio.gather(*(one() for _ in range(AT_ONCE)))
        mine, loop = time.process_time() - mine, time.thread_time() - loop
        theirs = await usage() - theirs
        cells = " | ".join(f"{1000 * spent / requests:.2f}" for spent in (mine, loop, theirs))
        print(f"| {name} | {size} | {cells} |", flush=True)


async def direct(requests: int) -> None:
    from cord_distill.engines.ray.actor import packed

    instant = Instant()

    async def nothing() -> float:
        return 0.0

    await measure("direct call", lambda ids: instant.generate(packed(ids), SAMPLING), nothing, requests)


async def over_ray(requests: int) -> None:
    from cord_distill.engines.ray.actor import packed
    from cord_distill.engines.ray.connect import connect
    from cord_distill.recipe.cluster import ClusterConfig

    connect(ClusterConfig(address=os.environ.get("RAY_ADDRESS", "local")))
    import ray

    actor = ray.remote(Instant).options(num_cpus=1, max_concurrency=8192).remote()

    async def ask(ids: list[int]) -> Any:
        return await actor.generate.remote(packed(ids), SAMPLING)

    async def usage() -> float:
        return float(await actor.usage.remote())

    await measure("Ray", ask, usage, requests)
    ray.shutdown()


async def over_http(requests: int) -> None:
    from cord_distill.engines.server.engine import read_generation
    from cord_distill.engines.server.http import HttpClient
    from cord_distill.engines.server.scoring import ScoringWay, scoring

    server = subprocess.Popen([sys.executable, "-c", SERVER])
    client = HttpClient("http://127.0.0.1:18765", wait=60)

    async def ask(ids: list[int]) -> Any:
        body = {"model": "m", "prompt": ids, "max_tokens": 2048, "seed": 1, "stop": list(SAMPLING.stop)}
        return read_generation(await client.post("/v1/completions", body, "problem"), ids)

    async def score(ids: list[int], way: ScoringWay) -> Any:
        question = scoring(way, "m", ids, [11, 12, 13, 14, 15])
        return await client.post(question.path, question.body, "problem")

    async def usage() -> float:
        return float(await client.get("/usage"))

    try:
        await measure("HTTP, JSON", ask, usage, requests)
        ways: tuple[ScoringWay, ...] = ("logprob_token_ids", "allowed_token_ids")
        for way in ways:
            name = f"HTTP, JSON, a score of 5 answer tokens ({way})"
            await measure(name, functools.partial(score, way=way), usage, max(1, requests // 5))
    finally:
        await client.close()
        server.kill()


async def over_openai(requests: int) -> None:
    from openai import AsyncOpenAI

    from cord_distill.engines.server.http import HttpClient

    server = subprocess.Popen([sys.executable, "-c", SERVER])
    watching = HttpClient("http://127.0.0.1:18765", wait=60)
    client = AsyncOpenAI(base_url="http://127.0.0.1:18765/v1", api_key="none", max_retries=0, timeout=600)

    async def ask(ids: list[int]) -> Any:
        page = await client.completions.create(
            model="m", prompt=ids, max_tokens=2048, seed=1, stop=list(SAMPLING.stop), extra_body={"top_k": 20}
        )
        choice = page.choices[0]
        return choice.text, choice.model_extra["token_ids"]

    async def usage() -> float:
        return float(await watching.get("/usage"))

    try:
        await usage()
        await measure("HTTP, JSON, OpenAI's client", ask, usage, requests)
    finally:
        await client.close()
        await watching.close()
        server.kill()


if __name__ == "__main__":
    prepare_environment()
    way = {"direct": direct, "ray": over_ray, "http": over_http, "openai": over_openai}[sys.argv[1]]
    print("| way | ids | caller's CPU ms | its loop's thread | engine's side |\n|---|---|---|---|---|")
    asyncio.run(way(int(sys.argv[2]) if len(sys.argv) > 2 else 300))
