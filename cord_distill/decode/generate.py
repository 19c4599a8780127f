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
from cord_distill.decode.take_over import earlier_twins, take_over
from cord_distill.grading.golds import check_known_answers
from cord_distill.model_files.build import build_models
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.journal import FIGURES
from cord_distill.run_folder.paths import RunFolder
from cord_distill.tracking.live import Live
from cord_distill.types import Problem

# A run of W&B that is open as long as one recipe is decoded (view/wandb_panels.py).
Watch = Callable[[Recipe], AbstractContextManager[Live]]


def unwatched(recipe: Recipe) -> AbstractContextManager[Live]:
    return nullcontext(Live())


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one call of `generate` did.

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
) -> Decoded:
    """Decodes every recipe (the variants of one file, usually) in this process, over shared engines.

    Of recipes that decode the same only the first does; the others take its rows (take_over.py).
    overwrite: results of a changed recipe are set aside (under `stale/`) instead of refused. part: decode only these
    problems; what was decoded before stays. wait: stay until other processes have finished their problems too, and
    take over those of one that died. watch: is told how each recipe's decoding goes. read: gives the problems.

    Finished rows are kept in the journal as they come; at the end, unless other processes still hold problems,
    `trajectories.jsonl` is written in problem order, with every row that the journal holds. What failed is a row with
    its error (failures.py counts them), and is tried again by the next call.
    Raises CordError before any engine starts when problems, paths or settings are wrong, or a recipe was changed.
    """
    work = [(recipe, load_problems(recipe, read)) for recipe in recipes]
    for line in dict.fromkeys(filter(None, (unmatched_answers(*one) for one in work))):
        print(line, flush=True)
    for recipe, problems in work:
        check_decode(recipe)
        part.chosen(problems)
        build_models(recipe)
    for recipe, _ in work:
        open_journal(recipe, RunFolder.of(recipe), overwrite=overwrite).close()
    return asyncio.run(_generate_all(work, part, wait, watch))


def unmatched_answers(recipe: Recipe, problems: Sequence[Problem]) -> str | None:
    """What to say of known answers that no completion could match; their rows count as wrong."""
    grader = recipe.problems.grader if recipe.problems else "judge"
    return check_known_answers(problems, "problems", grader)


async def _generate_all(work: list[tuple[Recipe, list[Problem]]], part: Subset, wait: bool, watch: Watch) -> Decoded:
    for recipe, _ in work:
        check_templates(recipe)
    pool = EnginePool()
    written: list[Recipe] = []
    held, others = 0, []
    try:
        twins = earlier_twins([recipe for recipe, _ in work])
        for (recipe, problems), twin in zip(work, twins, strict=True):
            taken = _take_over(recipe, twin, part.chosen(problems)) if twin else 0
            todo, held = await _generate_one(recipe, problems, part, pool, wait, watch)
            if held:
                others.append((recipe, part.chosen(problems)))
            elif todo or taken:
                written.append(recipe)
        # While the last recipe was decoded, other processes may have ended their part of those before it.
        before = others[:-1] if held else others
        return Decoded(written, held + sum(_unfinished(*one) for one in before))
    finally:
        await pool.close()


def _take_over(recipe: Recipe, twin: Recipe, problems: Sequence[Problem]) -> int:
    source = open_journal(twin, RunFolder.of(twin))
    journal = open_journal(recipe, RunFolder.of(recipe))
    try:
        taken = take_over(source, journal, problems)
    finally:
        source.close()
        journal.close()
    if taken:
        print(f"decode {RunFolder.of(recipe).method}: the same as {RunFolder.of(twin).method}, {taken} rows taken over")
    return taken


async def _generate_one(
    recipe: Recipe, problems: list[Problem], part: Subset, pool: EnginePool, wait: bool, watch: Watch
) -> tuple[int, int]:
    """How many problems were not finished before, and how many of them other processes still hold at the end."""
    run = RunFolder.of(recipe)
    chosen = part.chosen(problems)
    journal = open_journal(recipe, run)
    figures = run.journal / FIGURES
    pool.meters.clear()
    begun = time.monotonic()
    starting, held = 0.0, 0
    admission: dict[str, Any] = {}
    steps: dict[str, int] = {}
    try:
        todo = [problem for problem in chosen if not journal.is_finished(problem.id, problem.content)]
        _say_edited(sum(journal.is_other(problem.id, problem.content) for problem in todo))
        if todo and not wait and all(journal.is_held(problem.id) for problem in todo):
            return len(todo), len(todo)
        if todo and journal.first:
            clear_stats(figures)
        with watch(recipe) if todo else unwatched(recipe) as live:
            if todo:
                ensemble = await start_ensemble(recipe, todo, pool)
                starting = time.monotonic() - begun
                before = engine_steps(ensemble)
                with progress(f"decode {run.method}", len(chosen), len(chosen) - len(todo)) as display:
                    decode = decode_with_drivers if recipe.cluster and recipe.cluster.drivers > 1 else decode_all
                    work = Decoding(recipe, todo, ensemble, journal, pool, display, live, wait)
                    admission, held = await decode(work)
                steps = {name: count - before.get(name, 0) for name, count in engine_steps(ensemble).items()}
            if todo or not any(figures.glob("*.json")):
                stats = {
                    "seconds": round(time.monotonic() - begun, 3),
                    "start_seconds": round(starting, 3),
                    "resumed": journal.resumed,
                    "models": {name: asdict(meter) for name, meter in pool.meters.items()},
                    "problems": len(chosen),
                    "decoded_now": journal.written,
                    "admission": admission,
                    "engine_steps": steps,
                    **({"cluster": pool.cluster.figures()} if pool.cluster else {}),
                }
                keep_stats(figures, stats)
            with journal.turn():
                # Another process may have ended since: of all of them the last one in turn sees every row.
                held = min(held, sum(not journal.has_row(problem.id, problem.content) for problem in chosen))
                live.complete = not held
                if not held:
                    write_rows(journal, problems, run.trajectories)
                    if todo or not run.generate_stats.exists():
                        write_stats(figures, run.generate_stats)
    finally:
        journal.close()
    return len(todo), held


def _unfinished(recipe: Recipe, problems: list[Problem]) -> int:
    """How many problems have no row: other processes may have ended while this one decoded another recipe."""
    journal = open_journal(recipe, RunFolder.of(recipe))
    try:
        return sum(not journal.has_row(problem.id, problem.content) for problem in problems)
    finally:
        journal.close()


def engine_steps(ensemble: Ensemble) -> dict[str, int]:
    """Forward passes of each model's engine so far, where the engine counts them."""
    models = [*ensemble.teachers, *([ensemble.meta_prover] if ensemble.meta_prover else [])]
    counted = {model.name: getattr(model.engine, "steps", None) for model in models}
    return {name: count for name, count in counted.items() if count is not None}


def _say_edited(count: int) -> None:
    if count:
        said = "problem has" if count == 1 else "problems have"
        print(f"{count} {said} another question or answer than its finished row: decoded anew", file=sys.stderr)
