"""How fast is our decoding, measured against vLLM itself? One run, interleaved, on CPU with a random model.

    python benchmarks/decode_throughput.py --json figures.json     an hour and a half
    python benchmarks/decode_throughput.py --quick                 about two minutes: does it run

(a) the same requests all submitted at once, as `LLM.generate` does, their prompts in the cache · (a0) with bare
questions as their prompts · (a1) as (a) from an empty cache · (b) ours without scoring, from an empty cache · (c)
likewise, every candidate scored on the same engine · (c2) on an engine of its own · (d1) as (c) with a barrier over all
problems, prompts as ids · (d2) with a barrier, prompts as text · (d3) as (d2), scored as vLLM does by default.

The target: (b) and (c) generate at least 0.95 of (a)'s tokens per engine step. Tokens per CPU-second are reported, and
no target: beside every variant (a) runs in another process on the same core (rival.py). RESULTS.md explains them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cord_distill.common.quiet import prepare_environment

prepare_environment()

from long_prefix import long_prefixes, own_time  # noqa: E402
from rival import Rival, stay_on_one_core  # noqa: E402
from variants import Bench, Measured  # noqa: E402
from workload import Size, build_model, problems, start_engine  # noqa: E402

# (a) repeats the requests of the search before it, so it stands behind (b).
ORDER = ("b", "a", "c", "d1", "d2", "d3", "a1", "a0", "c2")
# Of (a)'s generated tokens per engine step.
TARGET = 0.95
NAMES = {
    "a": "all at once (ceiling)",
    "a0": "all at once, bare questions",
    "a1": "all at once, from an empty cache",
    "b": "ours, not scored",
    "c": "ours, scored",
    "c2": "ours, scored on its own engine",
    "d1": "barrier, ids",
    "d2": "barrier, text",
    "d3": "barrier, text, vLLM's default scores",
}


async def throughput(
    folder: Path, size: Size, repetitions: int, layers: int, hidden: int, variants: Sequence[str]
) -> list[dict[str, Run]]:
    """Every variant once per repetition, each with (a) beside it."""
    path = build_model(folder, layers=layers, hidden=hidden, positions=4096)
    rival = Rival(path, size)
    stay_on_one_core()
    # Room for all that is ever generated: with less, (a) would find its prompts evicted.
    engine, renderer = await start_engine(path, size, kv_cache_gib=2)
    prover = (await start_engine(path, size, kv_cache_gib=2))[0] if "c2" in variants else None
    bench = Bench(engine, prover, renderer, problems(renderer, size), size)
    await bench.run("b")
    seen: list[dict[str, Run]] = []
    for number in range(repetitions):
        seen.append({})
        for variant in variants:
            rival.go()
            measured = await bench.run(variant)
            seen[-1][variant] = Run(measured, ceiling=rival.finish(bench))
        print(f"repetition {number + 1} of {repetitions}\n{table(seen)}", file=sys.stderr, flush=True)
    rival.close()
    await engine.close()
    if prover is not None:
        await prover.close()
    return seen


@dataclass(frozen=True)
class Run:
    """ceiling: what the (a) beside it made, in tokens per CPU-second."""

    measured: Measured
    ceiling: float

    @property
    def to_ceiling(self) -> float:
        return self.measured.per_second / self.ceiling


def per_second(seen: list[dict[str, Run]], over: str, under: str = "a") -> list[float]:
    """Per repetition. Each is first compared with the (a) beside it, so that a machine that slows down slows both;
    what one process is slower than the other, (a) against (a), is taken out with it.
    """
    return [runs[over].to_ceiling / runs[under].to_ceiling for runs in seen]


def per_step(seen: list[dict[str, Run]], over: str, under: str = "a") -> list[float]:
    return [runs[over].measured.per_step / runs[under].measured.per_step for runs in seen]


def table(seen: list[dict[str, Run]]) -> str:
    lines = [
        "| | variant | tokens/CPU-s | to (a): median (range) | tokens/step | to (a) | hit rate | computed/generated |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for variant in sorted(seen[0]):
        runs = [repetition[variant].measured for repetition in seen]
        cpu = per_second(seen, variant)
        names = ("per_second", "per_step", "hits")
        middle = {name: statistics.median(getattr(run, name) for run in runs) for name in names}
        computed = statistics.median(r.computed / r.tokens for r in runs)
        lines.append(
            f"| {variant} | {NAMES[variant]} | {middle['per_second']:,.0f} | {statistics.median(cpu):.3f} "
            f"({min(cpu):.3f}-{max(cpu):.3f}) | {middle['per_step']:.1f} | "
            f"{statistics.median(per_step(seen, variant)):.3f} | {middle['hits']:.3f} | {computed:.2f} |"
        )
    return "\n".join(lines)


def figures(seen: list[dict[str, Run]], own: dict[str, float]) -> dict[str, float]:
    """`step_ratio_...`: generated tokens per engine step against (a), as in TARGET; `ratio_...`: per CPU-second."""
    named = {"proposals": "b", "scored": "c", "barrier_ids": "d1", "barrier_text": "d2"}
    measured = {name: variant for name, variant in named.items() if variant in seen[0]}
    steps = {f"step_ratio_{name}": statistics.median(per_step(seen, v)) for name, v in measured.items()}
    cpu = {f"ratio_{name}": statistics.median(per_second(seen, v)) for name, v in measured.items()}
    return {**{name: round(value, 4) for name, value in {**steps, **cpu}.items()}, **own}


def verdict(seen: list[dict[str, Run]], variant: str) -> str:
    """Whether a variant reaches the target."""
    ratio = statistics.median(per_step(seen, variant))
    reached = "reached" if ratio >= TARGET else "missed"
    return f"({variant})/(a): {ratio:.3f} tokens per engine step, target {TARGET}: {reached}"


async def main(options: argparse.Namespace) -> None:
    quick = options.quick
    size = Size(problems=4, steps=3, slots=16) if quick else Size()
    repetitions = 1 if quick else options.repetitions
    parts = options.only.split(",") if options.only else ["throughput", "long", "own"]
    found: dict[str, Any] = {}
    details: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own: dict[str, float] = {}
        if "own" in parts:
            own, details["own"] = await own_time(folder, 2048 if quick else 16384)
            print(json.dumps(details["own"], indent=1), flush=True)
        if "throughput" in parts:
            variants = [v for v in ORDER if v in options.variants.split(",")]
            seen = await throughput(folder, size, repetitions, options.layers, options.hidden, variants)
            print(table(seen), flush=True)
            for variant in (v for v in ("b", "c") if v in seen[0]):
                print(verdict(seen, variant))
            pairs = [("c", "d1"), ("c", "d2"), ("c", "d3"), ("b", "a1"), ("c", "a1")]
            for one, other in (pair for pair in pairs if set(pair) <= set(seen[0])):
                cpu, step = per_second(seen, one, other), per_step(seen, one, other)
                spread = f"{statistics.median(cpu):.3f} ({min(cpu):.3f}-{max(cpu):.3f}) per CPU-second"
                print(f"({one})/({other}): {statistics.median(step):.3f} per step, {spread}")
            itself = ", ".join(f"{runs['a'].to_ceiling:.3f}" for runs in seen)
            print(f"(a) against the (a) beside it: {itself}")
            found = figures(seen, own)
            details["runs"] = {v: [asdict(runs[v]) for runs in seen] for v in variants}
        if "long" in parts:
            sizes = (256, 1024) if quick else (1024, 4096, 16384)
            details["long"] = await long_prefixes(folder, sizes, repetitions)
            print(json.dumps(details["long"], indent=1), flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps({**(found or own), "details": details}, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="write the figures here")
    parser.add_argument("--quick", action="store_true", help="a small workload, once: only to see that everything runs")
    parser.add_argument("--only", help="some of throughput,long,own")
    parser.add_argument(
        "--variants", default="b,a,c,c2,d1,d2", help=f"of the throughput; a and b at least, of {','.join(ORDER)}"
    )
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=256)
    asyncio.run(main(parser.parse_args()))
