"""What a score costs at a vLLM server, by each way of asking for it: bytes, CPU time, engine steps, prefix cache.

    python benchmarks/server_scores.py [scores]

A random model of one layer behind vLLM's own server on a CPU. A score is that of 5 answer tokens behind a prefix of
1,000 or 16,000 ids, which the server holds in its prefix cache, and a step of 100 new ids. `followed`: each answer is
the one that the server would give among these tokens; `left`: the second token is another one already, so the rest is
asked for again. Each way has a cache of its own (`cache_salt`). 8 scores are under way at a time. The way that needs
vLLM's model runner V2 (`prompt_logprob_token_ids`) runs on GPUs alone, so here only its bytes are counted.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cord_distill.common.quiet import prepare_environment

prepare_environment()

from workload import build_model  # noqa: E402

from cord_distill.engines.server.engine import ServerEngine  # noqa: E402
from cord_distill.engines.server.scoring import scoring  # noqa: E402
from cord_distill.prompts.render import load_renderer  # noqa: E402
from cord_distill.recipe.models import ModelConfig  # noqa: E402

SIZES = (1000, 16000)
LENGTH = 16384
STEP, ANSWER, AT_ONCE = 100, 5, 8
PORT = 18766
OPTIONS = (
    "--dtype float32 --enforce-eager --max-num-seqs 64 --no-enable-chunked-prefill --generation-config vllm "
    "--block-size 64 --prefix-caching-hash-algo xxhash --kv-cache-memory-bytes 536870912 "
    f"--host 127.0.0.1 --port {PORT} --max-model-len {LENGTH} --max-num-batched-tokens {2 * LENGTH}"
)


class Counting:
    """Stands before the engine's client: counts what is sent and answered, under a cache of its own."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.salt = "none"
        self.pages: list[tuple[Any, Any]] = []

    async def post(self, path: str, body: Any, home: str = "") -> Any:
        page = await self.client.post(path, {**body, "cache_salt": self.salt}, home)
        self.pages.append((body, page))
        return page


@contextmanager
def vllm_server(path: Path, *options: str) -> Iterator[int]:
    """vLLM's server of the model at PORT, with OPTIONS and then `options`, of which the last counts. Yields its process
    group."""
    module = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(path)]
    with open(path.parent / "log.txt", "wb") as log:
        environment = {**os.environ, "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        server = subprocess.Popen(
            [*module, *OPTIONS.split(), *options], stdout=log, stderr=log, env=environment, process_group=0
        )
    try:
        yield server.pid
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def cpu_seconds(group: int) -> dict[str, float]:
    """CPU seconds so far of a process group's server and of its engine's core."""
    spent = {"server": 0.0, "engine": 0.0}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(folder.name)) != group:
                continue
            name, _, fields = (folder / "stat").read_text().rpartition(")")
            ticks = sum(map(int, fields.split()[11:13]))
        except (OSError, ProcessLookupError):
            continue
        spent["engine" if "VLLM" in name else "server"] += ticks / os.sysconf("SC_CLK_TCK")
    return spent


async def metric(client: Any, name: str) -> float:
    """The sum of a counter of /metrics."""
    text = await client.text("/metrics")
    return sum(float(value) for value in re.findall(rf"^{re.escape(name)}\{{.*\}} (\S+)$", text, re.M))


async def asked(engine: ServerEngine, questions: list[tuple[list[int], list[int]]]) -> list[list[float]]:
    waiting = iter(range(len(questions)))
    found: list[list[float]] = [[] for _ in questions]

    async def one() -> None:
        for i in waiting:
            found[i] = await engine.logprobs(*questions[i])

    await asyncio.gather(*(one() for _ in range(AT_ONCE)))
    return found


