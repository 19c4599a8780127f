"""A vLLM logits processor: proposals write the next marker as their last tokens, at the length that the workload says.

So a proposal of a random model ends as a real teacher's does: by its stop string, with the marker in its KV cache.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from vllm.v1.sample.logits_processor import LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates


class EndsInMarker(LogitsProcessor):
    """Requests with stop strings and a limit of n tokens: the last len(tail) of the n are `tail`."""

    tail: ClassVar[list[int]] = []

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        self._open: dict[int, tuple[list[int], int]] = {}

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: Any) -> None:
        def ends_at(params: Any, _prompt: Any, output: list[int]) -> tuple[list[int], int] | None:
            return (output, params.max_tokens - len(self.tail)) if params.stop else None

        process_dict_updates(self._open, batch_update, ends_at)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        for row, (output, first) in self._open.items():
            at = len(output) - first
            if at >= 0:
                logits[row].fill_(-torch.inf)
                logits[row, self.tail[min(at, len(self.tail) - 1)]] = 0.0
        return logits
