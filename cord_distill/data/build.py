"""Trajectories, and rows of other people, to SFT rows: filters with counts, dedup, decontamination, mixing, a card.

`build_dataset` streams what it reads and writes `train.jsonl`, `stats.json` and `README.md`. A row is prompt and
completion as messages, with the whole thought, plus where it came from. No tokenizer is loaded: rows that are too long
in the *student's* tokens (`data.filters.max_tokens`) are dropped by the training, which has it (training/rows.py).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.files import write_atomic
from cord_distill.common.hub import resolved_commit
from cord_distill.data.card import card_text
from cord_distill.data.cut_tail import cut_tail
from cord_distill.data.decontaminate import Contamination
from cord_distill.data.exports import Exports
from cord_distill.data.more_traces import Grade, marker_lines, more_traces, near_equal
from cord_distill.data.near_duplicates import NearDuplicates
from cord_distill.data.rows import REMEDIES, CandidateRow, from_trajectory, marker_pattern
from cord_distill.data.sources import copies_per_epoch, incoming
from cord_distill.data.spool import Spool
from cord_distill.data.tally import OWN, Tally
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.paths import STATS_FILE, TRAIN_FILE
from cord_distill.run_folder.trajectories import numbered_rows
from cord_distill.types import Trajectory


def build_dataset(recipe: Recipe, trajectories_path: Path, folder: Path, grade: Grade | None = None) -> dict[str, Any]:
    """Writes the data set of one method under `folder`; returns what stats.json says.

    grade: the recipe's grader, for traces that decoding did not grade (`data.rows_per_problem` of Curation). Counts:
    `rows` read, `kept`, `dropped` by reason, `teacher_share` of steps, `tokens` in the meta-prover's tokens, `sources`
    (read, kept, written per source), `sha256` of train.jsonl. Rows are ordered by id, whatever the order in which
    problems finished. Raises CordError on a file that is missing or damaged, and when no row is left.
    """
    own = bool(recipe.teachers) or not recipe.data.sources
    if own and not trajectories_path.is_file():
        raise CordError(f"trajectories {trajectories_path} are not there: make them with cord generate RECIPE")
    column = recipe.problems.question if recipe.problems else None
    unwanted = Contamination.load(recipe.data.decontaminate, column, recipe.data.decontaminate_coverage)
    near = NearDuplicates(recipe.data.near_duplicates) if recipe.data.near_duplicates else None
    near_known: dict[str, bool] = {}
    tally = Tally()
    folder.mkdir(parents=True, exist_ok=True)
    markers = None if recipe.data.keep_markers else marker_pattern(recipe.decode.step_marker)
    with Spool(folder) as spool, Exports(recipe.data, folder, markers) as exports:
        rows = _own_rows(recipe, trajectories_path, tally, grade, markers) if own else iter(())
        for one, source, written, trajectory in chain(rows, _rows_of_others(recipe, markers)):
            reason = tally.repeated(one) or one.reason or unwanted.reason(one.question)
            if reason is None and written == 0:
                reason = "weight"
            if reason is None and near is not None:
                # Several traces of one problem are no duplicates of each other.
                key = one.problem or f"{source}/{one.id}"
                if key not in near_known:
                    near_known[key] = near.seen(one.question)
                reason = "near_duplicate" if near_known[key] else None
            if reason:
                tally.drop(one, reason, source)
                continue
            spool.add(one.id, one.row, written)
            tally.keep(one, source, written)
            if trajectory is not None:
                exports.add(trajectory)
        stats = tally.stats(recipe)
        if not len(spool):
            raise CordError(_nothing_left(stats, trajectories_path if own else Path("data.sources")))
        stats["sha256"] = spool.write(folder / TRAIN_FILE)
        stats |= exports.write()
        hub = {one.label: resolved_commit(one.dataset, one.revision) for one in recipe.data.sources if one.dataset}
        stats["commits"] = {label: commit for label, commit in hub.items() if commit}
    write_atomic(folder / STATS_FILE, json.dumps(stats, indent=2, ensure_ascii=False) + "\n")
    write_atomic(folder / "README.md", card_text(recipe, stats))
    return stats


# (row, name of its source, how often it is written, the trajectory of which it is the first row).
Incoming = tuple[CandidateRow, str, int, Trajectory | None]


def _own_rows(
    recipe: Recipe, path: Path, tally: Tally, grade: Grade | None, markers: re.Pattern[str] | None
) -> Iterator[Incoming]:
    """The trajectories' rows, and with `data.rows_per_problem` those of their problems' further traces."""
    data, lines = recipe.data, marker_lines(recipe.decode.step_marker)
    with_candidates = data.rows_per_problem > 1 or data.preferences is not None or data.step_values

    def row(trajectory: Trajectory) -> CandidateRow:
        cut = trajectory if data.cut_tail is None else cut_tail(trajectory, data.cut_tail)
        made = from_trajectory(cut, data.filters, markers)
        if made.reason is None and cut is not trajectory:
            tally.cut(len(trajectory.steps) - len(cut.steps))
        return made

    for trajectory in read_trajectories(path, tally.dropped, with_candidates):
        first = row(trajectory)
        yield replace(first, problem=f"{OWN}/{trajectory.id}"), OWN, 1, trajectory
        if data.rows_per_problem == 1:
            continue
        taken = [trajectory] if first.reason is None else []
        for other in more_traces(trajectory, grade, lines):
            if len(taken) >= data.rows_per_problem:
                break
            one = replace(from_trajectory(other, data.filters, markers), problem=f"{OWN}/{trajectory.id}")
            if one.reason is None and any(near_equal(other, before, lines) for before in taken):
                one = replace(one, reason="near_equal_trace")
            if one.reason is None:
                taken.append(other)
                one = replace(row(other), problem=one.problem)
            yield one, OWN, 1, None


def _rows_of_others(recipe: Recipe, markers: re.Pattern[str] | None) -> Iterator[Incoming]:
    for source in recipe.data.sources:
        for one in incoming(source, recipe.data.filters, markers, recipe.data.cut_tail):
            yield one, source.label, copies_per_epoch(source, one.id, recipe.decode_seed), None


def read_trajectories(path: Path, dropped: Counter[str], with_candidates: bool = False) -> Iterator[Trajectory]:
    """Yields the trajectories of a file one by one, without their candidates unless they are asked for.

    A torn last line (a killed writer) is counted; any other damage is a CordError with its line.
    """
    for where, row in numbered_rows(path, dropped):
        try:
            # The pruned candidates are most of the bytes and no part of a training row.
            made = Trajectory.from_row(row if with_candidates else {**row, "candidates": []})
        except (ValueError, KeyError, TypeError) as error:
            raise CordError(
                f"{where}: not a trajectory row ({type(error).__name__}: {error}); remove this line and run cord "
                "generate again"
            ) from None
        yield made


def _nothing_left(stats: dict[str, Any], path: Path) -> str:
    dropped = stats["dropped"]
    if not dropped:
        return f"{path} holds no trajectory: run cord generate"
    reason = max(dropped, key=lambda key: dropped[key])
    counts = ", ".join(f"{count} {name}" for name, count in dropped.items())
    fix = REMEDIES.get(reason, "look at the trajectories with cord view")
    return f"no training row is left of {stats['rows']} ({counts}): {fix}"