async def measure(
    engine: ServerEngine, group: int, name: str, way: Any, questions: list[tuple[list[int], list[int]]], size: int
) -> list[list[float]]:
    counting, client = engine.client, engine.client.client
    counting.salt = f"{name} {size}"
    engine.scores = way
    for prefix in {tuple(ids[:size]) for ids, _ in questions}:
        await counting.post("/v1/completions", {"model": engine.served, "prompt": list(prefix), "max_tokens": 1})
    counting.pages = []
    counters = ("vllm:iteration_tokens_total_count", "vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total")
    await asyncio.sleep(1)  # the server's counters of the requests before
    before, spent = [await metric(client, counter) for counter in counters], cpu_seconds(group)
    mine, wall = time.process_time(), time.monotonic()
    found = await asked(engine, questions)
    mine, wall = time.process_time() - mine, time.monotonic() - wall
    await asyncio.sleep(1)
    spent = {part: seconds - spent[part] for part, seconds in cpu_seconds(group).items()}
    after = [await metric(client, counter) for counter in counters]
    steps, tokens, hits = (a - b for a, b in zip(after, before, strict=True))
    n = len(questions)
    sent, got = (sum(len(json.dumps(pair[side])) for pair in counting.pages) / n for side in (0, 1))
    cpu = (1000 * seconds / n for seconds in (mine, spent["server"], spent["engine"]))
    cells = [
        f"{len(counting.pages) / n:.2f}",
        *(f"{count / 1000:.1f}" for count in (sent, got)),
        *(f"{ms:.1f}" for ms in cpu),
    ]
    computed = f"{(tokens - hits) / n:.0f}" if tokens else "all"  # vLLM does not ask its cache for `prompt_logprobs`
    cells += [f"{steps / n:.2f}", computed, f"{1000 * wall / n:.0f}"]
    print(f"| {name} | {size} | {' | '.join(cells)} |", flush=True)
    return found


async def run(path: Path, group: int, scores: int) -> None:
    section = ModelConfig(model=str(path), engine="server", url=f"http://127.0.0.1:{PORT}")
    engine = await ServerEngine.start(section, "teachers.0", load_renderer(str(path)), timeout=600, wait=600)
    counting: Any = Counting(engine.client)
    engine.client = counting
    print(f"the server's own way: {engine.scores}")
    print(
        "| way | ids | requests | kB sent | kB got | caller's CPU ms | server's | engine's | engine steps "
        "| prompt tokens computed | ms a score |\n|" + "---|" * 11
    )
    vocabulary = range(100, 500)
    for size in SIZES:
        dice = random.Random(size)
        prefixes = [dice.choices(vocabulary, k=size) for _ in range(2)]
        texts = [prefixes[i % 2] + dice.choices(vocabulary, k=STEP) for i in range(scores)]
        among = [dice.sample(vocabulary, ANSWER) for _ in texts]
        followed = [await continuation(engine, ids, tokens) for ids, tokens in zip(texts, among, strict=True)]
        left = [[a[0], *(t for t in u if t not in a[:2])][:ANSWER] for a, u in zip(followed, among, strict=True)]
        both = {"followed": list(zip(texts, followed, strict=True)), "left": list(zip(texts, left, strict=True))}
        body = scoring("prompt_logprob_token_ids", engine.served, texts[0], left[0]).body
        print(f"| prompt_logprob_token_ids | {size} | 1 | {len(json.dumps(body)) / 1000:.1f} |" + " |" * 7)
        first = None
        for kind, questions in both.items():
            first = await measure(engine, group, f"logprob_token_ids, {kind}", "logprob_token_ids", questions, size)
            other = await measure(engine, group, f"allowed_token_ids, {kind}", "allowed_token_ids", questions, size)
            print(f"the largest difference of a log-prob: {furthest(first, other):.1e}")
        whole = await measure(engine, group, "prompt_logprobs", "prompt_logprobs", questions[:AT_ONCE], size)
        print(f"the largest difference of a log-prob: {furthest(first[:AT_ONCE], whole):.1e}")
    await counting.client.close()


def furthest(some: list[list[float]], others: list[list[float]]) -> float:
    return max(abs(a - b) for x, y in zip(some, others, strict=True) for a, b in zip(x, y, strict=True))


async def continuation(engine: Any, ids: list[int], among: list[int]) -> list[int]:
    body = {"model": engine.served, "prompt": ids, "max_tokens": ANSWER, "temperature": 0, "allowed_token_ids": among}
    page = await engine.client.post("/v1/completions", {**body, "return_token_ids": True})
    made: list[int] = page["choices"][0]["token_ids"]
    return made


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        path = build_model(Path(name), layers=1, hidden=64, positions=LENGTH)
        with vllm_server(path) as group:
            asyncio.run(run(path, group, int(sys.argv[1]) if len(sys.argv) > 1 else 40))
