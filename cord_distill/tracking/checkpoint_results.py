"""Results of checkpoints in the W&B run of their training: late, so that they have a step axis of their own.

Training logs what it finds while it runs; what comes after its end is logged by the evaluation, which takes the same
run up again by its id (offline: in one more `offline-run-*-ID` folder).
"""

from __future__ import annotations

import glob
import json
from collections.abc import Sequence
from typing import Any

from cord_distill.common.files import write_atomic
from cord_distill.common.jsonl import read_object
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.paths import RESULTS, checkpoint_label
from cord_distill.run_folder.training_folder import TrainingFolder
from cord_distill.tracking.live import faults_are_warnings
from cord_distill.tracking.wandb_run import read_run_file, wandb_run

STEP = "checkpoint/step"
# In the training folder: the fingerprint of each result that is in its W&B run, by label.
LOGGED_FILE = "wandb_logged.json"
SHOWN = (
    "avg_at_k",
    "pass_at_k",
    "maj_at_k",
    "step_accuracy",
    "all_steps_right",
    "truncated",
    "answerless",
    "mean_tokens",
    *("f1", "scale_right", "unjudged"),
)


def log_new_results(tracked: Any, training: TrainingFolder) -> int:
    """Logs the results that are not in the W&B run `tracked` yet, by step; returns how many.

    `checkpoint/<suite>/<figure>` over `checkpoint/step`: named one by one, since the trainer gives every other metric
    its own step axis by a wildcard.
    """
    new = _new_results(training)
    logged = _logged(training)
    for results in new:
        values = {
            f"checkpoint/{suite}/{name}": figures[name]
            for suite, figures in results["suites"].items()
            for name in SHOWN
            if name in figures
        }
        tracked.define_metric(STEP)
        for name in values:
            tracked.define_metric(name, step_metric=STEP)
        tracked.log({STEP: results["step"], **values})
        logged[results["label"]] = results["fingerprint"]
        write_atomic(training.path / LOGGED_FILE, json.dumps(logged, indent=1) + "\n")
    return len(new)


def log_after_training(recipe: Recipe, trainings: Sequence[TrainingFolder]) -> None:
    """For trainings that are over and had a W&B run: takes it up again for the results that it lacks."""
    for training in trainings:
        known = read_run_file(training.path)
        if known and training.is_over and _new_results(training):
            opened = wandb_run(recipe, "training", "train", {}, known=known)
            with faults_are_warnings("the results of checkpoints"), opened as tracked:
                if tracked is not None:
                    log_new_results(tracked, training)


def checkpoint_results(training: TrainingFolder) -> list[dict[str, Any]]:
    """By step; only those of the training that the folder holds, not of one that was set aside."""
    pattern = f"{glob.escape(checkpoint_label(training.run, 'checkpoint-'))}*/{RESULTS}"
    found, fingerprint = [read_object(path) or {} for path in training.run.eval.glob(pattern)], training.fingerprint
    own = [r for r in found if r.get("step") is not None and r.get("training") == fingerprint]
    return sorted(own, key=lambda r: r["step"])


def _new_results(training: TrainingFolder) -> list[dict[str, Any]]:
    logged = _logged(training)
    return [r for r in checkpoint_results(training) if logged.get(r["label"]) != r["fingerprint"]]


def _logged(training: TrainingFolder) -> dict[str, Any]:
    return read_object(training.path / LOGGED_FILE) or {}
