"""What a training folder holds: which run it belongs to, the newest complete checkpoint, whether it is finished.

`training.json` is written before the first step and names the inputs; `done.json` is the last thing written. Both are
read without torch, so that a finished training is recognised in milliseconds.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cord_distill.common.errors import CordError
from cord_distill.common.files import write_atomic
from cord_distill.common.jsonl import read_object
from cord_distill.common.weights_file import is_cut_off
from cord_distill.recipe.file import recipe_hash
from cord_distill.run_folder import archive

STATE_FILE = "training.json"
DONE_FILE = "done.json"
ADAPTER_FILE = "adapter_config.json"
WHOLE_FILE_LIMIT = 64 * 2**20

# Keys that change what is logged, kept or how fast it goes, but not the trained weights.
WITHOUT_EFFECT = {
    "dataloader_num_workers", "dataloader_persistent_workers", "dataloader_pin_memory", "dataloader_prefetch_factor",
    "ddp_timeout", "disable_tqdm", "log_level", "log_on_each_node", "logging_dir", "logging_first_step",
    "logging_steps", "logging_strategy", "output_dir", "project", "report_to", "resume_from_checkpoint", "run_name",
    "save_on_each_node", "save_steps", "save_strategy", "save_total_limit",
}  # fmt: skip

Inputs = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Training:
    """What one folder says about the training that `inputs` describe.

    state: `absent` (nothing trained there), `partial` (same inputs, not finished), `done`, `stale` (other inputs).
    changed: the inputs that differ, as `key: old -> new`.
    """

    state: Literal["absent", "partial", "done", "stale"]
    changed: tuple[str, ...] = ()
    written: dict[str, Any] | None = None


def training_inputs(section: dict[str, Any], data: Path, max_tokens: int | None, **further: Any) -> Inputs:
    """Everything that the trained weights depend on. section: the stage's resolved keys; data: the file that it reads;
    further: of a later stage, its teacher and the training before it.

    Accumulation is left out (it follows from the batch and the ranks), a DeepSpeed file counts by its content.
    """
    train = {k: v for k, v in section.items() if k not in WITHOUT_EFFECT and k != "gradient_accumulation_steps"}
    if isinstance(train.get("deepspeed"), str):
        train["deepspeed"] = hashlib.sha256(Path(train["deepspeed"]).read_bytes()).hexdigest()[:16]
    student = str(train.pop("model_name_or_path"))
    return {
        "train": train,
        "student": student_hash(Path(student)) if Path(student).is_dir() else student,
        "dataset": file_hash(data),
        "max_tokens": max_tokens,
        **further,
    }


def file_hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def student_hash(folder: Path) -> str:
    """Of a local model: its files by name and content; files over 64 MiB by name and size."""
    parts: list[Any] = []
    for path in sorted(folder.glob("*")):
        if path.is_file() and path.suffix in (".json", ".safetensors", ".jinja", ".model", ".txt"):
            size = path.stat().st_size
            parts.append([path.name, size if size > WHOLE_FILE_LIMIT else file_hash(path)])
    return recipe_hash({"files": parts})


def training_state(output_dir: Path, final: Path, inputs: Inputs) -> Training:
    """The state of a training folder, from its two JSON files alone."""
    written = read_object(output_dir / STATE_FILE)
    if written is None:
        return Training("absent")
    inputs = json.loads(json.dumps(inputs))
    if written.get("inputs") != inputs and not _was_trained(output_dir, final):
        return Training("absent")
    if written.get("inputs") != inputs:
        return Training("stale", tuple(_differences(written.get("inputs", {}), inputs)), written)
    done = read_object(output_dir / DONE_FILE)
    finished = done is not None and done.get("fingerprint") == recipe_hash(inputs) and (final / "config.json").is_file()
    return Training("done" if finished else "partial", written=written)


def _was_trained(output_dir: Path, final: Path) -> bool:
    """Whether anything is there that a new training would lose: one that failed at its first step leaves nothing."""
    ends = (output_dir / DONE_FILE, final / "config.json", output_dir / "adapter" / ADAPTER_FILE)
    return any(path.is_file() for path in ends) or any(output_dir.glob("checkpoint-*"))


def fingerprint_of(output_dir: Path) -> str | None:
    """Of the inputs of the training that writes, or wrote, this folder; None before its first step."""
    begun = read_object(output_dir / STATE_FILE)
    return None if begun is None else begun.get("fingerprint")


def is_over(output_dir: Path) -> bool:
    """True when the training that wrote this folder has come to its end (and not one before it)."""
    done = read_object(output_dir / DONE_FILE)
    return done is not None and done.get("fingerprint") == fingerprint_of(output_dir)


def complete_checkpoints(output_dir: Path) -> list[Path]:
    """Checkpoints that were written to their end, oldest first. A half-written one is passed over.

    transformers takes the highest number and fails on a missing file; here `trainer_state.json` (written last) has to
    be there and whole, the weights as long as their header says, and under DeepSpeed the `latest` file and the folder
    that it names.
    """
    return sorted((p for p in output_dir.glob("checkpoint-*") if is_complete(p)), key=step_of)


def adapter_base(folder: Path) -> str | None:
    """The model under a LoRA adapter: a path or a hub id. None for a folder that holds a whole model."""
    config = folder / ADAPTER_FILE
    return str(json.loads(config.read_text())["base_model_name_or_path"]) if config.is_file() else None


def is_complete(path: Path) -> bool:
    if not re.fullmatch(r"checkpoint-\d+", path.name) or read_object(path / "trainer_state.json") is None:
        return False
    weights = list(path.glob("*.safetensors"))
    if not weights or any(map(is_cut_off, weights)):
        return False
    if not any(path.glob("global_step*")):
        return (path / "optimizer.pt").is_file()
    latest = path / "latest"
    return latest.is_file() and any((path / latest.read_text().strip()).glob("*"))


def step_of(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def begin(output_dir: Path, inputs: Inputs, world_size: int, zero_stage: int) -> None:
    state = {"inputs": inputs, "fingerprint": recipe_hash(inputs), "world_size": world_size, "zero_stage": zero_stage}
    write_atomic(output_dir / STATE_FILE, json.dumps(state, indent=2) + "\n")


def finish(output_dir: Path, inputs: Inputs, **figures: Any) -> None:
    done = {"fingerprint": recipe_hash(inputs), **figures}
    write_atomic(output_dir / DONE_FILE, json.dumps(done, indent=2) + "\n")


def refuse_other_world(found: Training, world_size: int, zero_stage: int, stage: str = "train") -> None:
    """A DeepSpeed checkpoint is cut into one piece per rank: another number of processes or stage cannot read it."""
    before = found.written or {}
    if before.get("zero_stage") != zero_stage:
        raise CordError(
            f"the checkpoints were written under ZeRO stage {before.get('zero_stage')} and this run has {zero_stage} "
            f"(0 = no DeepSpeed): use the same, or add {stage}.resume_from_checkpoint=false to begin anew"
        )
    if zero_stage and before.get("world_size") != world_size:
        raise CordError(
            f"the checkpoints were written by {before.get('world_size')} processes and this run has {world_size}, "
            f"which DeepSpeed cannot resume: start as many, or add {stage}.resume_from_checkpoint=false to begin anew"
        )


def set_aside(output_dir: Path) -> Path | None:
    """Moves a training folder into `stale/` beside it (archive.py), so that a new training begins in an empty one."""
    if not output_dir.is_dir():
        return None
    return archive.set_aside([output_dir], (fingerprint_of(output_dir) or "unknown")[:12]) / output_dir.name


def replace_folder(new: Path, place: Path) -> None:
    """`new` becomes `place`. A reader sees the old folder or the new one; a crash in between leaves no half."""
    old = place.with_name(f".{place.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        os.replace(place, old)
    os.replace(new, place)
    shutil.rmtree(old, ignore_errors=True)


def _differences(old: Any, new: Any, key: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        names = sorted({*old, *new})
        return [d for n in names for d in _differences(old.get(n), new.get(n), f"{key}.{n}" if key else n)]
    return [] if old == new else [f"{key}: {old} -> {new}"]


def remove_half_written(output_dir: Path) -> None:
    """Deletes checkpoints without `trainer_state.json`: killed saves that nothing can read."""
    for path in output_dir.glob("checkpoint-*"):
        if path.is_dir() and not (path / "trainer_state.json").is_file():
            shutil.rmtree(path, ignore_errors=True)
