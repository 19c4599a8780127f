"""Folders of trainings as tests make them by hand."""

from __future__ import annotations

from pathlib import Path

from cord_distill.run_folder.paths import RunFolder
from cord_distill.run_folder.training_folder import TrainingFolder


def training_at(path: Path) -> TrainingFolder:
    """The training of a recipe without variants whose checkpoints lie in `path`."""
    return TrainingFolder(RunFolder(path.parent, "cord", has_variants=False), path)


def checkpoint(folder: Path, step: int, *, state: str = "{}", deepspeed: bool = False) -> Path:
    """The files that make a checkpoint complete, with nothing in them."""
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_text("x")
    if deepspeed:
        (path / f"global_step{step}").mkdir()
        (path / f"global_step{step}" / "shard.pt").write_text("x")
        (path / "latest").write_text(f"global_step{step}")
    else:
        (path / "optimizer.pt").write_text("x")
    if state:
        (path / "trainer_state.json").write_text(state)
    return path
