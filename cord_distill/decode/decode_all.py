"""All problems of one recipe in one process: many searches at once, one task per problem, no barrier between them.

`generate.py` calls it in the process of the command, `driver.py` in a driver on a cluster.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.progress import Progress
from cord_distill.common.task_group import gather_or_cancel, tasks_cancelled_on_exit
from cord_distill.decode.admission import WHOLE_ENGINES, Admission, EngineShare, problems_in_flight
from cord_distill.decode.engine_pool import EnginePool
from cord_distill.decode.forecast import Correction
from cord_distill.decode.inputs import decode_inputs
from cord_distill.decode.model import Model
from cord_distill.decode.off_the_loop import off_the_loop
from cord_distill.decode.pipelines import Ensemble
from cord_distill.decode.pipelines.own import pipeline_of
from cord_distill.decode.pipelines.rivals import with_rivals
from cord_distill.decode.progress_note import DecodeNote, keep_showing
from cord_distill.decode.replay import ReplayEngine
from cord_distill.decode.rows import RowMaker
from cord_distill.engines.base import EngineDead
from cord_distill.recipe.file import recipe_hash
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.journal import Claim, Journal
from cord_distill.run_folder.paths import RunFolder
from cord_distill.tracking.live import Live
from cord_distill.types import Problem

# So many problems failing one after the other means that an engine is gone, not that a problem is odd.
FAILURES_IN_A_ROW = 8
# How often a process that waits for others looks whether they are done, or dead.
LOOK_AGAIN = 2.0


@dataclass(frozen=True, slots=True)
class Decoding:
    """All that decoding the unfinished problems (`todo`) of a recipe takes. wait: stay until other processes have ended
    theirs too."""

    recipe: Recipe
    todo: list[Problem]
    ensemble: Ensemble
    journal: Journal
    pool: EnginePool
    display: Progress
    live: Live
    wait: bool


def open_journal(recipe: Recipe, *, overwrite: bool = False) -> Journal:
    """Opens the journal of decoding `recipe`. Raises CordError: another recipe's, another process's."""
    run = RunFolder.of(recipe)
    inputs = decode_inputs(recipe)
    return Journal(
        run.journal,
        fingerprint=recipe_hash(inputs),
        inputs=inputs,
        beside=(run.trajectories, run.generate_stats),
        overwrite=overwrite,
    )


async def decode_all(
    work: Decoding, *, note: DecodeNote | None = None, share: EngineShare = WHOLE_ENGINES
) -> tuple[dict[str, Any], int]:
    """Decodes; returns the figures of admission, and how many problems other processes still hold.

    note: as for finish_all. share: what of the engines' room this process may use.
    """
    recipe, pool = work.recipe, work.pool
    pipeline = pipeline_of(recipe.decode)
    admission = Admission.of(recipe, work.ensemble, share)
    make_row = RowMaker.of(recipe, work.journal.fingerprint)
    # Of a share of the run it could not say what the run will cost.
    correction = Correction(recipe, len(work.todo), pool.meters) if share == WHOLE_ENGINES else None

    async def attempt(problem: Problem) -> dict[str, Any]:
        here = journaled(work, problem, admission)
        try:
            outcome = await with_rivals(problem, here, await pipeline(problem, here))
            row = await off_the_loop(make_row, problem, outcome, graders=make_row.graders)
        finally:
            pool.leave(problem.id)
        if correction and (said := correction.after(row)):
            work.display.say(said)
        return row

    in_flight = share.part(problems_in_flight(recipe, work.ensemble))
    held = await finish_all(work, attempt, make_row, in_flight, note=note, door=admission.inside)
    return admission.figures(), held


async def finish_all(
    work: Decoding,
    attempt: Callable[[Problem], Awaitable[dict[str, Any]]],
    failed: Callable[[Problem, Exception], dict[str, Any]],
    in_flight: int,
    *,
    note: DecodeNote | None = None,
    door: Callable[[str], AbstractAsyncContextManager[Any]] = lambda problem: nullcontext(),
) -> int:
    """Makes the row of every problem that no other process has, `in_flight` at once, and writes it to the journal as
    soon as it is there. Returns how many problems other processes still hold.

    attempt gives a problem's row; when that fails, whatever the reason, `failed` does: one problem never takes the
    others along. note: is told of each row; None = one of its own. door: entered by its id before a problem is claimed,
    left when its row is written. Raises CordError when an engine is gone or too many fail one after the other (what is
    finished stays), and whatever CordError an attempt raises: those are the recipe's and the disk's.
    """
    journal, display, live = work.journal, work.display, work.live
    note = note or DecodeNote(work.pool.meters, work.ensemble.live)
    waiting = iter(work.todo)
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
        journal.finish(problem, row)
        note.finished(problem.id, row)
        if failures >= FAILURES_IN_A_ROW and not dead:
            raise CordError(
                f"{failures} problems failed one after the other, the last with: {row['error']}. What is finished "
                "is safe; mend the cause and run the same command again"
            )

    async def take(problem: Problem) -> bool:
        """Decodes the problem if it can be claimed; returns whether it was."""
        claim = Claim.FINISHED
        if not journal.is_finished(problem):
            # Claimed behind the door: what waits for room here may be decoded by another process.
            async with door(problem.id):
                claim = journal.claim(problem)
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
        while work.wait and held and not dead:
            await asyncio.sleep(LOOK_AGAIN)
            await gather_or_cancel([next_problems() for _ in range(in_flight)])
    live.log(note.figures(time.monotonic(), display.done))
    if dead:
        raise CordError(f"an engine is gone: {dead}. What is finished is safe; mend it and run the same command again")
    return len(held)


def journaled(work: Decoding, problem: Problem, admission: Admission | None = None) -> Ensemble:
    """Returns the ensemble for one problem, with a `ReplayEngine` of its journal in front of each model's engine."""
    ensemble = work.ensemble

    def replay(name: str, engine: Any, identity: str, vocabulary: int | None = None) -> ReplayEngine:
        own = engine.for_problem(problem.id) if hasattr(engine, "for_problem") else engine
        # Some watch the time themselves, since they must tell a slow request from an engine that hangs.
        timeout = None if getattr(own, "keeps_time", False) else work.recipe.decode.request_timeout
        meter = work.pool.meters[name]
        return ReplayEngine(own, work.journal, problem.id, identity, meter, timeout, admission, vocabulary)

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
