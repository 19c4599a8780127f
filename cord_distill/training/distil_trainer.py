"""TRL's DistillationTrainer, asked and stopped as decoding and evaluation ask and stop a student."""

from __future__ import annotations

from typing import Any

from trl import DistillationTrainer

from cord_distill.prompts.render import Renderer
from cord_distill.training.trainer import Measured


class DistilTrainer(Measured, DistillationTrainer):
    """The prompts are ids, as the renderer makes them; a sample ends at the end of turn that SFT trained."""

    counts_on = True

    def __init__(self, *args: Any, renderer: Renderer, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        ends = list(self.generation_kwargs["eos_token_id"])
        if renderer.end_of_turn_id not in ends:
            self.eos_token_ids = ends = [*ends, renderer.end_of_turn_id]
            self.generation_config.eos_token_id = ends
            self.generation_kwargs["eos_token_id"] = ends

    def _tokenize_prompts(self, prompts: list[list[int]]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return prompts, None, {}

    def _counted_tokens(self) -> int:
        return int(self.state.num_input_tokens_seen)
