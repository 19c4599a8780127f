"""The figures of an evaluation in Weights & Biases: one run per process, offline unless the recipe says else."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from cord_distill.recipe import Recipe
from cord_distill.run_folder import RunFolder

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


class EvaluationRun:
    """A context: `log(results)` once per checkpoint. `mode: disabled` does nothing and does not load wandb."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.run: Any = None

    def __enter__(self) -> EvaluationRun:
        settings = self.recipe.track.wandb
        if settings.mode != "disabled":
            import wandb

            root = RunFolder.of(self.recipe).wandb
            root.mkdir(parents=True, exist_ok=True)
            self.run = wandb.init(
                project=settings.project,
                entity=settings.entity,
                mode=settings.mode,
                dir=str(root),
                name=f"{self.recipe.name} evaluation",
                job_type="eval",
                group=self.recipe.name,
                tags=list(settings.tags) or None,
                config={"evaluate": self.recipe.evaluate.model_dump(mode="json", exclude={"engine"})},
                settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
            )
        return self

    def log(self, results: dict[str, Any]) -> None:
        """The figures of one checkpoint: in the history and, under `<label>/<suite>/<figure>`, in the summary."""
        if self.run is None:
            return
        values = {
            f"{results['label']}/{suite}/{name}": found[name]
            for suite, found in results["suites"].items()
            for name in SHOWN
            if name in found
        }
        self.run.log(values)
        self.run.summary.update(values)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.run is not None:
            self.run.finish(exit_code=0 if kind is None else 1)
