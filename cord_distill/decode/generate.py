"""`cord generate`: many searches at once, one task per problem, no barrier between them, one journal.

Any number of processes may share the run folder, on any machines: each takes the problems that no other has.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.progress import Progress, progress
from cord_distill.common.task_group import gather_or_cancel, tasks_cancelled_on_exit
from cord_distill.decode.admission import Admission, problems_in_flight
from cord_distill.decode.check import check_decode
from cord_distill.decode.check_templates import check_templates
from cord_distill.decode.decode_stats import clear_stats, keep_stats, write_stats
from cord_distill.decode.engine_pool import EnginePool
from cord_distill.decode.forecast import Correction
from cord_distill.decode.hard_problems import load_problems
from cord_distill.decode.inputs import decode_inputs
from cord_distill.decode.model import Model
from cord_distill.decode.off_the_loop import off_the_loop
from cord_distill.decode.pipelines import Ensemble
from cord_distill.decode.pipelines.own import pipeline_of
from cord_distill.decode.pipelines.rivals import with_rivals
from cord_distill.decode.problems import Read, load_candidates
from cord_distill.decode.progress_note import DecodeNote, keep_showing
from cord_distill.decode.replay import ReplayEngine
from cord_distill.decode.rows import RowMaker, write_rows
from cord_distill.decode.start import start_ensemble
from cord_distill.decode.subset import WHOLE, Subset
from cord_distill.decode.take_over import earlier_twins, take_over
from cord_distill.engines.base import EngineDead
from cord_distill.grading.golds import check_known_answers
from cord_distill.model_files.build import build_models
from cord_distill.recipe.file import recipe_hash
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.journal import FIGURES, Claim, Journal
from cord_distill.run_folder.paths import RunFolder
from cord_distill.tracking.live import Live
from cord_distill.types import Problem

# So many problems failing one after the other means that an engine is gone, not that a problem is odd.
FAILURES_IN_A_ROW = 8
# A run of W&B that is open as long as one recipe is decoded (view/wandb_panels.py).
Watch = Callable[[Recipe], AbstractContextManager[Live]]


# How often a process that waits for others looks whether they are done, or dead.
LOOK_AGAIN = 2.0


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


def open_journal(recipe: Recipe, run: RunFolder, *, overwrite: bool = False) -> Journal:
    """The journal of decoding `recipe` in `run`, locked. Raises CordError: another recipe's, another process's."""
    inputs = decode_inputs(recipe)
    return Journal(
        run.journal,
        fingerprint=recipe_hash(inputs),
        inputs=inputs,
        same=(recipe_hash(decode_inputs(recipe, by_place=True)),),
        beside=(run.trajectories, run.generate_stats),
        overwrite=overwrite,
    )


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
                    admission, held = await _decode_all(recipe, todo, ensemble, journal, pool, display, live, wait)
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


async def _decode_all(
    recipe: Recipe,
    todo: list[Problem],
    ensemble: Ensemble,
    journal: Journal,
    pool: EnginePool,
    display: Progress,
    live: Live,
    wait: bool,
) -> tuple[dict[str, Any], int]:
    pipeline = pipeline_of(recipe.decode)
    admission = Admission.of(recipe, ensemble)
    finish = RowMaker.of(recipe, recipe_hash(decode_inputs(recipe)))
    correction = Correction(recipe, len(todo), pool.meters)

    async def attempt(problem: Problem) -> dict[str, Any]:
        here = journaled(ensemble, problem, journal, pool, recipe, admission)
        try:
            outcome = await with_rivals(problem, here, await pipeline(problem, here))
            row = await off_the_loop(finish, problem, outcome, graders=finish.graders)
        finally:
            pool.leave(problem.id)
        said = correction.after(row)
        if said:
            display.say(said)
        return row

    note = DecodeNote(pool.meters, ensemble.live)
    in_flight = problems_in_flight(recipe, ensemble)
    held = await finish_all(todo, attempt, finish, in_flight, journal, display, note, live, admission.inside, wait)
    return admission.figures(), held


async def finish_all(
    todo: list[Problem],
    attempt: Callable[[Problem], Awaitable[dict[str, Any]]],
    failed: Callable[[Problem, Exception], dict[str, Any]],
    in_flight: int,
    journal: Journal,
    display: Progress,
    note: DecodeNote,
    live: Live,
    door: Callable[[str], AbstractAsyncContextManager[Any]] = lambda problem: nullcontext(),
    wait: bool = False,
) -> int:
    """Makes the row of every problem that no other process has, `in_flight` at once, and writes it to the journal as
    soon as it is there. Returns how many problems other processes still hold.

    attempt gives a problem's row; when that fails, whatever the reason, `failed` does: one problem never takes the
    others along. door: entered by its id before a problem is claimed, left when its row is written. wait: until the
    others are done. Raises CordError when an engine is gone or too many fail one after the other (what is finished
    stays), and whatever CordError an attempt raises: those are the recipe's and the disk's.
    """
    waiting = iter(todo)
    held: dict[str, Problem] = {}
    failures = 0
    dead: EngineDead | None = None

    async def decode(problem: Problem) -> None:
        nonlocal failures, dead
        try:
            row = await attempt(problem)
            failures = 0
        except CordError:
            raise
        except Exception as error:
            # An engine that could not be restarted: no new problems, while those that can do without it go on.
            dead = error if isinstance(error, EngineDead) else dead
            failures += 1
            row = failed(problem, error)
        journal.finish(problem.id, row, problem.content)
        note.finished(problem.id, row)
        if failures >= FAILURES_IN_A_ROW and not dead:
            raise CordError(
                f"{failures} problems failed one after the other, the last with: {row['error']}. What is finished "
                "is safe; mend the cause and run the same command again"
            )

    async def take(problem: Problem) -> bool:
        """Whether the problem was to be had, and is decoded now."""
        claim = Claim.FINISHED
        if not journal.is_finished(problem.id, problem.content):
            # Claimed behind the door: what waits for room here may be decoded by another process.
            async with door(problem.id):
                claim = journal.claim(problem.id, problem.content)
                if claim is Claim.OURS:
                    await decode(problem)
        if claim is Claim.HELD:
            held[problem.id] = problem
        else:
            display.advance(note=note.text(time.monotonic()))
        return claim is Claim.OURS

    async def next_problems() -> None:
        for problem in waiting:
            if dead:
                return
            await take(problem)
        # By now their processes may have ended, well or not.
        again = True
        while again:
            again = False
            for problem in list(held.values()):
                if not dead and held.pop(problem.id, None) is not None:
                    again = await take(problem) or again

    async with tasks_cancelled_on_exit() as beside:
        beside.add(asyncio.create_task(keep_showing(display, note, live)))
        await gather_or_cancel([next_problems() for _ in range(in_flight)])
        while wait and held and not dead:
            await asyncio.sleep(LOOK_AGAIN)
            await gather_or_cancel([next_problems() for _ in range(in_flight)])
    live.log(note.figures(time.monotonic(), display.done))
    if dead:
        raise CordError(f"an engine is gone: {dead}. What is finished is safe; mend it and run the same command again")
    return len(held)


def journaled(
    ensemble: Ensemble,
    problem: Problem,
    journal: Journal,
    pool: EnginePool,
    recipe: Recipe,
    admission: Admission | None = None,
) -> Ensemble:
    """The ensemble for one problem: each of its models behind a `ReplayEngine` of the problem's journal."""

    def replay(name: str, engine: Any, identity: str, vocabulary: int | None = None) -> ReplayEngine:
        own = engine.for_problem(problem.id) if hasattr(engine, "for_problem") else engine
        # Some watch the time themselves, since they must tell a slow request from an engine that hangs.
        timeout = None if getattr(own, "keeps_time", False) else recipe.decode.request_timeout
        return ReplayEngine(own, journal, problem.id, identity, pool.meters[name], timeout, admission, vocabulary)

    def bound(model: Model) -> Model:
        return model.for_problem(replay(model.name, model.engine, model.vocabulary, model.renderer.num_ids))

    prover, judge, student, reward = ensemble.meta_prover, ensemble.judge, ensemble.student, ensemble.reward_model
    prover_here = bound(prover) if prover else None
    chat = ensemble.integrator
    return replace(
        ensemble,
        teachers=tuple(bound(model) for model in ensemble.teachers),
        meta_prover=prover_here,
        judge=prover_here if judge is prover else bound(judge) if judge else None,
        student=bound(student) if student else None,
        reward_model=reward and reward.for_problem(replay(reward.name, reward.engine, reward.identity)),
        integrator=chat and chat.for_problem(replay(chat.name, chat.engine, chat.identity)),
    )
