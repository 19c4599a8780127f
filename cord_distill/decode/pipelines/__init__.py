"""The ways of making a trajectory, by their recipe name (`decode.pipeline`)."""

from __future__ import annotations

from cord_distill.decode.ensemble import Ensemble
from cord_distill.decode.pipelines.base import Outcome, Pipeline
from cord_distill.decode.pipelines.cord import cord
from cord_distill.decode.pipelines.curation import curation, single
from cord_distill.decode.pipelines.integration import integration
from cord_distill.decode.pipelines.mcts import mcts

PIPELINES: dict[str, Pipeline] = {
    "cord": cord,
    "curation": curation,
    "single": single,
    "mcts": mcts,
    "integration": integration,
}

__all__ = ["PIPELINES", "Ensemble", "Outcome", "Pipeline"]
