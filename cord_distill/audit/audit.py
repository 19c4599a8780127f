"""`cord audit`: changes each step of finished traces and asks the meta-prover what S becomes.

S chose the traces, so a high S says little about the steps. This looks at it from the other side: a step that matters
lowers S when its numbers are changed, a decorative one does not.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import islice

from cord_distill.audit.figures import EffectFigures, StepEffect, effect_figures
from cord_distill.audit.perturb import perturbed
from cord_distill.common.errors import CordError
from cord_distill.common.files import write_atomic
from cord_distill.common.progress import progress
from cord_distill.common.task_group import gather_or_cancel
from cord_distill.data.build import read_trajectories
from cord_distill.decode.engine_pool import EnginePool, meta_prover_section
from cord_distill.decode.ensemble import segmentation_of
from cord_distill.decode.model import Model
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.paths import RunFolder, method_name
from cord_distill.search.segment import Segmentation
from cord_distill.types import Step, Trajectory

# Problems whose scores are asked for at once.
AT_ONCE = 32


def audit(recipes: Sequence[Recipe], limit: int | None = None) -> dict[str, dict[str, EffectFigures]]:
    """The figures of each method, which are also written to `audit.json` of its folder, the steps to `audit.jsonl`.

    limit: only the first so many traces of each. Raises CordError where there is no meta-prover or no trajectory.
    """
    return asyncio.run(_audit_all(recipes, limit))


async def _audit_all(recipes: Sequence[Recipe], limit: int | None) -> dict[str, dict[str, EffectFigures]]:
    pool = EnginePool()
    try:
        return {method_name(recipe): await _audit_one(recipe, limit, pool) for recipe in recipes}
    finally:
        await pool.close()


async def _audit_one(recipe: Recipe, limit: int | None, pool: EnginePool) -> dict[str, EffectFigures]:
    run, section = RunFolder.of(recipe), meta_prover_section(recipe)
    if section is None:
        raise CordError("meta_prover: the audit asks it for S, and the recipe names none; give its model")
    if not run.trajectories.is_file():
        raise CordError(f"{run.trajectories} is not there: decode first (cord generate)")
    rows = read_trajectories(run.trajectories, Counter())
    traces = list(islice((row for row in rows if row.error is None and row.steps and row.problem.answer), limit))
    if not traces:
        raise CordError(f"{run.trajectories} holds no finished trace with a known answer: nothing to audit")
    prover = await pool.model(recipe, section, "meta_prover", [trace.problem for trace in traces])
    segmentation, suffix = segmentation_of(recipe.decode), recipe.decode.answer_suffix
    found: list[StepEffect] = []
    with progress(f"audit {method_name(recipe)}", len(traces)) as display:
        for start in range(0, len(traces), AT_ONCE):
            batch = traces[start : start + AT_ONCE]
            for effects in await gather_or_cancel([_effects(prover, t, segmentation, suffix) for t in batch]):
                found += effects
            display.advance(len(batch))
    figures = effect_figures(found)
    lines = [json.dumps(effect.to_row(), ensure_ascii=False) for effect in found]
    write_atomic(run.folder / "audit.jsonl", "\n".join(lines) + "\n")
    write_atomic(run.audit, json.dumps({name: asdict(one) for name, one in figures.items()}, indent=1) + "\n")
    return figures


async def _effects(prover: Model, trace: Trajectory, segmentation: Segmentation, suffix: str) -> list[StepEffect]:
    """Four scores per step of one trace: the step and the prefix before it, each as it is and changed."""
    intact = tuple(replace(step, ids=()) for step in trace.steps)
    changed = tuple(_changed(step, trace.id, segmentation) for step in intact)
    right, needless = (trace.checks.get(key) or [] for key in ("steps_right", "needless"))
    model = prover.for_problem(prover.engine)

    async def score(steps: tuple[Step, ...]) -> float:
        return (await model.score(trace.problem.question, steps, suffix, trace.problem.answer)).score

    async def effect(n: int) -> StepEffect:
        four = [(*before[:n], last[n]) for before in (intact, changed) for last in (intact, changed)]
        whole, step_changed, prefix_changed, both = await gather_or_cancel([score(steps) for steps in four])
        said = [bool(checks[n]) if n < len(checks) else None for checks in (right, needless)]
        return StepEffect(trace.id, n + 1, intact[n].teacher, whole, step_changed, prefix_changed, both, *said)

    return await gather_or_cancel([effect(n) for n in range(len(intact))])


def _changed(step: Step, trace: str, segmentation: Segmentation) -> Step:
    """The step with other numbers; its marker stays, and so does a step that says nothing (a bare `</think>`)."""
    said = segmentation.said(step.text)
    begun = step.text.rfind(said) if said else -1  # the words end the step: `3` in `### Step 3. 3` is the last one
    return replace(step, text=perturbed(step.text, step.text[:begun] if begun >= 0 else step.text, trace, step.n))
