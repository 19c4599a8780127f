"""Does it keep its promises on your GPU? One script, about 15 minutes on one GPU, and a block to paste into an issue.

    python benchmarks/gpu_check.py            one GPU
    python benchmarks/gpu_check.py --tiny     two minutes on a CPU: does it run

Decoding, on a random model: (a) all requests of a search at once, as `LLM.generate` does; (b) our search without
scores; (c) with every candidate scored. Training, on random weights in the size of R1-Distill-Qwen-1.5B:
`train_throughput.py`. Beside each figure stands what it is held against. The paper's are for teachers of 32B, so a
share that is missed with a small model is a hint and no proof. Random weights say nothing about accuracy. What was run
of this so far is --tiny.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cord_distill.common.quiet import prepare_environment

prepare_environment()

from variants import Bench, Measured  # noqa: E402
from workload import Size, build_model, problems, start_engine  # noqa: E402

from cord_distill.engines.version import installed_versions  # noqa: E402
from cord_distill.training.launch import gpu_count  # noqa: E402

STEP_RATIO = 0.95
SCORING_SHARE = 0.04
TO_CURATION = 1.72
MFU = 0.5
MEMORY = 0.15


@dataclass(frozen=True)
class Check:
    """One figure. agreed: None where it cannot be said, on a CPU for instance."""

    what: str
    found: str
    held_against: str
    agreed: bool | None


async def decoded(folder: Path, size: Size, layers: int, hidden: int, gib: float) -> dict[str, Measured]:
    """Variants b, a and c on one engine, after a first search that compiles what has to be compiled."""
    path = build_model(folder, layers=layers, hidden=hidden, positions=4096)
    engine, renderer = await start_engine(path, size, kv_cache_gib=gib)
    bench = Bench(engine, None, renderer, problems(renderer, size), size)
    await bench.run("b")
    measured = {variant: await bench.run(variant) for variant in ("b", "a", "c")}
    await engine.close()
    return measured


def decoding_checks(found: dict[str, Measured], questions: int, gpu: bool) -> list[Check]:
    """a: all at once; b: ours; c: ours, scored."""
    a, b, c = found["a"], found["b"], found["c"]
    ratio, scoring, cost = b.per_step / a.per_step, 1 - b.wall / c.wall, c.wall / a.wall
    return [
        Check(
            "tokens per engine step, ours to LLM.generate",
            f"{ratio:.3f}",
            f"at least {STEP_RATIO} (our target)",
            ratio >= STEP_RATIO,
        ),
        Check(
            "share of the wall time that scoring takes",
            f"{100 * scoring:.1f} %",
            f"{100 * SCORING_SHARE:.0f} % (paper, 32B)",
            scoring <= 2 * SCORING_SHARE if gpu else None,
        ),
        Check(
            "seconds per question, step by step and scored, to the same tokens all at once",
            f"{c.wall / questions:.2f} to {a.wall / questions:.2f}, {cost:.2f} times",
            f"{TO_CURATION} times (paper, CoRD to Curation)",
            cost <= TO_CURATION if gpu else None,
        ),
        Check(
            "generated tokens per second, our search",
            f"{b.tokens / b.wall:,.0f}",
            "about 1,000 per GPU for 32B in bf16 (vLLM); other sizes: nothing published",
            None,
        ),
    ]


def training_checks(figures: list[dict[str, Any]]) -> list[Check]:
    """Of the recipe's rows in the JSON of train_throughput.py; one that failed is a check that did not agree."""
    made = []
    for one in figures:
        what = f"training {one['model']}, {one['length']:,} tokens, {one['settings']}"
        if one.get("failed"):
            made.append(Check(what, str(one["failed"]), "it runs", False))
            continue
        mfu, peak, predicted = one.get("mfu"), one.get("peak_bytes"), one.get("predicted_bytes")
        said = f"{one['tokens_per_second']:,.0f} tokens/s" + (f", MFU {100 * mfu:.0f} %" if mfu else "")
        reached = None if mfu is None else mfu >= 0.8 * MFU
        made.append(Check(what, said, f"MFU {100 * MFU:.0f} % (published for 7B)", reached))
        if peak and predicted:
            near = abs(peak / predicted - 1) <= MEMORY
            held = f"{predicted / 2**30:.1f} GiB (cord check), within {100 * MEMORY:.0f} %"
            made.append(Check("its peak memory", f"{peak / 2**30:.1f} GiB", held, near))
    return made


def block(checks: list[Check], device: str) -> str:
    """What to paste into an issue."""
    signs = {True: "agreed", False: "DID NOT AGREE", None: "not judged"}
    packages = ", ".join(f"{name} {version}" for name, version in installed_versions().items())
    head = f"{packages} on {device}, Python {platform.python_version()}"
    rows = [f"| {one.what} | {one.found} | {one.held_against} | {signs[one.agreed]} |" for one in checks]
    return "\n".join([head, "", "| figure | found | held against | |", "|---|---|---|---|", *rows])


def trained(tiny: bool) -> list[dict[str, Any]]:
    """The JSON of train_throughput.py in a process of its own, so that the engine's memory is free."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "figures.json"
        chosen = ["--tiny"] if tiny else ["--models", "1.5b", "--lengths", "4096"]
        script = Path(__file__).with_name("train_throughput.py")
        code = subprocess.run([sys.executable, script, *chosen, "--json", file], check=False).returncode
        if code or not file.is_file():
            shown = "tiny" if tiny else "1.5b"
            return [{"model": shown, "length": 0, "settings": "recipe", "failed": f"exit code {code}"}]
        found: list[dict[str, Any]] = json.loads(file.read_text())
        return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="small models, once: does it run")
    parser.add_argument("--no-training", action="store_true", help="decoding alone")
    given = parser.parse_args()
    gpus = gpu_count()
    if not given.tiny and not gpus:
        parser.error("no GPU here: --tiny shows that it runs")
    size = Size(problems=4, steps=3, slots=16) if given.tiny else Size(slots=256, problems=64)
    layers, hidden, gib = (2, 256, 1.0) if given.tiny else (28, 1536, 8.0)
    with tempfile.TemporaryDirectory() as name:
        found = asyncio.run(decoded(Path(name), size, layers, hidden, gib))
    checks = decoding_checks(found, size.problems, bool(gpus))
    checks += [] if given.no_training else training_checks(trained(given.tiny))
    device = gpu_name() if gpus else f"a CPU ({platform.processor() or platform.machine()})"
    print(f"\nPaste this into an issue:\n\n{block(checks, device)}")
    return int(any(one.agreed is False for one in checks) and not given.tiny)


def gpu_name() -> str:
    listed = subprocess.run(
        ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return (listed.stdout.splitlines() or ["a GPU"])[0]


if __name__ == "__main__":
    sys.exit(main())
