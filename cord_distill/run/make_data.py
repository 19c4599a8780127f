"""The data set of one method, as `cord data` and `cord run` make it: built with the recipe's grader, and tracked."""

from __future__ import annotations

from typing import Any

from cord_distill.data.build import build_dataset
from cord_distill.grading import load_grader, ungraded
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.paths import RunFolder
from cord_distill.tracking.dataset import track_dataset


def make_data(recipe: Recipe) -> dict[str, Any]:
    """What stats.json says. Raises CordError as `build_dataset`."""
    run = RunFolder.of(recipe)
    grade = None
    if recipe.problems is not None and recipe.data.rows_per_problem > 1:
        grade = ungraded if recipe.problems.grader == "judge" else load_grader(recipe.problems.grader)
    stats = build_dataset(recipe, run.trajectories, run.dataset, grade)
    track_dataset(recipe, stats)
    return stats


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
    return ", ".join(filter(None, said))
