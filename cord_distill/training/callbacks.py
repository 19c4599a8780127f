"""What goes on beside a training: one bar with the loss, and the W&B run with its artifacts."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback

from cord_distill.common.progress import Progress
from cord_distill.recipe.recipe import Recipe
from cord_distill.recipe.training_stages import stage_before
from cord_distill.run_folder.training_folder import TrainingFolder
from cord_distill.tracking import lineage
from cord_distill.tracking.checkpoint_results import log_new_results
from cord_distill.tracking.live import faults_are_warnings
from cord_distill.tracking.wandb_run import table, write_run_file

LOOK_EVERY_SECONDS = 15.0


class Bar(TrainerCallback):
    """Shows steps, loss and learning rate as one bar, in place of a line per step, on rank 0."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.note = ""
        self.progress: Progress | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero and not args.disable_tqdm:
            self.progress = Progress(self.label, state.max_steps, done=state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            self.note = f"loss {float(logs['loss']):.3f} lr {float(logs.get('learning_rate', 0)):.1e}"

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # The trainer logs after this: the note is that of the step before.
        if self.progress is not None:
            self.progress.advance(state.global_step - self.progress.done, self.note)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.progress is not None:
            self.progress.close()
            self.progress = None


class InWandb(TrainerCallback):
    """Adds to the W&B run that the trainer's own callback opened what that leaves out.

    That is the resolved recipe and what was rendered (config), a rendered row, the data set and each checkpoint as
    artifacts, and results of checkpoints as soon as a watcher has written them. Nothing where there is no W&B run; a
    fault of W&B is a warning, and the training goes on.
    """

    def __init__(self, recipe: Recipe, folder: TrainingFolder, config: dict[str, Any]) -> None:
        self.recipe, self.folder, self.config = recipe, folder, config
        self.tracked: Any = None
        self._looked = 0.0

    @faults_are_warnings("the data set of a training")
    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero and "wandb" in args.report_to:
            import wandb

            if wandb.run is None:
                return
            self.tracked = wandb.run
            wandb.config.update(self.config, allow_val_change=True)
            write_run_file(self.folder.path, wandb.run)
            row = (self.folder.path / "sample_row.txt").read_text(encoding="utf-8")
            wandb.run.log({"row": table(("the first row, as it is trained",), [(row,)])})
            lineage.consumes(wandb.run, lineage.dataset(self.recipe))
            before = stage_before(self.recipe)
            student = before and lineage.model(before, TrainingFolder.of(before))
            if student:
                lineage.consumes(wandb.run, student)

    @faults_are_warnings("a checkpoint")
    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.tracked is not None:
            self._log_model(state.global_step)

    @faults_are_warnings("the results of checkpoints")
    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.tracked is not None and time.monotonic() - self._looked > LOOK_EVERY_SECONDS:
            self._looked = time.monotonic()
            log_new_results(self.tracked, self.folder)

    @faults_are_warnings("the finished model")
    def on_finish(self, steps: int) -> None:
        """Called once the finished model is written."""
        if self.tracked is not None:
            self._log_model(steps, "final")
            if self.recipe.track.wandb.log_model:
                lineage.produces(self.tracked, lineage.weights(self.recipe, self.folder.run))
            log_new_results(self.tracked, self.folder)

    def _log_model(self, step: int, *aliases: str) -> None:
        student = lineage.model(self.recipe, self.folder, step)
        if student is not None:
            lineage.produces(self.tracked, student, f"checkpoint-{step}", *aliases)
