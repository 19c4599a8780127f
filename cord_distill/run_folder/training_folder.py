"""One training on the disk: how far it is, its complete checkpoints, its finished model.

Everything is read without torch, so that a finished training is recognised in milliseconds.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cord_distill.common.errors import CordError
from cord_distill.common.files import write_atomic
from cord_distill.common.jsonl import read_json, read_object
from cord_distill.recipe.file import recipe_hash
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder import archive
from cord_distill.run_folder.checkpoints import ADAPTER_FILE, Inputs, is_complete, step_of
from cord_distill.run_folder.paths import RunFolder, training_folder

STATE_FILE = "training.json"
DONE_FILE = "done.json"


@dataclass(frozen=True, slots=True)
class TrainingState:
    """How a training folder stands to the training that `inputs` describe.

    name: `absent` (nothing trained there), `partial` (same inputs, not finished), `done`, `stale` (other inputs).
    changed: the inputs that differ, as `key: old -> new`.
    """

    name: Literal["absent", "partial", "done", "stale"]
    changed: tuple[str, ...] = ()
    written: dict[str, Any] | None = None

    def refuse_other_world(self, world_size: int, zero_stage: int, stage: str = "train") -> None:
        """A DeepSpeed checkpoint is cut into one piece per rank: another number of processes or stage cannot read it.
        Raises CordError."""
        before = self.written or {}
        if before.get("zero_stage") != zero_stage:
            raise CordError(
                f"the checkpoints were written under ZeRO stage {before.get('zero_stage')} and this run has "
                f"{zero_stage} (0 = no DeepSpeed): use the same, or add {stage}.resume_from_checkpoint=false to begin "
                "anew"
            )
        if zero_stage and before.get("world_size") != world_size:
            raise CordError(
                f"the checkpoints were written by {before.get('world_size')} processes and this run has {world_size}, "
                f"which DeepSpeed cannot resume: start as many, or add {stage}.resume_from_checkpoint=false to begin "
                "anew"
            )


@dataclass(frozen=True, slots=True)
class TrainingFolder:
    """What one training has left on the disk. Training, evaluation, reports and W&B all ask it.

    run: whose student it is. path: where its checkpoints lie, `training.json` (its inputs, written before the first
    step) and `done.json` (its figures, the last thing written). The finished model is `final`, which stays in the run
    folder where the recipe's `output_dir` puts the checkpoints elsewhere.
    """

    run: RunFolder
    path: Path

    @classmethod
    def of(cls, recipe: Recipe) -> TrainingFolder:
        """Returns the folder of the stage and the seed that `recipe` picks."""
        return cls(RunFolder.of(recipe), training_folder(recipe))

    @property
    def final(self) -> Path:
        return self.run.final_model

    @property
    def has_model(self) -> bool:
        return (self.final / "config.json").is_file()

    @property
    def fingerprint(self) -> str | None:
        """The hash of the inputs of the training that writes, or wrote, this folder; None before its first step."""
        begun = read_object(self.path / STATE_FILE)
        return None if begun is None else begun.get("fingerprint")

    @property
    def figures(self) -> dict[str, Any]:
        """The figures that the training wrote at its end: steps, seconds, losses; {} before."""
        return read_json(self.path / DONE_FILE)

    @property
    def is_over(self) -> bool:
        """True when the training that wrote this folder has come to its end (and not one before it)."""
        done = read_object(self.path / DONE_FILE)
        return done is not None and done.get("fingerprint") == self.fingerprint

    @property
    def checkpoints(self) -> list[Path]:
        """Those that were written to their end, oldest first. transformers would take the highest number, and fail on a
        half-written one."""
        return sorted((path for path in self.path.glob("checkpoint-*") if is_complete(path)), key=step_of)

    def state(self, inputs: Inputs) -> TrainingState:
        """Compares the folder with the inputs of the training that is to write here."""
        written = read_object(self.path / STATE_FILE)
        if written is None:
            return TrainingState("absent")
        inputs = json.loads(json.dumps(inputs))
        if written.get("inputs") != inputs:
            changed = tuple(_differences(written.get("inputs", {}), inputs))
            return TrainingState("stale", changed, written) if self._was_trained() else TrainingState("absent")
        done = read_object(self.path / DONE_FILE)
        finished = done is not None and done.get("fingerprint") == recipe_hash(inputs) and self.has_model
        return TrainingState("done" if finished else "partial", written=written)

    def _was_trained(self) -> bool:
        """Whether a new training would lose anything here: one that failed at its first step leaves nothing."""
        ends = (self.path / DONE_FILE, self.path / "adapter" / ADAPTER_FILE)
        return self.has_model or any(end.is_file() for end in ends) or any(self.path.glob("checkpoint-*"))

    def begin(self, inputs: Inputs, world_size: int, zero_stage: int) -> None:
        """Writes `training.json` before the first step, and removes what killed saves have left."""
        for path in self.path.glob("checkpoint-*"):
            if path.is_dir() and not (path / "trainer_state.json").is_file():
                shutil.rmtree(path, ignore_errors=True)
        about = {"world_size": world_size, "zero_stage": zero_stage}
        _write(self.path / STATE_FILE, {"inputs": inputs, "fingerprint": recipe_hash(inputs), **about})

    def finish(self, inputs: Inputs, **figures: Any) -> None:
        """Writes `done.json`, the last file of a training, once its model is in its place."""
        _write(self.path / DONE_FILE, {"fingerprint": recipe_hash(inputs), **figures})

    def publish(self, model: Path) -> None:
        """Makes the folder `model` the finished model."""
        replace_folder(model, self.final)

    def set_aside(self) -> Path | None:
        """Moves the folder into `stale/` beside it, so that a new training begins in an empty one. Returns where it is
        now, None where there was none."""
        if not self.path.is_dir():
            return None
        return archive.set_aside([self.path], (self.fingerprint or "unknown")[:12]) / self.path.name


def replace_folder(new: Path, place: Path) -> None:
    """`new` becomes `place`, from another disk too. A reader sees the old folder, for a moment none, then the new one,
    and never a half."""
    place.parent.mkdir(parents=True, exist_ok=True)
    old, beside = (place.with_name(f".{place.name}.{end}") for end in ("old", "new"))
    for left in (old, beside):
        shutil.rmtree(left, ignore_errors=True)
    shutil.move(new, beside)
    if place.exists():
        os.replace(place, old)
    os.replace(beside, place)
    shutil.rmtree(old, ignore_errors=True)


def _write(path: Path, values: dict[str, Any]) -> None:
    write_atomic(path, json.dumps(values, indent=2) + "\n")


def _differences(old: Any, new: Any, key: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        names = sorted({*old, *new})
        return [d for n in names for d in _differences(old.get(n), new.get(n), f"{key}.{n}" if key else n)]
    return [] if old == new else [f"{key}: {old} -> {new}"]
