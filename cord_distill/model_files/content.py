"""Replaces a recipe's path by the content that lies there: where it lies is no input of a run."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

from cord_distill.model_files.weights import files_of_model

# Of a longer file so many blocks are read, spread evenly over it, and its size: whatever trains a model changes all of
# its weights.
WHOLE_FILE_LIMIT = 64 * 2**20
BLOCKS, BLOCK = 64, 2**16


def by_content(value: str) -> str:
    """`file:HASH` for the absolute path of a file, `model:HASH` for that of a model's folder, else the value itself."""
    if not value.startswith(("/", "~", "$")) or "\0" in value:
        return value
    try:
        path = Path(os.path.expandvars(value)).expanduser()
        if path.is_file():
            return f"file:{_file(path)}"
        if (path / "config.json").is_file():
            return f"model:{_model(path)}"
    except (OSError, RuntimeError):  # a name that no file has, a `~` that is nobody's home
        pass
    return value


def model_identity(path: str) -> str:
    """What a training notes of its student and its teacher: the content of a local folder; a hub id as it is."""
    return by_content(str(Path(path).absolute())) if Path(path).is_dir() else path


def _model(folder: Path) -> str:
    files = files_of_model(folder)
    return hashlib.sha256("\n".join(f"{path.name} {_file(path)}" for path in files).encode()).hexdigest()[:16]


def _file(path: Path) -> str:
    stat = path.stat()
    return _hash(path, (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino))


@functools.lru_cache(maxsize=4096)
def _hash(path: Path, stamp: tuple[int, ...]) -> str:
    size = stamp[0]
    with open(path, "rb") as file:
        if size <= WHOLE_FILE_LIMIT:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
        digest = hashlib.sha256(str(size).encode())
        for i in range(BLOCKS):
            file.seek(i * (size - BLOCK) // (BLOCKS - 1))
            digest.update(file.read(BLOCK))
        return digest.hexdigest()[:16]
