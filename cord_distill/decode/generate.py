"""`cord generate`: its engines, the problems that are left, and the files at the end.

Any number of processes may share the run folder, on any machines: each takes the problems that no other has.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

from cord_distill.common.progress import progress
from cord_distill.decode.check import check_decode
from cord_distill.decode.check_templates import check_templates
from cord_distill.decode.decode_all import Decoding, decode_all, open_journal
from cord_distill.decode.decode_stats import clear_stats, keep_stats, write_stats
from cord_distill.decode.drivers import decode_with_drivers
from cord_distill.decode.engine_pool import EnginePool
from cord_distill.decode.hard_problems import load_problems
from cord_distill.decode.pipelines import Ensemble
from cord_distill.decode.problems import Read, load_candidates
from cord_distill.decode.rows import write_rows
from cord_distill.decode.start import start_ensemble
from cord_distill.decode.subset import WHOLE, Subset
from cord_distill.decode.take_over import take_over, twins_of
from cord_distill.grading.golds import check_known_answers
from cord_distill.model_files.build import build_models
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.journal import FIGURES, Journal
from cord_distill.run_folder.paths import RunFolder
from cord_distill.tracking.live import Live
from cord_distill.types import Problem

# A run of W&B that is open as long as one recipe is decoded (view/wandb_panels.py).
Watch = Callable[[Recipe], AbstractContextManager[Live]]


def unwatched(recipe: Recipe) -> AbstractContextManager[Live]:
    return nullcontext(Live())


@dataclass(frozen=True, slots=True)
class Decoded:
    """The result of one call of `generate`.

    recipes: those whose files it wrote after something was decoded. held: problems that other processes were still
    decoding at its end, in all recipes; the last of those processes writes the files.
    """

    recipes: list[Recipe]
    held: int


def generate(
    recipes: Sequence[Recipe],
    *,
    overwrite: bool = False,
    part: Subset = WHOLE,
    wait: bool = False,
    watch: Watch = unwatched,
    read: Read = load_candidates,
    siblings: Sequence[Recipe] = (),
) -> Decoded:
    """Decodes every recipe (the variants of one file, usually) in this process, over shared engines.

    Of recipes that decode the same only the first does; the others take its rows (take_over.py). siblings: further
    variants of the file, whose rows of earlier commands are taken likewise.
    overwrite: results of a changed recipe are set aside (under `stale/`) instead of refused. part: decode only these
    problems; what was decoded before stays. wait: stay until other processes have finished their problems too, and
    take over those of one that died. watch: is told how each recipe's decoding goes. read: gives the problems.

    Finished rows are kept in the journal as they come; at the end, unless other processes still hold problems,
    `trajectories.jsonl` is written in problem order, with every row that the journal holds. What failed is a row with
    its error (failures.py counts them), and is tried again by the next call.
    Raises CordError before any engine starts when problems, paths or settings are wrong, or a recipe was changed.
    """
    every = [load_problems(recipe, read) for recipe in recipes]
    for line in dict.fromkeys(map(unmatched_answers, recipes, every)):
        if line:
            print(line, flush=True)
    work = []
    for recipe, problems in zip(recipes, every, strict=True):
        check_decode(recipe)
        work.append(Work(recipe, problems, part.chosen(problems)))
        build_models(recipe)
    for recipe in recipes:
        open_journal(recipe, overwrite=overwrite).close()
    return asyncio.run(_generate_all(work, siblings, wait, watch))


@dataclass(frozen=True, slots=True)
class Work:
    """A recipe, all its problems, and those that this call decodes."""

    recipe: Recipe
    problems: list[Problem]
    chosen: list[Problem]


def unmatched_answers(recipe: Recipe, problems: Sequence[Problem]) -> str | None:
    """Returns a sentence about known answers that no completion could match; None where there are none."""
    grader = recipe.problems.grader if recipe.problems else "judge"
    return check_known_answers(problems, "problems", grader)


async def _generate_all(work: list[Work], siblings: Sequence[Recipe], wait: bool, watch: Watch) -> Decoded:
    for one in work:
        check_templates(one.recipe)
    pool = EnginePool()
    written: list[Recipe] = []
    left_to_others: list[Work] = []
    try:
        for one, twin in zip(work, twins_of([one.recipe for one in work], siblings), strict=True):
            changed, held = await _generate_one(one, twin, pool, wait, watch)
            if held:
                left_to_others.append(one)
            elif changed:
                written.append(one.recipe)
        return Decoded(written, sum(map(_unfinished, left_to_others)))
    finally:
        await pool.close()


async def _generate_one(
    work: Work, twin: Recipe | None, pool: EnginePool, wait: bool, watch: Watch
) -> tuple[bool, bool]:
    """Decodes one recipe, or takes the rows of its `twin`. Returns whether any problem was not finished before, and
    whether other processes still hold one at the end."""
    recipe, chosen = work.recipe, work.chosen
    run = RunFolder.of(recipe)
    journal = open_journal(recipe)
    figures = run.journal / FIGURES
    pool.meters.clear()
    begun = time.monotonic()
    starting, held = 0.0, 0
    admission: dict[str, Any] = {}
    steps: dict[str, int] = {}
    try:
        taken = _take_over(twin, recipe, journal, chosen) if twin else 0
        todo = [problem for problem in chosen if not journal.is_finished(problem)]
        _say_edited(journal.edited(todo))
        if todo and not wait and all(map(journal.is_held, todo)):
            return True, True
        if todo and journal.first:
            clear_stats(figures)
        with watch(recipe) if todo else unwatched(recipe) as live:
            if todo:
                ensemble = await start_ensemble(recipe, todo, pool)
                starting = time.monotonic() - begun
                before = engine_steps(ensemble)
                with progress(f"decode {run.method}", len(chosen), len(chosen) - len(todo)) as display:
                    decode = decode_with_drivers if recipe.cluster and recipe.cluster.drivers > 1 else decode_all
                    admission, held = await decode(Decoding(recipe, todo, ensemble, journal, pool, display, live, wait))
                steps = {name: count - before.get(name, 0) for name, count in engine_steps(ensemble).items()}
            if todo or not any(figures.glob("*.json")):
                stats = {
                    "seconds": round(time.monotonic() - begun, 3),
                    "start_seconds": round(starting, 3),
                    "resumed": journal.resumed or taken > 0,
                    "models": {name: asdict(meter) for name, meter in pool.meters.items()},
                    "problems": len(chosen),
                    "decoded_now": journal.written - taken,
                    "admission": admission,
                    "engine_steps": steps,
                    **({"cluster": pool.cluster.figures()} if pool.cluster else {}),
                }
                keep_stats(figures, stats)
            with journal.turn():
                # Another process may have ended since: of all of them the last one in turn sees every row.
                held = min(held, _without_row(journal, chosen))
                live.complete = not held
                if not held:
                    write_rows(journal, work.problems, run.trajectories)
                    if todo or not run.generate_stats.exists():
                        write_stats(figures, run.generate_stats)
    finally:
        journal.close()
    return bool(todo or taken), held > 0


def _take_over(twin: Recipe, recipe: Recipe, journal: Journal, problems: Sequence[Problem]) -> int:
    """Copies the rows of the twin into the recipe's journal; returns how many."""
    source = open_journal(twin)
    try:
        taken = take_over(source, journal, problems)
    finally:
        source.close()
    if taken:
        print(f"decode {RunFolder.of(recipe).method}: the same as {RunFolder.of(twin).method}, {taken} rows taken over")
    return taken


def _unfinished(work: Work) -> int:
    """How many of the chosen problems have no row by now: other processes may have ended since."""
    journal = open_journal(work.recipe)
    try:
        return _without_row(journal, work.chosen)
    finally:
        journal.close()


def _without_row(journal: Journal, problems: Sequence[Problem]) -> int:
    return sum(not journal.has_row(problem) for problem in problems)


def engine_steps(ensemble: Ensemble) -> dict[str, int]:
    """Returns the forward passes of each model's engine so far, where the engine counts them."""
    counted = {model.name: getattr(model.engine, "steps", None) for model in ensemble.searching}
    return {name: count for name, count in counted.items() if count is not None}


def _say_edited(count: int) -> None:
    if count:
        said = "problem has" if count == 1 else "problems have"
        print(f"{count} {said} another question or answer than its finished row: decoded anew", file=sys.stderr)
