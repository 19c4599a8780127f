"""The figures of an evaluation in Weights & Biases: one run per process, offline unless the recipe says else."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from cord_distill.common.jsonl import own_rows
from cord_distill.evaluation.targets import methods, training_of
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.paths import PROBLEMS, RESULTS, RunFolder
from cord_distill.tracking import lineage
from cord_distill.tracking.checkpoint_results import SHOWN
from cord_distill.tracking.wandb_run import SAMPLES, table, wandb_run


class EvaluationRun:
    """A context: `log(results)` once per checkpoint. `mode: disabled` does nothing and does not load wandb."""

    def __init__(self, recipe: Recipe) -> None:
        config = {"evaluate": recipe.evaluate.model_dump(mode="json", exclude={"engine"})}
        self.recipe = recipe
        self._tracked = wandb_run(recipe, "evaluation", "eval", config)
        self._rows: list[tuple[Any, ...]] = []
        self._shares: dict[str, dict[str, float]] = {}  # avg@k by suite and label
        self.run: Any = None

    def __enter__(self) -> EvaluationRun:
        self.run = self._tracked.__enter__()
        return self

    def log(self, results: dict[str, Any]) -> None:
        """One checkpoint: its figures under `<label>/<suite>/<figure>`, its first answers, what they were made from."""
        if self.run is None:
            return
        label = results["label"]
        values = {
            f"{label}/{suite}/{name}": found[name]
            for suite, found in results["suites"].items()
            for name in SHOWN
            if name in found
        }
        self.run.log(values)
        self.run.summary.update(values)
        for suite, found in results["suites"].items():
            if found.get("avg_at_k") is not None:
                self._shares.setdefault(suite, {})[label] = found["avg_at_k"]
        folder = RunFolder.of(self.recipe).eval / label
        self._rows += _samples(folder, label)
        for trained in methods(self.recipe):
            if results.get("student") and trained.label == label:
                model = lineage.model(self.recipe, trained, training_of(self.recipe, trained))
                if model is not None:
                    lineage.consumes(self.run, model)
        lineage.produces(self.run, lineage.results(self.recipe, folder / RESULTS, label))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.run is not None:
            panels = {f"avg@k on {suite}": _bars(suite, shares) for suite, shares in self._shares.items()}
            if self._rows:
                columns = ("model", "suite", "id", "answer", "completion", "prediction", "correct")
                panels["samples"] = table(columns, self._rows)
            self.run.log(panels)
        self._tracked.__exit__(kind, error, trace)


def _bars(suite: str, shares: dict[str, float]) -> Any:
    """A panel that sets the models side by side."""
    import wandb

    data = [[label, 100 * share] for label, share in shares.items()]
    return wandb.plot.bar(
        wandb.Table(columns=["model", "avg@k %"], data=data), "model", "avg@k %", f"{suite}: avg@k, %"
    )


def _samples(folder: Path, label: str) -> list[tuple[Any, ...]]:
    """The first sample of the first problems."""
    texts: dict[tuple[str, str], str] = {}
    for row in own_rows(folder / "samples.jsonl"):
        if row["sample"] == 0:
            texts[row["suite"], row["id"]] = row["text"]
    shown: list[tuple[Any, ...]] = []
    for row in own_rows(folder / PROBLEMS):
        if len(shown) < SAMPLES and (row["suite"], row["id"]) in texts:
            said = (row["predictions"][0], row["correct"][0])
            shown.append((label, row["suite"], row["id"], row["answer"], texts[row["suite"], row["id"]], *said))
    return shown
