"""One checkpoint: whether it was written to its end, its step, the model under it; and what a training depends on."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from cord_distill.common.jsonl import read_object
from cord_distill.common.weights_file import is_cut_off

ADAPTER_FILE = "adapter_config.json"

# Keys that change what is logged, kept or how fast it goes, but not the trained weights.
WITHOUT_EFFECT = {
    "dataloader_num_workers", "dataloader_persistent_workers", "dataloader_pin_memory", "dataloader_prefetch_factor",
    "ddp_timeout", "disable_tqdm", "log_level", "log_on_each_node", "logging_dir", "logging_first_step",
    "logging_steps", "logging_strategy", "output_dir", "project", "report_to", "resume_from_checkpoint", "run_name",
    "save_on_each_node", "save_steps", "save_strategy", "save_total_limit",
}  # fmt: skip

Inputs = dict[str, Any]


def training_inputs(
    section: dict[str, Any], data: Path, max_tokens: int | None, student: str, **further: Any
) -> Inputs:
    """Returns everything that the trained weights depend on. section: the stage's resolved keys; data: the file that it
    reads; student: what identifies its weights; further: of a later stage, its teacher and the training before it.

    Accumulation is left out (it follows from the batch and the ranks), a DeepSpeed file counts by its content.
    """
    train = {k: v for k, v in section.items() if k not in WITHOUT_EFFECT and k != "gradient_accumulation_steps"}
    if isinstance(train.get("deepspeed"), str):
        train["deepspeed"] = hashlib.sha256(Path(train["deepspeed"]).read_bytes()).hexdigest()[:16]
    del train["model_name_or_path"]
    return {
        "train": train,
        "student": student,
        "dataset": file_hash(data),
        "max_tokens": max_tokens,
        **further,
    }


def file_hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def adapter_base(folder: Path) -> str | None:
    """The model under a LoRA adapter: a path or a hub id. None for a folder that holds a whole model."""
    config = folder / ADAPTER_FILE
    return str(json.loads(config.read_text(encoding="utf-8"))["base_model_name_or_path"]) if config.is_file() else None


def is_complete(path: Path) -> bool:
    """Whether a checkpoint was written to its end: `trainer_state.json` (written last) is there and whole, the weights
    are as long as their header says, and under DeepSpeed the folder is there that the `latest` file names."""
    if not re.fullmatch(r"checkpoint-\d+", path.name) or read_object(path / "trainer_state.json") is None:
        return False
    weights = list(path.glob("*.safetensors"))
    if not weights or any(map(is_cut_off, weights)):
        return False
    if not any(path.glob("global_step*")):
        return (path / "optimizer.pt").is_file()
    latest = path / "latest"
    return latest.is_file() and any((path / latest.read_text(encoding="utf-8").strip()).glob("*"))


def step_of(path: Path) -> int:
    return int(path.name.rpartition("-")[2])
