"""The figures of an evaluation in Weights & Biases: one run per model, offline unless the recipe says else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cord_distill.common.jsonl import own_rows
from cord_distill.evaluation.targets import methods, training_of
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.paths import PROBLEMS, RESULTS, RunFolder
from cord_distill.tracking import lineage
from cord_distill.tracking.checkpoint_results import SHOWN
from cord_distill.tracking.live import faults_are_warnings
from cord_distill.tracking.wandb_run import SAMPLES, table, wandb_run

COLUMNS = ("suite", "id", "answer", "completion", "prediction", "correct")


def track_evaluation(recipe: Recipe, results: dict[str, Any]) -> None:
    """The run of one model: `eval/<suite>/<figure>`, its first answers, what it was made from. Which model it is, and
    of which method and seed, stands in config and tags, so that all models are rows of one table of runs.

    results: as results.json has them. `mode: disabled` does nothing and does not load wandb.
    """
    label = results["label"]
    trained = next((run for run in methods(recipe) if results.get("student") and run.label == label), None)
    config = {"evaluate": recipe.evaluate.model_dump(mode="json", exclude={"engine"})}
    facts: dict[str, Any] = {"model": label, "method": trained and trained.method, "seed": trained and trained.seed}
    opened = wandb_run(recipe, f"evaluation {label}", "eval", config, **facts)
    with faults_are_warnings(f"the evaluation of {label}"), opened as tracked:
        if tracked is None:
            return
        values = {
            f"eval/{suite}/{name}": found[name]
            for suite, found in results["suites"].items()
            for name in SHOWN
            if name in found
        }
        folder = RunFolder.of(recipe).eval / label
        tracked.log({**values, "samples": table(COLUMNS, _samples(folder))})
        tracked.summary.update(values)
        model = lineage.model(recipe, training_of(recipe, trained)) if trained else None
        if model is not None:
            lineage.consumes(tracked, model)
        lineage.produces(tracked, lineage.results(recipe, folder / RESULTS, label))


def _samples(folder: Path) -> list[tuple[Any, ...]]:
    """The first sample of the first problems."""
    texts: dict[tuple[str, str], str] = {}
    for row in own_rows(folder / "samples.jsonl"):
        if row["sample"] == 0:
            texts[row["suite"], row["id"]] = row["text"]
    shown: list[tuple[Any, ...]] = []
    for row in own_rows(folder / PROBLEMS):
        if len(shown) < SAMPLES and (row["suite"], row["id"]) in texts:
            said = (row["predictions"][0], row["correct"][0])
            shown.append((row["suite"], row["id"], row["answer"], texts[row["suite"], row["id"]], *said))
    return shown
