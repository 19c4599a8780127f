"""Checkpoints in the middle of training: each complete one is evaluated once, oldest first, with or after training.

The watcher is a process of its own that only reads what training writes: stopping or killing it disturbs nothing. It
evaluates hard links to a checkpoint's weights, so that training may delete the checkpoint meanwhile.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from cord_distill.common.errors import CordError, Taken
from cord_distill.common.files import lock_folder
from cord_distill.evaluation.evaluate import EvaluationPlan, evaluate_job, write_table
from cord_distill.evaluation.jobs import Job, is_done
from cord_distill.evaluation.targets import Target, checkpoint_target, methods, training_of
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.checkpoints import is_complete
from cord_distill.run_folder.training_folder import TrainingFolder
from cord_distill.tracking.checkpoint_results import log_after_training
from cord_distill.training.export import write_model

LOOK_EVERY_SECONDS = 5.0
# Beside the checkpoints: a model that engines load, as long as it is evaluated.
LOADABLE = ".evaluated"


@dataclass(slots=True)
class Watcher:
    """Evaluates each checkpoint of a recipe's trainings once. seen: those that were evaluated or failed, by path and
    the time of their last file."""

    asked: EvaluationPlan
    seen: set[tuple[Path, int]] = field(default_factory=set)
    failed: list[str] = field(default_factory=list)

    def evaluate_new(self) -> int:
        """Evaluates every complete checkpoint that has no results yet, oldest first; returns how many."""
        made = 0
        for training in _trainings(self.asked.recipe):
            for checkpoint in training.checkpoints:
                made += self._evaluate(training, checkpoint)
        return made

    def _evaluate(self, training: TrainingFolder, checkpoint: Path) -> bool:
        key = _key(checkpoint)
        if key in self.seen:
            return False
        with _claimed(checkpoint) as folder:
            if folder is None:
                return False
            self.asked.refuse_trained_questions()
            target = checkpoint_target(self.asked.recipe, training, checkpoint)
            self.seen.add(key)
            try:
                job = self._prepared(checkpoint, target, folder)
                if job is None:
                    return False
                evaluate_job(job, self.asked)
            except Exception as error:
                # One that cannot be evaluated must not keep the others from it; the command ends with 1.
                self.failed.append(target.label)
                if not isinstance(error, CordError):
                    traceback.print_exc()
                print(f"evaluate {target.label}: failed: {error}", file=sys.stderr, flush=True)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        write_table(self.asked.folder, [])
        return True

    def _prepared(self, checkpoint: Path, target: Target, folder: Path) -> Job | None:
        """Makes the folder that engines load; None where there is nothing to do: the checkpoint was evaluated before,
        or training has deleted it meanwhile."""
        try:
            job = self.asked.job(target)
            if is_done(job):
                print(f"evaluate {target.label}: done before, unchanged", flush=True)
                return None
            write_model(checkpoint, folder, link=True)
        except Exception:
            if is_complete(checkpoint):
                raise
        if is_complete(checkpoint):
            return replace(job, path=str(folder))
        print(f"evaluate {target.label}: training deleted it before its turn (train.save_total_limit)", flush=True)
        return None


@contextmanager
def _claimed(checkpoint: Path) -> Iterator[Path | None]:
    """Gives the folder for a checkpoint's loadable model, and None at once where another watcher evaluates it. A killed
    watcher's claim ends with its process."""
    place = checkpoint.parent / LOADABLE
    try:
        lock = lock_folder(place, f".{checkpoint.name}.lock")
    except Taken:
        yield None
        return
    try:
        yield place / checkpoint.name
    finally:
        os.close(lock)


def _key(checkpoint: Path) -> tuple[Path, int]:
    """The same place may hold another checkpoint after a training was begun anew."""
    state = checkpoint / "trainer_state.json"
    return checkpoint, state.stat().st_mtime_ns if state.exists() else 0


def _remove_leftovers(recipe: Recipe) -> None:
    """Removes the folders that a killed watcher left behind."""
    for training in _trainings(recipe):
        for left in (training.path / LOADABLE).glob("checkpoint-*"):
            with _claimed(training.path / left.name) as mine:
                if mine is not None:
                    shutil.rmtree(mine, ignore_errors=True)


def evaluate_checkpoints(recipe: Recipe) -> int:
    """Evaluates the checkpoints that are there, once. Returns 1 when one failed."""
    watcher = Watcher(EvaluationPlan.of(recipe))
    _remove_leftovers(recipe)
    watcher.evaluate_new()
    log_after_training(recipe, _trainings(recipe))
    return 1 if watcher.failed else 0


def watch(recipe: Recipe, sleep: Callable[[float], None] = time.sleep) -> int:
    """Goes on until every training of the recipe has written `done.json` and its checkpoints are evaluated.

    Returns 1 when a checkpoint failed. Raises CordError before it waits for anything when the suites or the judge are
    not there.
    """
    watcher = Watcher(EvaluationPlan.of(recipe))
    _remove_leftovers(recipe)
    # `cord run` starts the later stages once this one and its watcher are through.
    watched = [training for training in _trainings(recipe) if training.run.stage == "train"]
    print(f"watching {', '.join(os.path.relpath(training.path) for training in watched)}", flush=True)
    while True:
        over = all(training.is_over for training in watched)
        if not watcher.evaluate_new():
            if over:
                break
            sleep(LOOK_EVERY_SECONDS)
    log_after_training(recipe, _trainings(recipe))
    return 1 if watcher.failed else 0


def _trainings(recipe: Recipe) -> list[TrainingFolder]:
    return [training_of(recipe, run) for run in methods(recipe)]
