"""Says what is to be built: the arguments of `build_models`, in one place that loads no torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

VERSION = 3  # raise it when the same arguments give other weights: caches are keyed by it
BASE = ".base"
REWARD = "reward"  # the process reward model, built when it is asked for
MODELS = ("prover", "teacher_c", "teacher_a", "teacher_b", "student")  # longest training first
# Model -> (training examples at scale 1, batch size) of each of its phases.
SIZES = {
    BASE: ((12800, 32), (6400, 16)),
    **dict.fromkeys(MODELS, ((2400, 16),)),
    "prover": ((4000, 16),),
    "student": ((900, 16),),
    REWARD: ((8000, 16),),
}
# Traces with tails are a tenth longer: of fewer examples a build takes as long.
SHARE_WITH_TAILS = 0.9
STAMP = "ledger.json"  # in every model folder: the plan that it was built by


@dataclass(frozen=True)
class Plan:
    seed: int = 0
    scale: float = 1.0
    tails: bool = False

    def steps(self, name: str) -> list[int]:
        """Optimizer steps of each phase of one model's training."""
        scale = self.scale * (SHARE_WITH_TAILS if self.tails else 1.0)
        return [max(1, round(examples * scale / batch)) for examples, batch in SIZES[name]]

    def examples(self, name: str) -> int:
        """Training examples of one model, over its phases."""
        return sum(steps * batch for steps, (_, batch) in zip(self.steps(name), SIZES[name], strict=True))

    def stamp(self) -> str:
        return json.dumps({"version": VERSION, **asdict(self)}, indent=2) + "\n"

    def is_done(self, folder: Path) -> bool:
        """Whether this folder holds a model of this plan. Folders are renamed into place: one that exists is whole."""
        stamp = folder / STAMP
        return stamp.is_file() and stamp.read_text() == self.stamp()
