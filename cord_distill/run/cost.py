"""What decoding costs, for `cord check`: at most, by the budgets, and probably, by problems that were decoded before.

At most: a step of the beam asks every teacher for every live trace, and all these proposals continue traces of one
step: over a whole search each place in the beam is paid for at most once per token of the thought and teacher.
Probably: from the problems that the run folder holds, under any other settings. `cord check RECIPE decode.beam_size=8`
after `cord generate RECIPE --limit 8` answers "what would B = 8 cost".
"""

from __future__ import annotations

import math

from cord_distill.common.errors import CordError
from cord_distill.common.jsonl import read_json
from cord_distill.common.paths import short_path
from cord_distill.common.progress import short_time
from cord_distill.common.quiet import has_gpu
from cord_distill.decode.admission import width
from cord_distill.decode.devices import vllm_engines
from cord_distill.decode.engine_pool import decoding_sections
from cord_distill.decode.forecast import Pace, forecast, pace, past_problems
from cord_distill.decode.simulate import Cost, PastProblem
from cord_distill.decode.take_over import twins_of
from cord_distill.engines.ray.spec import gpus_of
from cord_distill.recipe.file import load_recipe
from cord_distill.recipe.recipe import Recipe
from cord_distill.run.machine import Machine
from cord_distill.run_folder.paths import RunFolder, method_name
from cord_distill.run_folder.trajectories import read_rows

# A step that says anything has some tokens; used only where the budgets bound no number of steps.
SHORTEST_STEP = 16


def cost_lines(variants: list[Recipe], problems: int, machine: Machine | None) -> list[str]:
    """Of each method the most that its decoding can cost, then what it probably will. Variants that take another's rows
    cost nothing."""
    twins = zip(variants, twins_of(variants), strict=True)
    paid = [one for one, twin in twins if twin is None and one.teachers]
    lines = [_at_most(one, problems, machine) for one in paid] + [_probably(one, problems, machine) for one in paid]
    return [line for line in lines if line is not None]


def _at_most(recipe: Recipe, problems: int, machine: Machine | None) -> str | None:
    found = _bounds(recipe)
    if found is None:
        return None
    requests, tokens = (problems * count for count in found)
    line = f"decode {method_name(recipe)}: at most {requests:,} requests and {tokens:,} generated tokens"
    if machine and machine.tokens_per_second:
        seconds = tokens / machine.tokens_per_second
        line += f", {seconds / 3600:,.1f} h at {machine.tokens_per_second:,.0f} tokens/s{machine.spent(seconds)}"
    return line


def _bounds(recipe: Recipe) -> tuple[int, int] | None:
    """(requests of proposals and final answers, sampled tokens) of one problem, both upper bounds; None for a plug-in
    pipeline, whose requests only it knows."""
    decode, teachers = recipe.decode, len(recipe.teachers)
    thought, answer = decode.budgets.reasoning_tokens, decode.budgets.answer_tokens
    steps = decode.budgets.max_steps or math.ceil(thought / SHORTEST_STEP)
    if decode.pipeline == "cord":
        each = width(decode) * teachers * decode.proposals_per_teacher
        return each * steps + 1, each * thought + answer
    traces = {
        "curation": teachers * decode.curation.traces_per_teacher,
        "single": 1,
        "integration": teachers * (decode.integration.traces_per_teacher if decode.integration else 1),
        "mcts": decode.mcts.rollouts or decode.beam_size * teachers,
    }
    if decode.pipeline not in traces:
        return None
    count = traces[decode.pipeline]
    merged = decode.integration.max_tokens if decode.pipeline == "integration" and decode.integration else 0
    return 2 * count, count * (thought + answer) + merged


def _probably(recipe: Recipe, problems: int, machine: Machine | None) -> str | None:
    """One line; None where too few problems are finished. Each model gets as many engines as the machine has room for;
    without `tokens_per_second` the pace is that at which the finished problems were decoded."""
    run = RunFolder.of(recipe)
    try:
        seen = past_problems(read_rows(run.trajectories)) if run.trajectories.is_file() else []
    except CordError:  # a damaged file is the stage's own to name
        return None
    measured = _measured(recipe, run, seen)
    needed, gpus = gpus_needed(recipe), machine.gpus if machine else 0
    times = max(1, gpus // needed) if needed else 1
    lag = measured.lag if measured else 0.0
    found = forecast(recipe, seen, problems, lag=lag, times=times, on_gpu=has_gpu() or bool(needed and gpus))
    if found is None:
        return None
    line = f"decode {run.method}, predicted from {len(seen)} finished problems: {_counts(found)}"
    line += f"; {times} engines of each model" if times > 1 else ""
    if machine and machine.tokens_per_second:
        seconds = found.generated.total() / machine.tokens_per_second
        how = f"at {machine.tokens_per_second:,.0f} tokens/s"
    elif measured is None:
        return line
    else:
        seconds, how = measured.seconds_per_step * found.ticks, f"at the pace of {short_path(run.folder)}"
    return f"{line}; {short_time(seconds)} {how}{machine.spent(seconds) if machine else ''}"


def _counts(cost: Cost) -> str:
    by_model = ", ".join(f"{name} {count:,}" for name, count in cost.generated.items())
    longest = max(cost.steps.values())
    return (
        f"{cost.requests.total():,} requests, {cost.generated.total():,} generated tokens ({by_model}), "
        f"{cost.scores:,} scores, {longest:,} steps of the busiest engine"
    )


def gpus_needed(recipe: Recipe) -> int:
    """GPUs that the recipe's engines take, each engine and each device counted once; 0 where none names a device and
    none is spread over several."""
    engines = vllm_engines(decoding_sections(recipe)).values()
    placed = {gpu for section in engines for gpu in section.devices or ()}
    free = [section for section in engines if not section.devices]
    if recipe.cluster is None and not placed and all(section.tensor_parallel_size == 1 for section in free):
        return 0
    return len(placed) + sum(gpus_of(section) * section.replicas for section in free)


def _measured(recipe: Recipe, run: RunFolder, seen: list[PastProblem]) -> Pace | None:
    """The pace of the decoding that the folder tells of, under the recipe that it was made with."""
    stats = read_json(run.generate_stats) if run.generate_stats.is_file() else {}
    try:
        return pace(load_recipe(run.root / "recipe.yaml", variant=recipe.variant), seen, stats)
    except (CordError, TypeError, AttributeError):  # no recipe there, or figures that somebody wrote by hand
        return None
