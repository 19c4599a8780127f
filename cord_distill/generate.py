"""`cord generate`: many searches at once, one task per problem, no barrier between them, one journal, one writer."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cord_distill.built import build_models
from cord_distill.engines.base import EngineDead, EngineError
from cord_distill.engines.replay import ReplayEngine
from cord_distill.engines.restart import RestartingEngine
from cord_distill.engines.start import EnginePool, meta_prover_section
from cord_distill.errors import CordError
from cord_distill.grading import load_grader
from cord_distill.model import Model
from cord_distill.pipelines import PIPELINES, Ensemble, Outcome
from cord_distill.pipelines.base import gather_or_cancel
from cord_distill.plugins import load_plugin
from cord_distill.problems import load_problems
from cord_distill.progress import Progress, progress
from cord_distill.recipe import Recipe
from cord_distill.recipe_file import recipe_hash
from cord_distill.row_schema import validate_row
from cord_distill.run_folder import RunFolder, write_atomic
from cord_distill.store import Journal, set_aside, written_fingerprint
from cord_distill.types import Problem, Stop, Trajectory

# Keys that change where or how fast something runs, but no result: a journal goes on when they change.
NEUTRAL = {
    "decode.early_start",
    "decode.problems_in_flight",
    "decode.request_timeout",
    "problems.limit",
    "models.cache_dir",
}
NEUTRAL_OF_MODELS = {
    "devices",
    "gpu_memory_utilization",
    "kv_cache_gib",
    "max_num_seqs",
    "max_num_batched_tokens",
    "max_model_len",
    "tensor_parallel_size",
    "url",
}
# So many problems failing one after the other means that an engine is gone, not that a problem is odd.
FAILURES_IN_A_ROW = 8
KV_SHARE = 0.8


def decode_inputs(recipe: Recipe) -> dict[str, Any]:
    """The recipe values that decide every result of decoding, by dotted key, defaults included."""
    sections = recipe.model_dump(
        mode="json", include={"seed", "models", "teachers", "meta_prover", "problems", "decode"}
    )
    flat = dict(_flatten(sections, ""))
    return {
        key: value
        for key, value in flat.items()
        if key not in NEUTRAL and not (_of_model(key) and key.rsplit(".", 1)[-1] in NEUTRAL_OF_MODELS)
    }


def generate(recipes: Sequence[Recipe], *, overwrite: bool = False) -> list[Recipe]:
    """Decodes every recipe (the variants of one file, usually) in this process, over shared engines.

    overwrite: results of a changed recipe are set aside (under `stale/`) instead of refused.

    Returns those that had something left to decode. Finished rows are kept in the journal as they come; at the end
    `trajectories.jsonl` is written in problem order.
    Raises CordError before any engine starts when problems, paths or settings are wrong.
    """
    work = [(recipe, load_problems(recipe)) for recipe in recipes]
    for recipe, problems in work:
        check_decode(recipe, problems)
        build_models(recipe)
        if overwrite:
            set_changed_aside(recipe)
    return asyncio.run(_generate_all(work))


def set_changed_aside(recipe: Recipe) -> None:
    """Moves the journal and what was made of it away when another recipe made it."""
    run = RunFolder.of(recipe)
    written = written_fingerprint(run.journal) if run.journal.exists() else None
    if written in (None, recipe_hash(decode_inputs(recipe))):
        return
    for path in (run.journal, run.trajectories, run.generate_stats):
        if path.exists():
            set_aside(path, written)


def check_decode(recipe: Recipe, problems: list[Problem]) -> None:
    """What can be known without a model. Raises CordError."""
    if not recipe.teachers:
        raise CordError("teachers: the recipe names none; give at least one model")
    if recipe.decode.pipeline == "cord" and recipe.meta_prover is None:
        raise CordError("meta_prover: CoRD needs one to score steps; give its model, or same_as: a teacher")


async def _generate_all(work: list[tuple[Recipe, list[Problem]]]) -> list[Recipe]:
    pool = EnginePool()
    try:
        return [recipe for recipe, problems in work if await _generate_one(recipe, problems, pool)]
    finally:
        await pool.close()


async def _generate_one(recipe: Recipe, problems: list[Problem], pool: EnginePool) -> bool:
    run = RunFolder.of(recipe)
    inputs = decode_inputs(recipe)
    fingerprint = recipe_hash(inputs)
    journal = Journal(run.journal, fingerprint=fingerprint, inputs=inputs)
    pool.meters.clear()
    begun = time.monotonic()
    try:
        todo = [problem for problem in problems if not journal.is_finished(problem.id)]
        if todo:
            ensemble = await start_ensemble(recipe, todo, pool)
            with progress(f"decode {run.method}", len(problems)) as display:
                display.advance(len(problems) - len(todo))
                await _decode_all(recipe, todo, ensemble, journal, pool, display, fingerprint)
        write_rows(journal, problems, run.trajectories)
    finally:
        journal.close()
    if todo or not run.generate_stats.exists():
        stats = {
            "seconds": round(time.monotonic() - begun, 3),
            "models": {name: asdict(meter) for name, meter in pool.meters.items()},
            "problems": len(problems),
            "decoded_now": len(todo),
        }
        write_atomic(run.generate_stats, json.dumps(stats, indent=1) + "\n")
    return bool(todo)


async def start_ensemble(recipe: Recipe, problems: list[Problem], pool: EnginePool) -> Ensemble:
    sections = [(f"teachers.{i}", section) for i, section in enumerate(recipe.teachers)]
    prover = meta_prover_section(recipe)
    if prover is not None:
        sections.append(("meta_prover", prover))
    models = [await pool.model(recipe, section, key, problems) for key, section in sections]
    vocabularies = {model.name: model.vocabulary for model in models}
    models = [replace(model, vocabularies=vocabularies) for model in models]
    teachers = tuple(models[: len(recipe.teachers)])
    return Ensemble(teachers, models[-1] if prover is not None else None, recipe.decode, recipe.seed)


def problems_in_flight(recipe: Recipe, ensemble: Ensemble) -> int:
    """How many problems run at once: enough to fill every engine twice, no more than their KV caches hold."""
    if recipe.decode.problems_in_flight:
        return recipe.decode.problems_in_flight
    width = recipe.decode.beam_size
    if recipe.decode.pipeline == "curation":
        width = recipe.decode.curation.traces_per_teacher
    slots = max((model.max_num_seqs or 64) for model in recipe.teachers)
    wanted = math.ceil(2 * slots / width)
    budgets = recipe.decode.budgets
    each = width * (budgets.reasoning_tokens + budgets.answer_tokens)
    models = [*ensemble.teachers, *([ensemble.meta_prover] if ensemble.meta_prover else [])]
    room = [tokens for m in models if (tokens := getattr(m.engine, "kv_tokens", None))]
    return max(1, min([wanted, *(int(KV_SHARE * tokens / each) for tokens in room)]))


async def _decode_all(
    recipe: Recipe,
    todo: list[Problem],
    ensemble: Ensemble,
    journal: Journal,
    pool: EnginePool,
    display: Progress,
    fingerprint: str,
) -> None:
    pipeline = PIPELINES[recipe.decode.pipeline]
    finish = row_maker(recipe, fingerprint)
    begun = time.monotonic()
    waiting = iter(todo)
    failures = 0
    dead: EngineDead | None = None

    async def decode_next() -> None:
        nonlocal failures, dead
        for problem in waiting:
            if dead:
                return
            try:
                outcome = await pipeline(problem, _for_problem(ensemble, problem, journal, pool, recipe))
                row = finish(problem, outcome)
                failures = 0
            except EngineError as error:
                # An engine that could not be restarted: no new problems, while those that can do without it go on.
                dead = error if isinstance(error, EngineDead) else dead
                failures += 1
                row = finish(problem, error)
            journal.finish(problem.id, row)
            made = sum(meter.generated_tokens for meter in pool.meters.values())
            display.advance(note=f"{made / max(time.monotonic() - begun, 1e-3):,.0f} tokens/s")
            if failures >= FAILURES_IN_A_ROW and not dead:
                raise CordError(
                    f"{failures} problems failed one after the other, the last with: {row['error']}. What is finished "
                    "is safe; mend the cause and run the same command again"
                )

    await gather_or_cancel([decode_next() for _ in range(problems_in_flight(recipe, ensemble))])
    if dead:
        raise CordError(f"an engine is gone: {dead}. What is finished is safe; mend it and run the same command again")


def _for_problem(
    ensemble: Ensemble, problem: Problem, journal: Journal, pool: EnginePool, recipe: Recipe
) -> Ensemble:
    def bound(model: Model) -> Model:
        meter = pool.meters[model.name]
        identity = model.vocabulary
        # A restarting engine watches the time itself, since it must tell a slow request from an engine that hangs.
        timeout = None if isinstance(model.engine, RestartingEngine) else recipe.decode.request_timeout
        return model.for_problem(ReplayEngine(model.engine, journal, problem.id, identity, meter, timeout))

    return replace(
        ensemble,
        teachers=tuple(bound(model) for model in ensemble.teachers),
        meta_prover=bound(ensemble.meta_prover) if ensemble.meta_prover else None,
    )


def row_maker(recipe: Recipe, fingerprint: str) -> Callable[[Problem, Outcome | EngineError], dict[str, Any]]:
    """A function from a problem and what came of it to its checked row: graded, its steps verified where possible."""
    assert recipe.problems is not None
    grade = load_grader(recipe.problems.grader)
    verifier = recipe.problems.process_check
    check = load_plugin(verifier, "problems.process_check") if verifier else None

    def row(problem: Problem, outcome: Outcome | EngineError) -> dict[str, Any]:
        base: dict[str, Any] = {
            "id": problem.id,
            "problem": problem,
            "pipeline": recipe.decode.pipeline,
            "recipe_hash": fingerprint,
            "seed": recipe.seed,
        }
        if isinstance(outcome, EngineError):
            empty = {"reasoning": 0, "answer": 0, "generated_total": 0, "scored_total": 0}
            trajectory = Trajectory(
                **base, steps=(), final_answer_text="", prediction=None, correct=None, score=None, stop=Stop.ABORT,
                num_tokens=empty, error=f"{type(outcome).__name__}: {outcome}",
            )  # fmt: skip
            return trajectory.to_row()
        text = "".join(step.text for step in outcome.steps) + outcome.final_answer_text
        prediction, correct = grade(text, problem)
        trajectory = Trajectory(
            **base,
            steps=outcome.steps,
            final_answer_text=outcome.final_answer_text,
            prediction=prediction,
            correct=correct,
            score=outcome.score,
            stop=outcome.stop,
            num_tokens={
                "reasoning": sum(step.num_tokens for step in outcome.steps),
                "answer": outcome.answer_tokens,
                "generated_total": outcome.generated,
                "scored_total": outcome.scored,
            },
            candidates=outcome.candidates,
            checks=check(problem, [step.text for step in outcome.steps]) if check else {},
        )
        made = json.loads(json.dumps(trajectory.to_row()))
        validate_row(made)
        return made

    return row


def write_rows(journal: Journal, problems: list[Problem], path: Path) -> None:
    """All rows in problem order, written beside and renamed."""
    beside = path.with_name(f".{path.name}.tmp")
    with open(beside, "w", encoding="utf-8") as file:
        for row in journal.rows([problem.id for problem in problems]):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    beside.replace(path)


def _flatten(value: Any, key: str) -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        return [pair for k, v in value.items() for pair in _flatten(v, f"{key}.{k}" if key else str(k))]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [pair for i, v in enumerate(value) for pair in _flatten(v, f"{key}.{i}")]
    return [(key, value)]


def _of_model(key: str) -> bool:
    return key.startswith(("teachers.", "meta_prover."))
