"""The ways of making a trajectory, by their recipe name (`decode.pipeline`)."""

from __future__ import annotations

from cord_distill.pipelines.base import Ensemble, Outcome, Pipeline
from cord_distill.pipelines.cord import cord
from cord_distill.pipelines.curation import curation, single
from cord_distill.pipelines.integration import integration
from cord_distill.pipelines.mcts import mcts

PIPELINES: dict[str, Pipeline] = {
    "cord": cord,
    "curation": curation,
    "single": single,
    "mcts": mcts,
    "integration": integration,
}

__all__ = ["PIPELINES", "Ensemble", "Outcome", "Pipeline"]
