"""What was answered: `samples.jsonl`, one line per sample, written when it comes. A killed run loses those in flight.

The key of a sample holds all that decides its text: weights, prompt ids, sampling, seed, engine. So asking for more
samples makes the missing ones, and no row is ever taken for another model's.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.types import Stop


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer. text: the completion after `<think>\\n`. num_tokens: generated. key: see `sample_key`."""

    suite: str
    id: str
    sample: int
    seed: int
    text: str
    stop: Stop
    num_tokens: int
    key: str


def sample_key(identity: dict[str, Any], prompt_ids: Sequence[int], max_tokens: int, seed: int) -> str:
    """identity: weights hash and sampling protocol. 24 hex digits of sha256."""
    text = json.dumps([identity, list(prompt_ids), max_tokens, seed], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def read_samples(path: Path) -> tuple[dict[str, Sample], int]:
    """The samples of a file by their keys, and the bytes of its whole lines: a killed run leaves a torn one at the end.
    Raises CordError for any other line that is none of ours."""
    found: dict[str, Sample] = {}
    whole = 0
    with open(path, "rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            try:
                row = json.loads(line)
                sample = Sample(**{**row, "stop": Stop(row["stop"])})
            except (ValueError, TypeError, KeyError) as error:
                raise CordError(f"{path}: a damaged line ({error}); remove it and evaluate again") from None
            found[sample.key] = sample
            whole += len(line)
    return found, whole


class SampleStore:
    """The file of samples: append-only, one process at a time. Raises CordError when another one holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "ab")  # noqa: SIM115 - held open, with its lock, until close()
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise CordError(f"{path.parent}: another process evaluates this model; wait for it, or stop it") from None
        self.samples, whole = read_samples(path)
        os.truncate(path, whole)

    def add(self, sample: Sample) -> None:
        """Writes one sample; it is handed to the operating system before this returns."""
        self._file.write((json.dumps(asdict(sample), ensure_ascii=False) + "\n").encode())
        self._file.flush()
        self.samples[sample.key] = sample

    def close(self) -> None:
        self._file.close()
