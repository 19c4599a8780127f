"""The file in a training folder that says which Weights & Biases run it is logged to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cord_distill.common.files import write_atomic
from cord_distill.common.jsonl import read_object

# In a training folder: which W&B run it is logged to.
RUN_FILE = "wandb.json"


def write_run_file(folder: Path, run: Any) -> None:
    known = {"id": run.id, "name": run.name, "project": run.project, "entity": run.entity or None}
    write_atomic(folder / RUN_FILE, json.dumps(known) + "\n")


def read_run_file(folder: Path) -> dict[str, Any] | None:
    """The W&B run of a training folder; None where it has none."""
    return read_object(folder / RUN_FILE)
