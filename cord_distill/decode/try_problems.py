"""`cord problems`: tries of a small model on every problem, their grades, and the file of the hard ones.

As in decoding every answer is in a journal before it is used: the same command goes on after a kill, and another rule
(`min_reasoning_tokens`, a grader) asks the model nothing again.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from cord_distill.common.files import write_atomic
from cord_distill.common.progress import progress
from cord_distill.common.task_group import gather_or_cancel
from cord_distill.decode.admission import slots_of
from cord_distill.decode.check import judge_of
from cord_distill.decode.decode_all import Decoding, finish_all, journaled
from cord_distill.decode.engine_pool import EnginePool
from cord_distill.decode.failures import count_failures, error_text
from cord_distill.decode.hard_problems import Try, contents, filter_fingerprint, required, try_inputs, why_not_hard
from cord_distill.decode.model import Model
from cord_distill.decode.pipelines import Ensemble
from cord_distill.decode.problems import load_candidates
from cord_distill.grading import load_grader
from cord_distill.grading.extract import after_thought
from cord_distill.grading.judge import Judge
from cord_distill.model_files.build import build_models
from cord_distill.recipe.evaluate import JudgeConfig
from cord_distill.recipe.file import recipe_hash
from cord_distill.recipe.models import ModelConfig
from cord_distill.recipe.problems import HardForConfig
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.journal import Journal
from cord_distill.run_folder.paths import RunFolder
from cord_distill.search.seeds import keyed_seed
from cord_distill.tracking.live import Live
from cord_distill.types import Problem, Step, Stop

KEY = "problems.hard_for"
Whole = list[tuple[Problem, Try]]
# Right or wrong, by problem id and text; None: a judge gave no verdict, which counts as wrong.
Verdicts = dict[tuple[str, str], bool | None]
GradeAll = Callable[[Whole], Coroutine[Any, Any, Verdicts]]
OPEN_ANSWER = Path(__file__).with_name("open_answer.txt")


def filter_problems(recipe: Recipe, *, overwrite: bool = False) -> dict[str, Any]:
    """Writes `problems.jsonl` (id, question, answer, meta) and returns the counts, also in `problem_filter/stats.json`.

    overwrite: the tries of changed settings are set aside (under `stale/`) instead of refused. Raises CordError: no
    `problems.hard_for`, bad problems, an engine that is gone, a judge that does not answer. What is finished stays.
    """
    hard_for = required(recipe)
    grade_all = _grading(recipe)
    problems = load_candidates(recipe)
    run = RunFolder.of(recipe)
    path = run.problem_filter / "journal"
    build_models(recipe)
    inputs = try_inputs(recipe)
    fingerprint = recipe_hash(inputs)
    begun = time.monotonic()
    journal = Journal(path, fingerprint=fingerprint, inputs=inputs, overwrite=overwrite, alone=True)
    try:
        models = asyncio.run(_try_all(recipe, hard_for, problems, journal))
        rows = {row["id"]: row for row in journal.rows(problems)}
    finally:
        journal.close()
    tried = [problem for problem in problems if not rows[problem.id].get("error")]
    tries = {problem.id: [_read(one) for one in rows[problem.id]["tries"]] for problem in tried}
    whole = [(problem, one) for problem in tried for one in tries[problem.id] if not one.stop.cut_off]
    verdicts = asyncio.run(grade_all(whole))
    right = {name: [verdicts.get((name, one.text)) is True for one in many] for name, many in tries.items()}
    reasons = {p.id: why_not_hard(tries[p.id], right[p.id], hard_for) if p.id in tries else "failed" for p in problems}
    kept = [
        {**asdict(p), "reasoning_tokens": [one.reasoning_tokens for one in tries[p.id]]}
        for p in problems
        if reasons[p.id] is None
    ]
    dropped = Counter(reason for reason in reasons.values() if reason)
    made = [(name, one) for name, many in tries.items() for one in many]
    stats = {
        "fingerprint": filter_fingerprint(recipe),
        "limit": recipe.problems and recipe.problems.limit,
        "candidates": len(problems),
        "content": contents(problems),
        "kept": len(kept),
        "dropped": {reason: dropped[reason] for reason in ("solved", "short", "failed") if dropped[reason]},
        "failed_with": count_failures(rows[p.id].get("error") for p in problems).reason,
        "tries": {
            "all": len(made),
            "right": sum(map(sum, right.values())),
            "cut_off": sum(one.stop.cut_off for _, one in made),
            "unjudged": sum(verdicts.get((name, one.text), False) is None for name, one in made),
        },
        "seconds": round(time.monotonic() - begun, 3),
        "models": models,
    }
    write_atomic(run.hard_problems, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))
    write_atomic(run.problem_filter / "stats.json", json.dumps(stats, indent=1) + "\n")
    return stats


async def _try_all(
    recipe: Recipe, hard_for: HardForConfig, problems: list[Problem], journal: Journal
) -> dict[str, Any]:
    """Writes every problem's tries into the journal; returns what the model did for them in this process."""
    todo = [problem for problem in problems if not journal.is_finished(problem)]
    if not todo:
        return {}
    # The tries have budgets of their own; where the engine looks for them they stand under `decode`.
    own = hard_for.model_dump(include={"reasoning_tokens", "answer_tokens"})
    budgets = recipe.decode.budgets.model_copy(update=own)
    recipe = recipe.model_copy(update={"decode": recipe.decode.model_copy(update={"budgets": budgets})})
    section = ModelConfig(**hard_for.model_dump(include=set(ModelConfig.model_fields)))
    pool = EnginePool()
    try:
        (model,) = await pool.together(recipe, [partial(pool.model, recipe, section, KEY, todo)])
        alone = Ensemble((model,), None, recipe.decode, hard_for.seed)

        async def attempt(problem: Problem) -> dict[str, Any]:
            (asked,) = journaled(work, problem).teachers
            try:
                made = await gather_or_cancel([_try(asked, problem, hard_for, i) for i in range(hard_for.tries)])
            finally:
                pool.leave(problem.id)
            return {"id": problem.id, "tries": [asdict(one) for one in made], "error": None}

        def failed(problem: Problem, error: Exception) -> dict[str, Any]:
            return {"id": problem.id, "tries": [], "error": error_text(error)}

        in_flight = math.ceil(2 * slots_of(section, model.engine) / hard_for.tries)
        with progress("try problems", len(problems), len(problems) - len(todo)) as display:
            work = Decoding(recipe, todo, alone, journal, pool, display, Live(), wait=False)
            await finish_all(work, attempt, failed, in_flight)
        return {name: asdict(meter) for name, meter in pool.meters.items()}
    finally:
        await pool.close()


