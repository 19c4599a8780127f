"""Reads an offline W&B run back, without W&B's server: LevelDB's log format around protobuf records."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK, HEAD = 32768, 7  # of the log; a block's last bytes that hold no header are padding


def records(path: Path) -> Iterator[bytes]:
    """Payloads of a `.wandb` file. A header is crc32 (4), length (2), type (1 whole, 2 first, 3 middle, 4 last)."""
    data = path.read_bytes()
    assert data[:4] == b":W&B"
    at, whole = HEAD, b""
    while at + HEAD <= len(data):
        if BLOCK - at % BLOCK < HEAD:
            at += BLOCK - at % BLOCK
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        whole += data[at + HEAD : at + HEAD + length]
        at += HEAD + length
        if kind in (1, 4):
            yield whole
            whole = b""


@dataclass
class OfflineRun:
    """One `offline-run-*` folder. history: rows in order, keys as they were logged. step_of: metric -> its step axis.

    used, made: artifacts that went in and came out, name -> (type, digest).
    """

    id: str = ""
    job_type: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    step_of: dict[str, str] = field(default_factory=dict)
    used: dict[str, tuple[str, str]] = field(default_factory=dict)
    made: dict[str, tuple[str, str]] = field(default_factory=dict)
    aliases: dict[str, list[str]] = field(default_factory=dict)

    def column(self, key: str) -> list[Any]:
        return [row[key] for row in self.history if key in row]


def read_offline(path: Path) -> OfflineRun:
    from wandb.proto import wandb_internal_pb2

    run = OfflineRun(path.stem.removeprefix("run-"))  # a killed run may have no record yet
    for payload in records(path):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(payload)
        if record.HasField("run"):
            run.job_type = record.run.job_type
        for update in [*record.run.config.update, *record.config.update]:
            run.config[update.key or ".".join(update.nested_key)] = json.loads(update.value_json)
        if record.history.item:
            items = record.history.item
            run.history.append({i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in items})
        if record.HasField("metric"):
            run.step_of[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        if record.artifact.name:
            made = record.artifact
            place = run.used if made.use_after_commit else run.made
            place[made.name] = (made.type, made.digest)
            run.aliases.setdefault(made.name, []).extend(made.aliases)
    return run


def read_all(folder: Path) -> list[OfflineRun]:
    """The offline runs below `folder`, in the order in which they ended."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()  # a finished run of this process may still be on its way to the disk
    paths = folder.glob("wandb/offline-run-*/run-*.wandb")
    return [read_offline(path) for path in sorted(paths, key=lambda p: p.stat().st_mtime_ns)]


def read_run(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(config, history) of the one offline run below `folder`."""
    (run,) = read_all(folder)
    return run.config, run.history
