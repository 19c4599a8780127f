"""`generate_stats.json`: seconds, cache hits, tokens per model, summed over the processes that shared a run folder."""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cord_distill.common.files import write_atomic
from cord_distill.common.jsonl import read_json


def clear_stats(folder: Path) -> None:
    """Deletes the figures of earlier runs. The first process of a run calls it when it has something to decode."""
    for file in folder.glob("*.json"):
        file.unlink(missing_ok=True)


def keep_stats(folder: Path, stats: dict[str, Any]) -> None:
    """Writes the figures of this process into `folder`; the last process of a run sums them up (`write_stats`)."""
    name = f"{socket.gethostname().partition('.')[0]}-{os.getpid()}-{uuid.uuid4().hex[:8]}.json"
    write_atomic(folder / name, json.dumps(stats) + "\n")


def write_stats(folder: Path, path: Path) -> None:
    """Writes the summed figures of all processes in `folder` to `path`; nothing where there are none."""
    found = [stats for file in sorted(folder.glob("*.json")) if (stats := read_json(file))]
    if found:
        write_atomic(path, json.dumps(summed(found), indent=1) + "\n")


def summed(stats: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sums up the figures of several processes: their seconds, and what each model did."""
    if len(stats) == 1:
        return stats[0]
    models: dict[str, dict[str, float]] = {}
    for one in stats:
        for name, meter in one["models"].items():
            total = models.setdefault(name, {})
            for key, value in meter.items():
                total[key] = total.get(key, 0) + value
    return {
        **{key: round(sum(one[key] for one in stats), 3) for key in ("seconds", "start_seconds")},
        "engine_steps": {
            name: sum(one["engine_steps"].get(name, 0) for one in stats)
            for name in sorted({name for one in stats for name in one["engine_steps"]})
        },
        "resumed": any(one["resumed"] for one in stats),
        "models": models,
        "problems": max(one["problems"] for one in stats),
        "decoded_now": sum(one["decoded_now"] for one in stats),
        "processes": len(stats),
    }
