"""How fast does a recipe train, and does it take the memory that `cord check` predicts? Beside plain TRL, in one run.

    python benchmarks/train_throughput.py --json figures.json         1.5B and 7B at 4k, 16k, 20k; needs GPUs
    python benchmarks/train_throughput.py --models 7b --lengths 4096  one line of it
    python benchmarks/train_throughput.py --tiny                      a minute on a CPU: does it run

Random weights in the sizes of R1-Distill-Qwen, rows of one length, `accelerate launch` as users type it. Per length
first the recipe (r1_qwen_7b, its settings and DeepSpeed file as they are), then TRL with its defaults on the same ids;
both are timed by the same callback (train_child.py) over the updates after the second. TRL's default of 8 rows per
device is tried first, then 1 row. RESULTS.md says what the figures mean.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cord_distill.common.paths import bundled
from cord_distill.recipe.file import find_recipe, load_recipe
from cord_distill.training.launch import gpu_count, training_command
from cord_distill.training.memory.predict import GIB, predict
from cord_distill.training.memory.setup import setup_of
from cord_distill.training.memory.shapes import Shape, shape_of

RECIPE = "r1_qwen_7b"
HUB = "deepseek-ai/DeepSeek-R1-Distill-Qwen-"
TINY = Shape(64, 2, 2, 1, 32, 128, 1024, 4096, qkv_bias=True, qk_norm=False, tied=False)
WARM_UP = 2
# Dense bf16 of one GPU, without sparsity, in TFLOP/s (makers' data sheets, SXM). Others: --peak-tflops.
PEAK_TFLOPS = {"H100": 989, "H200": 989, "A100": 312, "B200": 2250}


@dataclass(frozen=True)
class Measured:
    """One training. seconds: per update, warm-up left out. peak: bytes allocated on the fullest GPU, None on a CPU."""

    seconds: list[float]
    tokens_per_update: int
    gpus: int
    rows_per_device: int
    peak: int | None
    gpu: str | None

    @property
    def tokens_per_second(self) -> float:
        return self.tokens_per_update / statistics.median(self.seconds)


def flops_per_token(shape: Shape, length: int) -> int:
    """Of forward and backward pass: 6 per weight of a matrix product, and attention over the causal half of `length`.

    Recomputation under checkpointing does not count (model FLOPs, Chowdhery et al. 2022, appendix B; causal).
    """
    weights = shape.layers * sum(a * b for a, b in shape.linears.values()) + shape.embedding
    return 6 * weights + 6 * shape.layers * shape.q * length


def utilisation(found: Measured, shape: Shape, length: int, peak_tflops: float | None) -> float | None:
    """Model FLOPs utilisation, 0..1; None where the peak of the device is not known."""
    known = peak_tflops or next((v for name, v in PEAK_TFLOPS.items() if found.gpu and name in found.gpu), None)
    if not known:
        return None
    return found.tokens_per_second * flops_per_token(shape, length) / (found.gpus * known * 1e12)


def build_student(folder: Path, shape: Shape) -> Path:
    """Random weights of `shape` in bfloat16 with a small tokenizer of R1's manners. Kept where it is there already."""
    if (folder / "config.json").is_file():
        return folder
    import torch
    from transformers import AutoModelForCausalLM, Qwen2Config

    from cord_distill.worlds.random_models import FAMILIES, build_tokenizer

    tokenizer = build_tokenizer(FAMILIES["r1"], "r1")
    config = Qwen2Config(
        hidden_size=shape.hidden, num_hidden_layers=shape.layers, num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads, intermediate_size=shape.intermediate, vocab_size=shape.vocab,
        max_position_embeddings=shape.positions, tie_word_embeddings=shape.tied, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_rows(path: Path, student: Path, length: int, rows: int) -> None:
    """Rows whose rendered ids have `length` tokens, or one or two fewer."""
    from cord_distill.prompts.render import load_renderer

    renderer = load_renderer(str(student), system_prompt="", name="student")
    completion = "{}</think>\n\nThe answer is \\boxed{{4}}."
    sizes = [len(renderer.training_ids("Row 10", completion.format(" so" * n))[0]) for n in (100, 200)]
    per_word = (sizes[1] - sizes[0]) / 100
    text = completion.format(" so" * (100 + int((length - sizes[0]) / per_word)))
    path.parent.mkdir(parents=True, exist_ok=True)
    made = [
        {
            "prompt": [{"role": "user", "content": f"Row {10 + i}"}],
            "completion": [{"role": "assistant", "content": f"<think>\n{text}"}],
        }
        for i in range(rows)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")


def train(settings: str, overrides: list[str], folder: Path, length: int, rows: int = 0) -> Measured | str:
    """One training in processes of its own. settings: `recipe` or `trl`; rows: per device under TRL, 0 = its default.

    Returns "out of memory" where that is what ended it; any other failure is an error.
    """
    recipe = load_recipe(RECIPE, overrides)
    argv, environment = training_command(find_recipe(RECIPE), recipe, overrides)
    argv[argv.index(str(bundled("train.py")))] = str(Path(__file__).with_name("train_child.py").resolve())
    folder.mkdir(parents=True)
    environment |= {"CORD_METER": str(folder), "CORD_SETTINGS": settings, "CORD_ROWS": str(rows)}
    done = subprocess.run(
        argv, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        if "OutOfMemoryError" in done.stdout or "out of memory" in done.stdout:
            return "out of memory"
        raise SystemExit(f"{settings} at {length} stopped with {done.returncode}:\n{done.stdout[-4000:]}")
    ranks = [json.loads(path.read_text()) for path in sorted(folder.glob("rank-*.json"))]
    peaks = [rank["peak_allocated"] for rank in ranks if rank["peak_allocated"] is not None]
    first = ranks[0]
    return Measured(
        first["seconds"][WARM_UP:], first["tokens"] // len(first["seconds"]), len(ranks), first["rows_per_device"],
        max(peaks) if peaks else None, first["gpu"],
    )  # fmt: skip


def measure(name: str, shape: Shape, length: int, steps: int, folder: Path, peak_tflops: float | None) -> list[Any]:
    """The recipe and TRL on one model at one length: a dict of figures each."""
    student = build_student(folder / "models" / name, shape)
    out = folder / f"{name}-{length}"
    # Whole updates of 8 rows per device, TRL's default.
    write_rows(out / "dataset" / "train.jsonl", student, length, rows=16 * max(1, gpu_count()))
    overrides = [
        f"output_dir={out}", f"train.model_name_or_path={student}", f"train.max_length={length}",
        f"train.max_steps={steps + WARM_UP}", "train.save_strategy='no'", "track.wandb.mode=disabled",
        "data.filters.max_tokens=null",
    ]  # fmt: skip
    predicted = predict(shape, setup_of(load_recipe(RECIPE, overrides), shape, max(1, gpu_count()))).gpu
    runs = {"recipe": train("recipe", overrides, out / "recipe", length)}
    runs["TRL's defaults"] = train("trl", overrides, out / "trl", length)
    if isinstance(runs["TRL's defaults"], str):
        runs["TRL's defaults, 1 row per device"] = train("trl", overrides, out / "trl-1", length, rows=1)
    figures = []
    for settings, run in runs.items():
        one: dict[str, Any] = {"model": name, "length": length, "settings": settings}
        one["predicted_bytes"] = predicted if settings == "recipe" else None
        if isinstance(run, str):
            one["failed"] = run
        else:
            one |= {
                "tokens_per_second": run.tokens_per_second,
                "gpus": run.gpus,
                "gpu": run.gpu,
                "peak_bytes": run.peak,
            }
            one |= {"mfu": utilisation(run, shape, length, peak_tflops), "rows_per_device": run.rows_per_device}
        figures.append(one)
        print(line(one), flush=True)
    return figures


def line(one: dict[str, Any]) -> str:
    """One row of the Markdown table."""

    def gib(value: int | None) -> str:
        return "–" if value is None else f"{value / GIB:.1f}"

    said = one.get("failed") or f"{one['tokens_per_second']:,.0f}"
    mfu = f"{100 * one['mfu']:.1f} %" if one.get("mfu") is not None else "–"
    cells = [one["model"], f"{one['length']:,}", one["settings"], said, mfu, gib(one.get("peak_bytes"))]
    return f"| {' | '.join([*cells, gib(one['predicted_bytes'])])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=("1.5b", "7b"), default=["1.5b", "7b"])
    parser.add_argument("--lengths", nargs="+", type=int, default=[4096, 16384, 20480])
    parser.add_argument("--steps", type=int, default=6, help="timed updates, after two that are not")
    parser.add_argument("--peak-tflops", type=float, help="bf16 peak of one GPU, where it is not a known one")
    parser.add_argument("--folder", type=Path, help="keeps models and runs there (7B: 15 GB; default: a temporary one)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--tiny", action="store_true", help="a 2-layer model at 256 tokens: does it run")
    given = parser.parse_args()
    if not given.tiny and not gpu_count():
        parser.error("no GPU here: --tiny shows that it runs")
    shapes = {"tiny": TINY} if given.tiny else {x: replace(shape_of(HUB + x.upper()), tied=False) for x in given.models}
    lengths, steps = ([256], 2) if given.tiny else (given.lengths, given.steps)
    print(
        "| model | tokens | settings | tokens/s | MFU | peak, GiB | `cord check`, GiB |\n|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.folder or Path(temporary)).absolute()
        figures = [
            one
            for name, shape in shapes.items()
            for length in lengths
            for one in measure(name, shape, length, steps, folder, given.peak_tflops)
        ]
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