async def _try(model: Model, problem: Problem, hard_for: HardForConfig, sample: int) -> Try:
    """Asks for one thought and, where it was closed, for the answer behind it."""
    seed = keyed_seed(hard_for.seed, problem.id, "try", sample)
    thought = await model.write(problem.question, (), "", max_tokens=hard_for.reasoning_tokens, seed=seed)
    length = len(thought.ids)
    if thought.stop is not Stop.THINK_END:
        return Try(thought.text, length, thought.stop)
    step = Step(1, model.name, thought.text, thought.ids, length, None, thought.stop)
    answer = await model.answer(
        problem.question, (step,), max_tokens=hard_for.answer_tokens, seed=keyed_seed(seed, "answer")
    )
    return Try(thought.text + answer.text, length, answer.stop)


def _grading(recipe: Recipe) -> GradeAll:
    """Returns the function that grades finished tries; cut-off ones are wrong whatever they hold. Raises CordError."""
    assert recipe.problems is not None
    if recipe.problems.grader == "judge":
        return partial(_judged, RunFolder.of(recipe).problem_filter, judge_of(recipe))
    grade = load_grader(recipe.problems.grader)

    async def graded(whole: Whole) -> Verdicts:
        return {(problem.id, one.text): grade(one.text, problem)[1] for problem, one in whole}

    return graded


async def _judged(folder: Path, section: JudgeConfig, whole: Whole) -> Verdicts:
    """Asks the judge about open-ended answers and keeps its verdicts in `judgements.jsonl`."""
    from cord_distill.grading.judge_engines import asker, identity

    judge = Judge(identity(section, folder / ".weights.json"), folder / "judgements.jsonl", asker(section))
    form = OPEN_ANSWER.read_text(encoding="utf-8").strip()
    prompts = {
        (problem.id, one.text): form.format(question=problem.question, reference=problem.answer, answer=answer)
        for problem, one in whole
        if (answer := after_thought(one.text).strip())
    }
    await judge.decide(prompts.values())
    return {key: judge.verdict(prompt) for key, prompt in prompts.items()}


def _read(one: dict[str, Any]) -> Try:
    return Try(one["text"], one["reasoning_tokens"], Stop(one["stop"]))


def counts_line(stats: dict[str, Any]) -> str:
    """`456 of 1000 problems kept, dropped: 300 solved, 244 short`."""
    dropped = ", ".join(f"{count} {reason}" for reason, count in stats["dropped"].items())
    unjudged = stats["tries"]["unjudged"]
    return (
        f"{stats['kept']} of {stats['candidates']} problems kept"
        + (f", dropped: {dropped}" if dropped else "")
        + (f" ({unjudged} tries got no verdict and count as wrong)" if unjudged else "")
    )
