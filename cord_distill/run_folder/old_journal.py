"""`journal.jsonl` of earlier versions, one file of all calls and rows: read once, and written as the folder of today.

Line 1 says whose it is; then, per problem `p`, calls `{"p", "k", "v"}` and rows `{"p", "h", "row"}`. Parts of a run
that was cut into shards (`shards/3-of-8/journal.jsonl`) are read along with it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.files import unwritable
from cord_distill.run_folder.calls_file import calls_name
from cord_distill.run_folder.journal_header import Header, written_fingerprint
from cord_distill.run_folder.journal_lines import encoded, parsed, row_content

OLD_SCHEMA = 1


def old_place(path: Path) -> Path:
    """Where an earlier version kept what is now in the folder `path`."""
    return path.with_suffix(".jsonl")


def convert(path: Path, header: Header) -> None:
    """Makes the folder `path` of an old journal and of the shards beside it, if there are any, and deletes the journal.

    The caller holds the folder alone. A kill on the way leaves the old files as they were. Raises CordError: of another
    recipe, damaged before a finished row, not a journal at all.
    """
    old = old_place(path)
    if os.path.lexists(old) and not old.is_file():
        raise CordError(f"{old}: not a plain file; move it away, or choose another output_dir")
    if os.path.lexists(path):
        if old.is_file():
            _drop_converted(old, path)
        return
    shards = [
        shard
        for shard in sorted(path.parent.glob(f"shards/*-of-*/{old.name}"))
        if written_fingerprint(shard) in header.fingerprints
    ]
    sources = ([old] if os.path.lexists(old) else []) + shards
    if not sources:
        return
    made = path.with_name(f".{path.name}.converting")
    try:
        shutil.rmtree(made, ignore_errors=True)
        for name in ("rows", "open"):
            (made / name).mkdir(parents=True)
        for source in sources:
            _convert_one(source, made, header, "converted" if source == old else f"shard-{source.parent.name}")
        header.write(made, converted=old.stat().st_size if old in sources else None)
        os.rename(made, path)
        old.unlink(missing_ok=True)
    except OSError as error:
        raise CordError(unwritable(path, error)) from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
    print(f"{path}: made of the {old.name} of an earlier version", file=sys.stderr, flush=True)


def _drop_converted(old: Path, path: Path) -> None:
    """Both are there: a kill came before the old one was deleted, or an earlier version went on with it."""
    converted = (Header.read(path) or {}).get("converted")
    if converted != old.stat().st_size:
        raise CordError(
            f"{old}: an earlier version wrote it beside {path.name}/; move one of the two away, the answers in it are "
            "asked for again"
        )
    old.unlink()


def _convert_one(source: Path, made: Path, header: Header, name: str) -> None:
    # Calls before a problem's row are of no use any more.
    finished = {
        entry["p"]: number
        for number, entry in _entries(source, header)
        if "row" in entry and not entry["row"].get("error")
    }
    with open(made / "rows" / f"{name}.jsonl", "wb") as rows:
        for number, entry in _entries(source, header):
            problem = entry["p"]
            if "row" in entry:
                row = entry["row"]
                content = entry.get("h") or row_content(row)
                rows.write(encoded({"p": problem, "h": content, "failed": bool(row.get("error")), "row": row}))
            elif number > finished.get(problem, 0):
                with open(made / "open" / calls_name(problem), "ab") as calls:
                    calls.write(encoded({"p": problem, "k": entry["k"], "v": entry["v"]}))
        rows.flush()
        os.fsync(rows.fileno())


def _entries(source: Path, header: Header) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number of the line, entry) of all calls and rows.

    What follows damage behind the last finished row is left out: calls that are made again. Damage before a finished
    row is nobody's accident and is refused.
    """
    damaged: int | None = None
    checked = False
    with open(source, "rb") as file:
        for number, line in enumerate(file, start=1):
            entry = parsed(line, checked=checked)
            if number == 1:
                alone = len(line) == os.fstat(file.fileno()).st_size
                _check_first_line(source, line, entry, header, alone=alone)
                checked = entry is not None and entry.get("checked") is True
            elif entry is None or "journal" in entry:
                damaged = damaged or number
            elif damaged is None:
                yield number, entry
            elif "row" in entry:
                raise CordError(
                    f"{source}, line {damaged}: damaged in the middle; move the file away to start anew, or cut it "
                    "before this line to keep what came earlier"
                )


def _check_first_line(source: Path, line: bytes, entry: dict[str, Any] | None, header: Header, *, alone: bool) -> None:
    """Raises CordError unless the journal is of this recipe, or a kill left nothing of it but a beginning."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        said = None
    if isinstance(said, dict):
        header.check_schema(said, source, OLD_SCHEMA)
    if entry is not None and "journal" in entry:
        # A run that failed before its first answer binds nobody.
        if not alone:
            header.check_inputs(entry, source)
        return
    begun = b'{"journal":'
    if alone and (line.startswith(begun) or begun.startswith(line) or not line.strip(b"\0")):
        return
    if line.startswith(begun):
        raise CordError(f"{source}, line 1: damaged, so that nobody knows whose answers these are; move the file away")
    raise CordError(f"{source}: not a journal of cord; move the file away, or choose another output_dir")
