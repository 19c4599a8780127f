"""How the time of reading an answer grows with the text: python benchmarks/extraction.py

It prints for each trap the CPU milliseconds for 100,000 and for 200,000 characters. Twice as many are linear; a pattern
that backtracks over the text takes four times as many and more.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cord_distill.grading.extract import answer_of, loose_answer

TRAPS = (
    "\\boxed{",
    "\\boxed{7}",
    "</think><think>",
    "**Answer:** ",
    "1.2.",
    "1,000,",
    "\\frac{1}{2}",
    "答案",
    " ",
    "-",
    "$",
)


def milliseconds(text: str) -> float:
    begun = time.process_time()
    answer_of("x</think>" + text)
    loose_answer(text)
    return 1000 * (time.process_time() - begun)


if __name__ == "__main__":
    for trap in TRAPS:
        text = trap * (100_000 // len(trap))
        once, twice = (min(milliseconds(text * n) for _ in range(3)) for n in (1, 2))
        print(f"{trap!r}: {once:.1f} ms, {twice:.1f} ms for twice the length")
