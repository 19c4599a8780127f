"""What decoding will cost, for `cord check`: from the problems that the run folder holds, under any other settings.

`cord check RECIPE decode.beam_size=8` after `cord generate RECIPE --limit 8` answers "what would B = 8 cost".
"""

from __future__ import annotations

from cord_distill.common.errors import CordError
from cord_distill.common.jsonl import read_json
from cord_distill.common.paths import short_path
from cord_distill.common.progress import short_time
from cord_distill.common.quiet import has_gpu
from cord_distill.decode.engine_pool import PER_REQUEST, decoding_sections
from cord_distill.decode.forecast import Forecast, Pace, forecast, pace, seen_of
from cord_distill.decode.simulate import Seen
from cord_distill.engines.ray.spec import gpus_of
from cord_distill.recipe.file import load_recipe
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.paths import RunFolder
from cord_distill.run_folder.trajectories import read_rows


def predicted(
    recipe: Recipe, problems: int, tokens_per_second: float | None, gpus: int | None, price: float | None
) -> str | None:
    """One line; None where too few problems are finished. gpus: engines of each model as often as they fit there.

    tokens_per_second: of all engines together; None = at the pace at which the finished problems were decoded.
    """
    run = RunFolder.of(recipe)
    try:
        seen = seen_of(read_rows(run.trajectories)) if run.trajectories.is_file() else []
    except CordError:  # a damaged file is the stage's own to name
        return None
    measured = _measured(recipe, run, seen)
    needed = gpus_needed(recipe)
    times = max(1, (gpus or 0) // needed) if needed else 1
    lag = measured.lag if measured else 0.0
    found = forecast(recipe, seen, problems, lag=lag, times=times, on_gpu=has_gpu() or bool(needed and gpus))
    if found is None:
        return None
    said = f"decode {run.method}, predicted from {found.seen} finished problems: {_counts(found)}"
    said += f"; {times} engines of each model" if times > 1 else ""
    if tokens_per_second:
        seconds, how = found.generated / tokens_per_second, f"at {tokens_per_second:,.0f} tokens/s"
    else:
        if measured is None:
            return said
        seconds, how = measured.seconds_per_step * found.cost.ticks, f"at the pace of {short_path(run.folder)}"
    said += f"; {short_time(seconds)} {how}"
    if gpus:
        hours = seconds / 3600 * gpus
        said += f", {hours:,.1f} GPU-hours" + (f", {hours * price:,.2f} at {price:g} an hour" if price else "")
    return said


def _counts(found: Forecast) -> str:
    by_model = ", ".join(f"{name} {count:,}" for name, count in found.cost.generated.items())
    longest = max(found.cost.steps.values())
    return (
        f"{found.requests:,} requests, {found.generated:,} generated tokens ({by_model}), "
        f"{found.cost.scores:,} scores, {longest:,} steps of the busiest engine"
    )


def gpus_needed(recipe: Recipe) -> int:
    """GPUs that the recipe's engines take, each engine and each device counted once; 0 where none names a device and
    none is spread over several."""
    engines = {
        section.model_dump_json(exclude=PER_REQUEST): section
        for section in decoding_sections(recipe).values()
        if section.engine == "vllm"
    }
    placed = {gpu for section in engines.values() for gpu in section.devices or ()}
    free = [section for section in engines.values() if not section.devices]
    if recipe.cluster is None and not placed and all(section.tensor_parallel_size == 1 for section in free):
        return 0
    return len(placed) + sum(gpus_of(section) * section.replicas for section in free)


def _measured(recipe: Recipe, run: RunFolder, seen: list[Seen]) -> Pace | None:
    """The pace of the decoding that the folder tells of, under the recipe that it was made with."""
    stats = read_json(run.generate_stats) if run.generate_stats.is_file() else {}
    try:
        made = load_recipe(run.root / "recipe.yaml", variant=recipe.variant)
        return pace(made, seen, stats)
    except (CordError, TypeError, AttributeError):  # no recipe there, or figures that somebody wrote by hand
        return None
