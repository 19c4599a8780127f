"""Reads an offline W&B run back, without W&B's server: LevelDB's log format around protobuf records."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
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


def read_run(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(config, history) of the one offline run below `folder`; history rows in order, keys as they were logged."""
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    config: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
    for payload in records(path):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(payload)
        for update in [*record.run.config.update, *record.config.update]:
            config[update.key or ".".join(update.nested_key)] = json.loads(update.value_json)
        if record.history.item:
            items = record.history.item
            history.append({i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in items})
    return config, history
