"""Identifies the weights in a folder: a hash of all bytes that can change an output, kept by path, size and time."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.files import write_atomic
from cord_distill.common.jsonl import read_object

SUFFIXES = {".safetensors", ".bin", ".json", ".jinja", ".model", ".txt"}
# Written by training and never read by an engine.
NO_PART = {
    "trainer_state.json",
    "training.json",
    "done.json",
    "all_results.json",
    "train_results.json",
    "sample_row.txt",
}


def files_of_model(folder: Path) -> list[Path]:
    """The files of a folder that an engine reads, by name: weights, config, tokenizer, chat template."""
    return sorted(p for p in folder.iterdir() if p.is_file() and p.suffix in SUFFIXES and p.name not in NO_PART)


def weights_hash(folder: Path, side_file: Path) -> str:
    """First 16 hex digits over the names and sha256 of the model's files: weights, config, tokenizer, chat template.

    side_file keeps each file's sha256 under its path with size, inode and both times: a file that was swapped under
    the same name, even with its old size and modification time, is read again. CordError on a folder without weights.
    """
    files = files_of_model(folder)
    if not any(p.suffix in (".safetensors", ".bin") for p in files):
        raise CordError(f"{folder}: holds no weights (*.safetensors); point to a folder made by save_pretrained")
    known = read_object(side_file) or {}
    before = dict(known)
    parts = [[path.name, _file_hash(path, known)] for path in files]
    if known != before:
        write_atomic(side_file, json.dumps(known, indent=0) + "\n")
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _file_hash(path: Path, known: dict[str, Any]) -> str:
    stat, name = path.stat(), str(path.resolve())
    stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
    found = known.get(name)
    if isinstance(found, dict) and found.get("stamp") == stamp:
        return str(found["sha256"])
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    known[name] = {"stamp": stamp, "sha256": digest}
    return digest
