"""What is shown while a student trains: one bar with the loss, and the recipe in the W&B run."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from cord_distill.progress import Progress


class Bar(TrainerCallback):
    """Steps, loss and learning rate, in place of a line per step. Rank 0 only; no state of its own."""

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


class RecipeInWandb(TrainerCallback):
    """Puts the resolved recipe and what was rendered into the config of the W&B run that the trainer opened."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero and "wandb" in args.report_to:
            import wandb

            if wandb.run is not None:
                wandb.config.update(self.config, allow_val_change=True)
