"""benchmarks/gpu_check.py: what it judges, and that it runs. How good the figures are is no matter for a test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from gpu_check import Check, block, decoding_checks, training_checks  # noqa: E402
from variants import Measured  # noqa: E402

TRAINED = {"model": "1.5b", "length": 4096, "settings": "recipe", "tokens_per_second": 9000.0, "mfu": 0.45}


def test_decoding_is_held_against_vllm_and_the_paper() -> None:
    """Fails a ratio of the wrong way round, and a judgement of times that were taken on a CPU."""
    found = {"a": Measured(1000, 10, 1.0, 10.0), "b": Measured(1000, 11, 1.0, 11.0), "c": Measured(1000, 11, 1.0, 12.0)}
    steps, scoring, cost, speed = decoding_checks(found, questions=4, gpu=True)
    assert (steps.found, steps.agreed) == ("0.909", False)
    assert (scoring.found, scoring.agreed) == ("8.3 %", False)
    assert (cost.found, cost.agreed) == ("3.00 to 2.50, 1.20 times", True)
    assert (speed.found, speed.agreed) == ("91", None)
    assert [one.agreed for one in decoding_checks(found, questions=4, gpu=False)] == [False, None, None, None]


@pytest.mark.parametrize(("peak", "agreed"), [(10, True), (12, False)])
def test_memory_is_held_against_what_cord_check_predicts(peak: int, agreed: bool) -> None:
    rate, memory = training_checks([{**TRAINED, "peak_bytes": peak << 30, "predicted_bytes": 10 << 30}])
    assert rate.found == "9,000 tokens/s, MFU 45 %" and rate.agreed is True
    assert (memory.found, memory.agreed) == (f"{peak}.0 GiB", agreed)


def test_a_training_that_failed_did_not_agree() -> None:
    failed: dict[str, Any] = {**TRAINED, "failed": "out of memory"}
    (one,) = training_checks([failed])
    assert one.agreed is False and one.found == "out of memory"
    assert "| out of memory | it runs | DID NOT AGREE |" in block([one, Check("x", "1", "2", None)], "a GPU")


@pytest.mark.slow
def test_the_tiny_run_prints_a_block_for_an_issue(tmp_path: Path) -> None:
    argv = [sys.executable, BENCHMARKS / "gpu_check.py", "--tiny"]
    out = subprocess.run(argv, text=True, capture_output=True, timeout=900, cwd=tmp_path)
    assert out.returncode == 0, out.stderr[-3000:]
    said = out.stdout.partition("Paste this into an issue:")[2]
    assert "tokens per engine step, ours to LLM.generate" in said and "training tiny, 256 tokens, recipe" in said
