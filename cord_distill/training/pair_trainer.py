"""TRL's DPOTrainer on pairs that are ids already."""

from __future__ import annotations

from typing import Any

from trl import DPOTrainer

from cord_distill.training.trainer import Measured


class PairTrainer(Measured, DPOTrainer):
    """Columns prompt_ids, chosen_ids, rejected_ids: TRL's own rendering would lose the thought of a message."""

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset
