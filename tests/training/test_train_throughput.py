"""The training benchmark: its arithmetic on known sizes, and a tiny run on CPU. Its speed is no matter for a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cord_distill.training.memory.predict import GIB
from cord_distill.training.memory.shapes import shape_of

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from train_throughput import TINY, Measured, flops_per_token, line, utilisation  # noqa: E402


def test_flops_are_six_per_weight_and_causal_attention() -> None:
    """Fails for attention counted over the whole square, and for the input embedding counted as a product."""
    linear = 2 * (64 * (64 + 32 + 32 + 64) + 3 * 64 * 128)
    assert flops_per_token(TINY, 256) == 6 * (linear + 64 * 1024) + 6 * 2 * 64 * 256
    seven = shape_of("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B")
    # 7.07e9 weights stand in matrix products; attention adds 28 layers x 3,584 x 20,480 x 6.
    assert flops_per_token(seven, 20480) == pytest.approx(6 * 7.07e9 + 1.233e10, rel=2e-3)


def test_utilisation_is_of_all_gpus_and_unknown_without_a_peak() -> None:
    found = Measured([2.0, 1.0, 4.0], 1000, gpus=2, rows_per_device=1, peak=None, gpu="NVIDIA H200")
    assert found.tokens_per_second == 500  # the median update
    assert utilisation(found, TINY, 256, None) == 500 * flops_per_token(TINY, 256) / (2 * 989e12)
    assert utilisation(Measured([1.0], 1, 1, 1, None, None), TINY, 256, None) is None


def test_a_run_that_did_not_fit_is_a_row_of_its_own() -> None:
    """Fails for a benchmark that shows nothing, or 0 tokens/s, where TRL's defaults run out of memory."""
    one = {"model": "7b", "length": 20480, "settings": "TRL's defaults", "predicted_bytes": None}
    assert line({**one, "failed": "out of memory"}) == "| 7b | 20,480 | TRL's defaults | out of memory | – | – | – |"
    measured = {**one, "tokens_per_second": 1234.5, "mfu": 0.41, "peak_bytes": 3 * GIB, "predicted_bytes": 4 * GIB}
    assert line(measured).endswith("| 1,234 | 41.0 % | 3.0 | 4.0 |")


@pytest.mark.slow
def test_the_tiny_run_trains_the_recipe_and_plain_trl_on_the_same_rows(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    argv = [sys.executable, BENCHMARKS / "train_throughput.py", "--tiny", "--json", figures, "--folder", tmp_path / "x"]
    out = subprocess.run(argv, text=True, capture_output=True, timeout=900, cwd=tmp_path)
    assert out.returncode == 0, out.stderr[-3000:]
    ours, trl = json.loads(figures.read_text())
    assert [ours["settings"], trl["settings"]] == ["recipe", "TRL's defaults"]
    assert (ours["rows_per_device"], trl["rows_per_device"]) == (1, 8)
    assert ours["predicted_bytes"] > 0 and ours["peak_bytes"] is None  # allocated bytes are a GPU's
    for one in (ours, trl):
        assert one["tokens_per_second"] > 0 and one["mfu"] is None
    lengths = (tmp_path / "x/tiny-256/checkpoints/sample_row.txt").read_text()
    assert "trained (" in lengths
