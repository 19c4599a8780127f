"""The benchmark runs, and writes the figures that it promises. How good they are is no matter for a test."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parents[1] / "benchmarks" / "decode_throughput.py"


def test_the_quick_run_writes_every_figure(tmp_path):
    figures = tmp_path / "figures.json"
    variants = ["a", "a0", "a1", "b", "c", "c2", "d1", "d2", "d3"]
    command = [sys.executable, SCRIPT, "--quick", "--json", figures, "--variants", ",".join(variants)]
    subprocess.run(command, check=True, timeout=900, cwd=tmp_path)
    found = json.loads(figures.read_text())
    kinds = ("proposals", "scored", "barrier_ids", "barrier_text")
    names = {f"{unit}_{kind}" for unit in ("step_ratio", "ratio") for kind in kinds}
    assert all(found[name] > 0 for name in names)
    # Differences of two measured times: on a busy machine one may fall below zero.
    assert all(math.isfinite(found[name]) for name in ("ms_per_proposal_16k", "ms_per_score_16k"))
    assert sorted(found["details"]["runs"]) == variants
