"""Trajectories, and rows of other people, to SFT rows: filters with counts, dedup, decontamination, mixing, a card.

`build_dataset` streams what it reads and writes `train.jsonl`, `stats.json` and `README.md`. A row is prompt and
completion as messages, with the whole thought, plus where it came from. Standard library only: rows that are too long
in the *student's* tokens (`data.filters.max_tokens`) are dropped where its tokenizer is loaded anyway (sft_data.py).
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.files import replacing, write_atomic
from cord_distill.data.card import card_text
from cord_distill.data.decontaminate import Contamination
from cord_distill.data.near_duplicates import NearDuplicates
from cord_distill.data.rows import REMEDIES, CandidateRow, from_trajectory, marker_pattern, sft_row, why_dropped
from cord_distill.data.sources import copies, incoming
from cord_distill.data.tally import OWN, Tally
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.paths import STATS_FILE, TRAIN_FILE
from cord_distill.types import Trajectory

__all__ = ["STATS_FILE", "TRAIN_FILE", "build_dataset", "marker_pattern", "sft_row", "why_dropped"]


Place = tuple[int, int]  # start and length of a line in the spool


def build_dataset(recipe: Recipe, trajectories_path: Path, folder: Path) -> dict[str, Any]:
    """Writes the data set of one method under `folder`; returns what stats.json says.

    Counts: `rows` read, `kept`, `dropped` by reason, `teacher_share` of steps, `tokens` in the meta-prover's tokens,
    `sources` (read, kept, written per source), `sha256` of train.jsonl. Rows are ordered by id, whatever the order in
    which problems finished. Raises CordError on a file that is missing or damaged, and when no row is left.
    """
    own = bool(recipe.teachers) or not recipe.data.sources
    if own and not trajectories_path.is_file():
        raise CordError(f"trajectories {trajectories_path} are not there: make them with cord generate")
    column = recipe.problems.question if recipe.problems else None
    unwanted = Contamination.load(recipe.data.decontaminate, column, recipe.data.decontaminate_coverage)
    near = NearDuplicates(recipe.data.near_duplicates) if recipe.data.near_duplicates else None
    tally = Tally()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as spool:
        places: dict[tuple[str, int], Place] = {}
        for one, source, written in _all_rows(recipe, trajectories_path if own else None, tally.dropped):
            reason = tally.repeated(one) or one.reason or unwanted.reason(one.question)
            if reason is None and written == 0:
                reason = "weight"
            if reason is None and near is not None and near.seen(one.question):
                reason = "near_duplicate"
            if reason:
                tally.drop(one, reason, source)
                continue
            line = (json.dumps(one.row, ensure_ascii=False) + "\n").encode()
            places |= {(one.id, copy): (spool.tell(), len(line)) for copy in range(written)}
            spool.write(line)
            tally.keep(one, source, written)
        stats = tally.stats(recipe)
        if not places:
            raise CordError(_nothing_left(stats, trajectories_path if own else Path("data.sources")))
        stats["sha256"] = _write_in_order(spool, places, folder / TRAIN_FILE)
    write_atomic(folder / STATS_FILE, json.dumps(stats, indent=2, ensure_ascii=False) + "\n")
    write_atomic(folder / "README.md", card_text(recipe, stats))
    return stats


def _all_rows(recipe: Recipe, own: Path | None, dropped: Counter[str]) -> Iterator[tuple[CandidateRow, str, int]]:
    """(row, name of its source, how often it is written), the recipe's own trajectories first."""
    markers = None if recipe.data.keep_markers else marker_pattern(recipe.decode.step_marker)
    filters = recipe.data.filters
    if own is not None:
        for trajectory in read_trajectories(own, dropped):
            yield from_trajectory(trajectory, filters, markers), OWN, 1
    for source in recipe.data.sources:
        for one in incoming(source, filters, markers):
            yield one, source.label, copies(source, one.id, recipe.decode_seed)


def read_trajectories(path: Path, dropped: Counter[str]) -> Iterator[Trajectory]:
    """Rows one by one. A torn last line (a killed writer) is counted; any other damage is a CordError with its line."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                # The pruned candidates are most of the bytes and no part of a training row.
                yield Trajectory.from_row({**json.loads(line), "candidates": []})
            except (ValueError, KeyError, TypeError) as error:
                if not line.endswith(b"\n"):
                    dropped["torn_line"] += 1
                    return
                raise CordError(
                    f"{path}, line {number}: not a trajectory row ({type(error).__name__}: {error}); remove this "
                    "line and run cord generate again"
                ) from None


def _nothing_left(stats: dict[str, Any], path: Path) -> str:
    dropped = stats["dropped"]
    if not dropped:
        return f"{path} holds no trajectory: run cord generate"
    reason = max(dropped, key=lambda key: dropped[key])
    counts = ", ".join(f"{count} {name}" for name, count in dropped.items())
    fix = REMEDIES.get(reason, "look at the trajectories with cord view")
    return f"no training row is left of {stats['rows']} ({counts}): {fix}"


def _write_in_order(spool: Any, places: dict[tuple[str, int], Place], path: Path) -> str:
    """Copies the spooled lines by id into `path`, atomically; returns the sha256 of the file."""
    digest = hashlib.sha256()
    with replacing(path) as out:
        for _, (start, length) in sorted(places.items()):
            spool.seek(start)
            line = spool.read(length)
            digest.update(line)
            out.write(line)
    return digest.hexdigest()
