"""What was made from what, as W&B artifacts: trajectories → data set → model → evaluation.

Files of rows and figures below SMALL bytes are sent with their artifact; larger ones, and weights, are known by
reference: name, digest and where they lie. A consumer builds the same artifact as its producer did (the same name and
digest), and W&B takes the two for one version, so that the chain holds offline too. `track.wandb.log_model: true` alone
puts weights into an artifact of their own.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.paths import STATS_FILE, TRAIN_FILE, RunFolder
from cord_distill.run_folder.training_folder import TrainingFolder
from cord_distill.tracking.wandb_run import read_run_file

SMALL = 8_000_000


def trajectories(recipe: Recipe) -> Any:
    """Artifact of a method's trajectories, or None where none were decoded."""
    run = RunFolder.of(recipe)
    return _of_files(recipe, "trajectories", run.method, run.trajectories) if run.trajectories.is_file() else None


def dataset(recipe: Recipe) -> Any:
    """Artifact of a method's training rows; metadata: the counts of its stats.json, where it has one."""
    run = RunFolder.of(recipe)
    counted = run.dataset / STATS_FILE
    stats = json.loads(counted.read_text(encoding="utf-8")) if counted.is_file() else {}
    kept = {key: stats[key] for key in ("kept", "dropped") if key in stats}
    return _of_files(recipe, "dataset", run.method, run.dataset / TRAIN_FILE, **kept)


def model(recipe: Recipe, trained: TrainingFolder, step: int | None = None) -> Any:
    """Artifact of the student that was trained there, after `step` updates (None: the finished one).

    Its one file says which: the fingerprint of the training's inputs, its W&B run, the step. None without a training.
    """
    import wandb

    training = trained.fingerprint
    if training is None:
        return None
    step = trained.figures.get("steps") if step is None else step
    tracked = read_run_file(trained.path) or {}
    about = {"step": step, "folder": str(trained.path)}
    made = wandb.Artifact(_name(recipe, trained.run.label, "model"), "model", metadata=about)
    with made.new_file("model.json") as file:
        file.write(json.dumps({"training": training, "run": tracked.get("id"), "step": step}, sort_keys=True))
    return made


def weights(recipe: Recipe, run: RunFolder) -> Any:
    """Artifact that holds the finished model itself, for `track.wandb.log_model`."""
    import wandb

    made = wandb.Artifact(_name(recipe, run.label, "weights"), "weights")
    made.add_dir(str(run.final_model))
    return made


def results(recipe: Recipe, path: Path, label: str) -> Any:
    """Artifact of one checkpoint's results.json."""
    return _of_files(recipe, "evaluation", label, path)


def report(recipe: Recipe, *paths: Path) -> Any:
    """Artifact of the report of a run: its pages and its summary."""
    return _of_files(recipe, "report", "", *paths)


def produces(tracked: Any, artifact: Any, *aliases: str) -> None:
    tracked.log_artifact(artifact, aliases=["latest", *aliases])


def consumes(tracked: Any, artifact: Any) -> None:
    """Marks `artifact` as an input of the run. Offline, W&B's public call refuses; what it would record is the same."""
    if tracked.settings._offline:
        tracked._log_artifact(artifact, is_user_created=True, use_after_commit=True)
    else:
        tracked.use_artifact(artifact)


def _of_files(recipe: Recipe, kind: str, of: str, *paths: Path, **metadata: Any) -> Any:
    """Artifact of files. of: the method or checkpoint that they belong to, "" for those of the whole run."""
    import wandb

    made = wandb.Artifact(_name(recipe, *filter(None, (of, kind))), kind, metadata=metadata)
    for path in paths:
        if path.stat().st_size < SMALL:
            made.add_file(str(path), name=path.name)
        else:
            made.add_reference(path.absolute().as_uri(), name=path.name)
    return made


def _name(recipe: Recipe, *parts: str) -> str:
    return re.sub(r"[^\w.-]+", "-", "-".join([recipe.name, *parts]))[:128]
