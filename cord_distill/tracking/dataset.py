"""The Weights & Biases run of a finished data set: its figures and a table of sample rows."""

from __future__ import annotations

from itertools import islice
from typing import Any

from cord_distill.common.jsonl import own_rows
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.paths import TRAIN_FILE, RunFolder
from cord_distill.tracking import lineage
from cord_distill.tracking.live import faults_are_warnings
from cord_distill.tracking.wandb_run import SAMPLES, end_service, table, wandb_run


def track_dataset(recipe: Recipe, stats: dict[str, Any]) -> None:
    """The step from trajectories to training rows: what was kept and dropped, and the first rows."""
    run = RunFolder.of(recipe)
    config = {"data": recipe.data.model_dump(mode="json")}
    opened = wandb_run(recipe, f"data {run.method}", "data", config, method=run.method)
    with faults_are_warnings("the figures of the data set"), opened as tracked:
        if tracked is None:
            return
        made, dataset = lineage.trajectories(recipe), lineage.dataset(recipe)
        if made is not None:
            lineage.consumes(tracked, made)
        values = {"data/kept": stats["kept"], **{f"data/dropped/{x}": n for x, n in stats["dropped"].items()}}
        tracked.log(values)
        tracked.summary.update(values)
        rows = list(islice(own_rows(run.dataset / TRAIN_FILE), SAMPLES))
        shown = [(r.get("id"), r["prompt"][-1]["content"], r["completion"][-1]["content"]) for r in rows]
        tracked.log({"rows": table(("id", "prompt", "completion"), shown)})
        lineage.produces(tracked, dataset)
    end_service()
