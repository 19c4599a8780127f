"""The data set of one method, as `cord data` and `cord run` make it: built with the recipe's grader, and tracked."""

from __future__ import annotations

import time
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.paths import short_path
from cord_distill.data.build import build_dataset
from cord_distill.grading import load_grader, ungraded
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.paths import TRAIN_FILE, RunFolder
from cord_distill.tracking.dataset import track_dataset

# Seconds that the other ranks of a training wait for the first one's data set.
PATIENCE = 1800.0


def make_data(recipe: Recipe) -> dict[str, Any]:
    """Builds the data set, with a grader where it needs one; returns what stats.json says. Raises CordError."""
    run = RunFolder.of(recipe)
    grade = None
    if recipe.problems is not None and recipe.data.rows_per_problem > 1:
        grade = ungraded if recipe.problems.grader == "judge" else load_grader(recipe.problems.grader)
    stats = build_dataset(recipe, run.trajectories, run.dataset, grade)
    track_dataset(recipe, stats)
    return stats


def data_before_training(recipe: Recipe, *, first: bool = True) -> None:
    """Makes the data set of one training where its trajectories are there and it is not, as `cord data` would.

    first: this process makes it; the other ranks of a launcher wait for it. Raises CordError as `make_data`.
    """
    run = RunFolder.of(recipe)
    file = run.dataset / TRAIN_FILE
    if file.is_file() or (recipe.variants and not recipe.variant) or not _can_be_made(recipe):
        return
    if first:
        print(f"data set  {short_path(run.dataset)}: {kept_and_dropped(make_data(recipe))}", flush=True)
        return
    until = time.monotonic() + PATIENCE
    while not file.is_file():
        if time.monotonic() > until:
            raise CordError(f"data set {short_path(run.dataset)} is not there: make it with cord data RECIPE")
        time.sleep(0.2)


def _can_be_made(recipe: Recipe) -> bool:
    return RunFolder.of(recipe).trajectories.is_file() or bool(recipe.data.sources and not recipe.teachers)


def kept_and_dropped(stats: dict[str, Any]) -> str:
    """One line about a data set: how many rows were kept, what the others were dropped for, what else was written."""
    dropped = ", ".join(f"{count} {reason}" for reason, count in stats["dropped"].items())
    said = [f"{stats['kept']} rows kept", f"dropped: {dropped}" if dropped else ""]
    if "cut_tail" in stats:
        said.append(f"tails of {stats['cut_tail']['traces']} cut")
    if "preferences" in stats:
        said.append(f"{stats['preferences']['pairs']} preference pairs")
    if "step_values" in stats:
        said.append(f"{stats['step_values']['steps']} step values")
    longest = stats["filters"]["max_tokens"]
    if longest is not None:
        said.append(f"of them training leaves out those of more than {longest} tokens (data.filters.max_tokens)")
    return ", ".join(filter(None, said))
