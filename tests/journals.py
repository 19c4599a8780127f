"""What tests ask of a run's journal: the answers of all its problems, finished or not, and a kill at a random place."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cord_distill.run_folder.calls_file import CallsFile

KEPT = "kept"


def keep_calls(setattr: Any = setattr) -> None:
    """From now on a finished problem's answers are moved to `kept/` beside the journal, where they would be deleted."""

    def discard(self: CallsFile) -> None:
        kept = self.path.parents[2] / KEPT
        kept.mkdir(exist_ok=True)
        if self.calls:
            self.path.rename(kept / self.path.name)
        else:
            self.path.unlink(missing_ok=True)
        self._close()

    setattr(CallsFile, "discard", discard)


def files(journal: Path) -> list[Path]:
    return [
        path
        for folder in (journal / "rows", journal / "open", journal.parent / KEPT)
        for path in sorted(folder.glob("*.jsonl"))
    ]


def entries(journal: Path) -> list[dict[str, Any]]:
    """Every row and every answer, those of finished problems if `keep_calls` was called before they were asked for."""
    found = []
    for path in files(journal):
        with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
            found += [json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    return found


def calls(journal: Path) -> list[tuple[str, str]]:
    """(problem, key of the request or `row`) of each."""
    return [(entry["p"], entry.get("k", "row")) for entry in entries(journal)]


def lines_of(journal: Path) -> int:
    """Whole lines so far, while another process writes."""
    return _sum(journal, lambda path: path.read_bytes().count(b"\n"))


def written(journal: Path) -> int:
    """Bytes so far, while another process writes."""
    return _sum(journal, lambda path: path.stat().st_size)


def _sum(journal: Path, measure: Callable[[Path], int]) -> int:
    total = 0
    for path in files(journal):
        with contextlib.suppress(FileNotFoundError):  # moved meanwhile
            total += measure(path)
    return total


def cut_anywhere(journal: Path, rng: random.Random) -> None:
    """Leaves what a kill at a random place leaves: some rows and half a line, some answers of other problems. The
    answers of all problems must have been kept."""
    (rows,) = (journal / "rows").glob("*.jsonl")
    lines = rows.read_bytes().splitlines(keepends=True)
    left = rng.randrange(len(lines))
    torn = lines[left][: rng.randrange(len(lines[left]))]
    rows.write_bytes(b"".join(lines[:left]) + torn)
    finished = {json.loads(line)["p"] for line in lines[:left]}
    for path in [*(journal.parent / KEPT).glob("*.jsonl"), *(journal / "open").glob("*.jsonl")]:
        whole = path.read_bytes()
        if json.loads(whole.partition(b"\n")[0])["p"] not in finished:
            path.unlink()
            (journal / "open" / path.name).write_bytes(whole[: rng.randrange(len(whole))])
