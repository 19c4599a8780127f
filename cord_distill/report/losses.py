"""The training losses of a run, as its newest checkpoints remember them."""

from __future__ import annotations

from cord_distill.common.jsonl import read_json
from cord_distill.recipe.recipe import Recipe
from cord_distill.recipe.training_stages import training_runs
from cord_distill.run_folder.training_folder import TrainingFolder

MOST_POINTS = 300
# (update, loss), in order.
Curve = list[tuple[int, float]]


def loss_curves(recipes: list[Recipe]) -> dict[str, Curve]:
    """label -> losses of every training that has a complete checkpoint, at most 300 points, the last one among them.

    recipes: one per method.
    """
    curves = {}
    for recipe in recipes:
        for run in training_runs(recipe):
            trained = TrainingFolder.of(run)
            saved = trained.checkpoints
            curve = thinned(losses(read_json(saved[-1] / "trainer_state.json"))) if saved else []
            if len(curve) > 1:
                curves[trained.run.label] = curve
    return curves


def losses(state: dict) -> Curve:
    """The losses that a trainer_state.json has logged."""
    history = state.get("log_history") or []
    return [(int(entry["step"]), float(entry["loss"])) for entry in history if "loss" in entry and "step" in entry]


def thinned(curve: Curve) -> Curve:
    """Every n-th point, counted from the last, so that at most MOST_POINTS are left."""
    step = -(-len(curve) // MOST_POINTS) if curve else 1
    return curve[::-1][::step][::-1]
