"""`cord merge`: the rows of all shards become those of one run, which then goes on without decoding again.

Nothing in a row depends on the problems beside it, so the merged rows are, in deterministic mode, the bytes of one run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.files import write_atomic
from cord_distill.common.jsonl import read_json
from cord_distill.decode.generate import open_journal
from cord_distill.decode.hard_problems import load_problems
from cord_distill.decode.rows import write_rows
from cord_distill.decode.shards import Shard, shard_counts, shard_number
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.journal import Journal
from cord_distill.run_folder.paths import RunFolder
from cord_distill.types import Problem


def merge(recipe: Recipe, again: str, *, count: int | None = None, overwrite: bool = False) -> int:
    """Copies the finished rows of every shard into the run's own journal and writes trajectories and figures from it.

    again: the command that decodes this recipe, to which errors add `--shard`. count: into how many shards it was cut
    (default: as the folders say). overwrite: the run's own results of a changed recipe are set aside, not refused.
    Returns the number of rows copied; merging again copies only what is new. Raises CordError with nothing copied: a
    shard is missing or unfinished (all are named, with the commands that redo them), runs, or is another recipe's.
    """
    run = RunFolder.of(recipe)
    problems = load_problems(recipe)
    count = count or _only_count(run, again)
    journal = open_journal(recipe, run, overwrite=overwrite)
    try:
        content = {problem.id: problem.content for problem in problems}
        wanted = _by_shard([p for p in problems if not journal.is_finished(p.id, p.content)], count)
        shards = _finished(recipe, run, wanted, again)
        copied = 0
        for shard, some in wanted.items():
            for row in shards[shard].rows([(problem.id, problem.content) for problem in some]):
                journal.finish(row["id"], row, content[row["id"]])
                copied += 1
        write_rows(journal, problems, run.trajectories)
    finally:
        journal.close()
    if copied or not run.generate_stats.exists():
        figures = summed([read_json(Shard(i, count).folder(run).generate_stats) for i in range(1, count + 1)])
        figures |= {"problems": len(problems), "shards": count}
        write_atomic(run.generate_stats, json.dumps(figures, indent=1) + "\n")
    return copied


def summed(stats: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The shards' figures as those of one run: seconds of all machines together, and what each model did."""
    models: dict[str, dict[str, float]] = {}
    for one in stats:
        for name, meter in (one.get("models") or {}).items():
            total = models.setdefault(name, {})
            for key, value in meter.items():
                total[key] = total.get(key, 0) + value
    return {
        **{key: round(sum(one.get(key, 0.0) for one in stats), 3) for key in ("seconds", "start_seconds")},
        "models": models,
        "decoded_now": sum(one.get("decoded_now", 0) for one in stats),
    }


def _only_count(run: RunFolder, again: str) -> int:
    counts = shard_counts(run)
    if not counts:
        raise CordError(f"{run.folder}: no shards there; make them, e.g. {again} --shard 1/2 and {again} --shard 2/2")
    if len(counts) > 1:
        raise CordError(
            f"{run.folder}: was cut into {' and into '.join(map(str, counts))} shards; say which to merge, e.g. "
            f"--shards {counts[-1]}"
        )
    return counts[0]


def _by_shard(problems: Sequence[Problem], count: int) -> dict[Shard, list[Problem]]:
    wanted: dict[Shard, list[Problem]] = {}
    for problem in problems:
        wanted.setdefault(Shard(shard_number(problem.id, count), count), []).append(problem)
    return dict(sorted(wanted.items(), key=lambda item: item[0].number))


def _finished(recipe: Recipe, run: RunFolder, wanted: dict[Shard, list[Problem]], again: str) -> dict[Shard, Journal]:
    """Each shard's journal, closed: its rows stay readable, its lock is free. Raises CordError if one is not done."""
    shards: dict[Shard, Journal] = {}
    lines = []
    for shard, some in wanted.items():
        path = shard.folder(run).journal
        lacking = len(some)
        if path.is_file():
            shards[shard] = open_journal(recipe, shard.folder(run))
            shards[shard].close()
            lacking = sum(not shards[shard].has_row(problem.id, problem.content) for problem in some)
        if lacking:
            said = f"lacks {lacking} of its {len(some)} problems" if path.is_file() else "is not there"
            lines.append(f"  shard {shard} {said}: {again} --shard {shard}")
    if lines:
        raise CordError(f"{run.folder}: not every shard is done; these commands go on with them:\n" + "\n".join(lines))
    return shards
