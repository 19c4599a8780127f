"""TRL's trainers with a count of tokens that goes on after a resume, how fast they come, and the memory they take."""

from __future__ import annotations

import resource
import time
from typing import Any

import torch
from trl import SFTTrainer

GIB = 2**30


class Measured:
    """Adds to every logged step of a trainer: `num_tokens` (seen since the first step, all ranks), `tokens_per_second`
    (all ranks, since the log before), and the peak of this process: `peak_gpu_gib` (allocated), or on CPU
    `peak_rss_gib`. To be named before the trainer among the bases."""

    # Whether the trainer's own count goes on after a resume.
    counts_on = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tokens_before: int | None = None
        self._counted, self._counted_at = 0, 0.0

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            logs.update(self._pace(start_time))
        super().log(logs, start_time)  # type: ignore[misc]

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Ours is beside the finished model (model_card.py); TRL's would name neither the base model nor the data."""

    def _counted_tokens(self) -> int:
        """How many tokens the trainer has counted so far."""
        return int(self._total_train_tokens)  # type: ignore[attr-defined]

    def _pace(self, start_time: float | None) -> dict[str, float]:
        counted = self._counted_tokens()
        if self._tokens_before is None:
            # TRL counts from 0 after a resume; the log of the checkpoint says where it was.
            history = [entry["num_tokens"] for entry in self.state.log_history if "num_tokens" in entry]  # type: ignore[attr-defined]
            before = int(history[-1]) if history else 0
            self._tokens_before, self._counted = (0, before) if self.counts_on else (before, 0)
            self._counted_at = start_time or time.time()
        seconds, tokens = time.time() - self._counted_at, counted - self._counted
        self._counted, self._counted_at = counted, time.time()
        self._metrics["train"]["num_tokens"] = [self._tokens_before + counted]  # type: ignore[attr-defined]
        return {"tokens_per_second": tokens / seconds if seconds > 0 else 0.0, **peak_memory()}


class StudentTrainer(Measured, SFTTrainer):
    """The trainer of `stage=train`: TRL's SFTTrainer, measured."""


def peak_memory() -> dict[str, float]:
    """The peak memory of this process since it began, in GiB."""
    if torch.cuda.is_available():
        return {"peak_gpu_gib": torch.cuda.max_memory_allocated() / GIB}
    # Linux counts in KiB.
    return {"peak_rss_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB}
