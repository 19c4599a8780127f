"""What opening a run costs: seconds and memory of resuming after many calls, nearly all of them of finished problems.

    python benchmarks/resume.py [CALLS] [OPEN]

A call is half the time a continuation of 500 tokens and half a score, as in the paper's recipe. The run is opened in a
process of its own, which also looks up every problem and reads the answers of the OPEN ones that are not finished.
"""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cord_distill.run_folder.journal import Journal
from cord_distill.types import Problem

CALLS_OF_A_PROBLEM = 100


def problem(number: int) -> Problem:
    return Problem(f"p{number}", f"What is {number} + {number}?", str(2 * number))


def write(path: Path, calls: int, left_open: int) -> None:
    """A run of `calls` calls whose last problems are not finished."""
    rng = random.Random(0)
    answers = []
    for _ in range(50):
        ids = [rng.randrange(100_000) for _ in range(500)]
        text = "".join(rng.choice("abcdefghij klmnop") for _ in range(2000))
        answers.append({"ids": ids, "text": text, "stop": "step", "matched": "### Step"})
    journal = Journal(path, fingerprint="f", inputs={})
    problems = calls // CALLS_OF_A_PROBLEM
    for i in range(problems):
        for k in range(CALLS_OF_A_PROBLEM):
            journal.record_call(f"p{i}", f"{i:016x}{k:016x}", answers[k % 50] if k % 2 else [-0.25])
        if i < problems - left_open:
            row = {"id": f"p{i}", "error": None, "steps": [answers[k % 50] for k in range(CALLS_OF_A_PROBLEM)]}
            journal.finish(problem(i), row)
    journal.close()


def read(path: Path, calls: int, left_open: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.monotonic()
    journal = Journal(path, fingerprint="f", inputs={})
    opened = time.monotonic() - begun
    problems = calls // CALLS_OF_A_PROBLEM
    todo = [i for i in range(problems) if not journal.is_finished(problem(i))]
    known = sum(len(journal.calls(f"p{i}")) for i in todo)
    seconds = time.monotonic() - begun
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert len(todo) == left_open and known == left_open * CALLS_OF_A_PROBLEM
    print(f"opened in {opened:.2f} s, ready in {seconds:.2f} s, {more:.0f} MiB more")
    journal.close()


def main() -> None:
    calls, left_open = (int(one) for one in (sys.argv[1:3] or ("200000", "20")))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        write(path, calls, left_open)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
        print(f"{calls} calls, {left_open} problems open, {size / 2**20:.0f} MiB on disk", flush=True)
        for _ in range(2):
            subprocess.run([sys.executable, __file__, "--read", str(path), str(calls), str(left_open)], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        read(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
