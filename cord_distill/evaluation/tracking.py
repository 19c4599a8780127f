"""The figures of an evaluation in Weights & Biases: one run per process, offline unless the recipe says else."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from cord_distill.recipe import Recipe
from cord_distill.tracking import wandb_run

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
        config = {"evaluate": recipe.evaluate.model_dump(mode="json", exclude={"engine"})}
        self._tracked = wandb_run(recipe, "evaluation", "eval", config)
        self.run: Any = None

    def __enter__(self) -> EvaluationRun:
        self.run = self._tracked.__enter__()
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
        self._tracked.__exit__(kind, error, trace)
