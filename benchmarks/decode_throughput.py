"""How fast is our decoding, measured against vLLM itself? One run, interleaved, on CPU with a random model.

    python benchmarks/decode_throughput.py --json figures.json     about an hour
    python benchmarks/decode_throughput.py --quick                 about a minute: does it run

(a) the same requests all submitted at once, as `LLM.generate` does, their prompts in the cache · (a0) with bare
questions as their prompts · (a1) as (a) from an empty cache · (b) ours without scoring, from an empty cache · (b1) with
a cache that holds its prompts, as (a) · (c), (c1) likewise, every candidate scored on the same engine · (c2) on an
engine of its own · (d1) as (c) with a barrier over all problems, prompts as ids · (d2) with a barrier, prompts as text
· (d3) as (d2), scored as vLLM does by default. RESULTS.md explains them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cord_distill.engines.quiet import prepare_environment

prepare_environment()

from early_start import early_start_gain  # noqa: E402
from long_prefix import long_prefixes, own_time  # noqa: E402
from variants import Bench, Measured  # noqa: E402
from workload import Size, build_model, problems, start_engine  # noqa: E402

# (a) repeats the requests of the search before it, so it stands behind (b); (b1) and (c1) repeat (b) and (c). What is
# compared stands close together: a machine's speed drifts by some per cent within minutes.
ORDER = ("b", "b1", "a", "c", "c1", "d1", "d2", "d3", "a1", "a0", "c2")
NAMES = {
    "a": "all at once (ceiling)",
    "a0": "all at once, bare questions",
    "a1": "all at once, from an empty cache",
    "b": "ours, not scored",
    "b1": "ours, not scored, the cache as (a) finds it",
    "c": "ours, scored",
    "c1": "ours, scored, the cache as (a) finds it",
    "c2": "ours, scored on its own engine",
    "d1": "barrier, ids",
    "d2": "barrier, text",
    "d3": "barrier, text, vLLM's default scores",
}


async def throughput(
    folder: Path, size: Size, repetitions: int, layers: int, hidden: int, variants: Sequence[str]
) -> dict[str, list[Measured]]:
    """Every variant once per repetition, one after the other."""
    path = build_model(folder, layers=layers, hidden=hidden, positions=4096)
    # Room for all that is ever generated: with less, (a) would find its prompts evicted.
    engine, renderer = await start_engine(path, size, kv_cache_gib=2)
    prover = (await start_engine(path, size, kv_cache_gib=2))[0] if "c2" in variants else None
    bench = Bench(engine, prover, renderer, problems(renderer, size), size)
    await bench.run("b")
    seen: dict[str, list[Measured]] = {variant: [] for variant in variants}
    for number in range(repetitions):
        for variant in variants:
            seen[variant].append(await bench.run(variant))
        print(f"repetition {number + 1} of {repetitions}\n{table(seen)}", file=sys.stderr, flush=True)
    await engine.close()
    if prover is not None:
        await prover.close()
    return seen


def ratios(seen: dict[str, list[Measured]], over: str, under: str, what: str) -> list[float]:
    """Per repetition: neighbours in time are compared, so that a busy machine slows both."""
    pairs = zip(seen[over], seen[under], strict=True)
    return [getattr(x, what) / getattr(y, what) for x, y in pairs]


def table(seen: dict[str, list[Measured]]) -> str:
    lines = [
        "| | variant | tokens/CPU-s | to (a): median (range) | tokens/step | to (a) | hit rate | computed/generated |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for variant, runs in sorted(seen.items()):
        cpu, step = ratios(seen, variant, "a", "per_second"), ratios(seen, variant, "a", "per_step")
        names = ("per_second", "per_step", "hits")
        middle = {name: statistics.median(getattr(run, name) for run in runs) for name in names}
        computed = statistics.median(r.computed / r.tokens for r in runs)
        lines.append(
            f"| {variant} | {NAMES[variant]} | {middle['per_second']:,.0f} | {statistics.median(cpu):.3f} "
            f"({min(cpu):.3f}-{max(cpu):.3f}) | {middle['per_step']:.1f} | {statistics.median(step):.3f} | "
            f"{middle['hits']:.3f} | {computed:.2f} |"
        )
    return "\n".join(lines)


def figures(seen: dict[str, list[Measured]], own: dict[str, float]) -> dict[str, float]:
    def middle(variant: str) -> float:
        return round(statistics.median(ratios(seen, variant, "a", "per_second")), 4)

    named = {"ratio_proposals": "b", "ratio_scored": "c", "ratio_barrier_ids": "d1", "ratio_barrier_text": "d2"}
    return {**{name: middle(variant) for name, variant in named.items() if variant in seen}, **own}


async def main(options: argparse.Namespace) -> None:
    quick = options.quick
    size = Size(problems=4, steps=3, slots=16) if quick else Size()
    repetitions = 1 if quick else options.repetitions
    parts = options.only.split(",") if options.only else ["throughput", "long", "own", "early"]
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
            pairs = [("c", "d1"), ("c", "d2"), ("c", "d3"), ("b", "a1"), ("c", "a1")]
            for one, other in (pair for pair in pairs if set(pair) <= set(seen)):
                cpu, step = ratios(seen, one, other, "per_second"), ratios(seen, one, other, "per_step")
                middles = f"{statistics.median(cpu):.3f} per CPU-second, {statistics.median(step):.3f} per step"
                print(f"({one})/({other}): {middles}")
            found = figures(seen, own)
            details["runs"] = {variant: [asdict(run) for run in runs] for variant, runs in seen.items()}
        if "long" in parts:
            sizes = (256, 1024) if quick else (1024, 4096, 16384)
            details["long"] = await long_prefixes(folder, sizes, repetitions)
            print(json.dumps(details["long"], indent=1), flush=True)
        if "early" in parts:
            details["early"] = await early_start_gain(folder, size, (1, 2) if quick else (1, 4, 16), options)
            print(json.dumps(details["early"], indent=1), flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps({**(found or own), "details": details}, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="write the figures here")
    parser.add_argument("--quick", action="store_true", help="a small workload, once: only to see that everything runs")
    parser.add_argument("--only", help="some of throughput,long,own,early")
    parser.add_argument("--variants", default=",".join(ORDER), help="of the throughput; a and b at least")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=256)
    asyncio.run(main(parser.parse_args()))
