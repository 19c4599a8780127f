"""Reads files of rows from elsewhere (JSONL, a JSON array, CSV, Parquet, plain or gzipped), naming each fault with its
row; and the JSON files that the package writes itself.

A line ends at \\n alone: U+2028 or U+0085 inside a text is a letter of it.
"""

from __future__ import annotations

import csv
import datetime
import decimal
import gzip
import json
import math
import re
import uuid
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from cord_distill.common.errors import CordError

BOM, GZIP, PARQUET = b"\xef\xbb\xbf", b"\x1f\x8b", b"PAR1"
# What a file of another kind begins with, and what it is.
KINDS = {
    b"PK\x03\x04": "a ZIP or Excel file",
    b"\x28\xb5\x2f\xfd": "packed with Zstandard",
    b"BZh": "packed with bzip2",
    b"\xfd7zXZ": "packed with xz",
    b"SQLite format 3": "an SQLite database",
    b"\x89HDF": "an HDF5 file",
    b"ARROW1": "an Arrow file",
}
# A longer line is no row of text: a gzip bomb, or a file without line ends.
LONGEST_LINE = 2**28
csv.field_size_limit(LONGEST_LINE)
LONE_SURROGATE, NUL, NOT_A_NUMBER = "half a surrogate pair", "a NUL character", "NaN or Infinity"
BYTES = "bytes that are no text"
_ODD = re.compile("[\ud800-\udfff\0]")


def read_jsonl(path: Path, *, key: str, columns: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, row) of each row; where: `file.jsonl, row 3` (the line in a file of lines), for errors about the row.

    key: what named the file (a recipe key), columns: what its rows must hold; both go into the error. Raises CordError:
    no such file, another encoding than UTF-8, a line that is no JSON object, a row that holds what `fault` names.
    """
    for where, row in read_rows(path, key=key, columns=columns):
        found = fault(row)
        if found:
            raise CordError(f"{where}: holds {found}; mend or remove the row")
        yield where, row


def read_rows(path: Path, *, key: str, columns: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """`read_jsonl` for a reader that counts rows with a `fault` instead of refusing the file."""
    try:
        if not path.is_file():
            if path.is_dir():
                raise CordError(f"{key}: {path} is a folder; give a JSONL file with {columns}")
            raise CordError(f"{key}: {path} is not there; give a JSONL file with {columns}")
        for number, row in _numbered(path, columns):
            where = f"{path.name}, row {number}"
            if not isinstance(row, dict):
                raise CordError(f"{where}: not an object; each line must be one object with {columns}")
            yield where, row
    except (OSError, EOFError, zlib.error) as error:
        raise CordError(f"{key}: {path} cannot be read ({error}); copy or unpack it again") from None


def own_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSONL file that we wrote: model texts in it may hold any character. Raises CordError with line."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                row = _parsed(line, f"{path}, row {number}", "what the stage wrote", ours=True)
                if not isinstance(row, dict):
                    raise CordError(f"{path}, row {number}: not an object; remove the file and run the stage again")
                yield row


def fault(value: Any) -> str | None:
    """What no row may hold: half a surrogate pair (no UTF-8), a NUL, NaN or Infinity. None where all is well."""
    if isinstance(value, str):
        odd = _ODD.search(value)
        return None if odd is None else NUL if odd[0] == "\0" else LONE_SURROGATE
    if isinstance(value, float):
        return None if math.isfinite(value) else NOT_A_NUMBER
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, bytes):
        return BYTES
    return next(filter(None, map(fault, value)), None) if isinstance(value, list) else None


def _numbered(path: Path, columns: str) -> Iterator[tuple[int, Any]]:
    with open(path, "rb") as plain:
        begins = plain.read(16)
    if path.suffix.lower() == ".parquet" or begins.startswith(PARQUET):
        yield from _parquet(path)
        return
    other = next((kind for magic, kind in KINDS.items() if begins.startswith(magic)), None)
    if other:
        raise CordError(f"{path.name} is {other}; give JSONL, JSON, CSV or Parquet, plain or packed with gzip")
    zipped = begins.startswith(GZIP)
    with gzip.open(path, "rb") if zipped else open(path, "rb") as file:
        lines = _lines(cast(BinaryIO, file), path.name)
        if path.name.lower().removesuffix(".gz").endswith(".csv"):
            yield from _csv(lines, path.name)
            return
        first = True
        for number, line in lines:
            if first and line.lstrip().startswith("["):
                rest = "".join(text for _, text in lines)
                yield from _array(line + rest, f"{path.name}, row {number}", columns)
                return
            if line.strip():
                first = False
                yield number, _parsed(line, f"{path.name}, row {number}", columns)


def _lines(file: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), start=1):
        if len(line) > LONGEST_LINE:
            raise CordError(
                f"{name}, row {number}: a line of more than {LONGEST_LINE >> 20} MiB; write one object per line"
            )
        bare = line.removeprefix(BOM) if number == 1 else line
        try:
            yield number, bare.decode("utf-8")
        except UnicodeDecodeError:
            wide = bare.startswith((b"\xff\xfe", b"\xfe\xff"))
            looks = "UTF-16" if wide else "Latin-1 or Windows-1252"
            raise CordError(
                f"{name}, row {number}: not UTF-8 (it may be {looks}); save the file as UTF-8, e.g. with iconv -f "
                f"{'UTF-16' if wide else 'WINDOWS-1252'} -t UTF-8"
            ) from None


def _parsed(line: str | bytes, where: str, columns: str, *, ours: bool = False) -> Any:
    try:
        return json.loads(line, object_pairs_hook=None if ours else _each_key_once)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise CordError(f"{where}: not JSON ({reason}); each line must be one object with {columns}") from None


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs. Raises ValueError where a key stands twice: the second value would silently take the
    place of the first."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError(f"the key {_twice([key for key, _ in pairs])!r} stands twice in one object")
    return made


def _twice(names: Iterable[str]) -> str | None:
    """The first name that was there before."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _array(text: str, where: str, columns: str) -> Iterator[tuple[int, Any]]:
    rows = _parsed(text, where, columns)
    yield from enumerate(rows if isinstance(rows, list) else [rows], start=1)


def _csv(lines: Iterator[tuple[int, str]], name: str) -> Iterator[tuple[int, Any]]:
    reader = csv.DictReader((line for _, line in lines), strict=True)
    try:
        head = reader.fieldnames or []
        if len(head) == 1 and (other := next((sign for sign in ";\t|" if sign in head[0]), None)):
            raise CordError(f"{name}, row 1: its cells are parted by {other!r}; write them with commas, or give JSONL")
        if (twice := _twice(head)) is not None:
            raise CordError(f"{name}, row 1: two columns are called {twice!r}; rename one")
        for row in reader:
            if None in row or None in row.values():
                raise CordError(f"{name}, row {reader.line_num}: another number of cells than the first row has")
            yield reader.line_num, row
    except csv.Error as error:
        raise CordError(f'{name}, row {reader.line_num}: not CSV ({error}); quote cells with "') from None


def as_json(value: Any) -> Any:
    """A value of a table (Parquet, a hub data set) as JSON has it: decimals, dates and times become texts. Bytes stay,
    for `fault` to name where they are asked for."""
    if value is None or isinstance(value, (str, bool, int, float, bytes)):
        return value
    if isinstance(value, dict):
        return {str(key): as_json(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(one) for one in value]
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return str(value) if isinstance(value, (decimal.Decimal, datetime.timedelta, uuid.UUID)) else value


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        file = pyarrow.parquet.ParquetFile(path)
        if (twice := _twice(file.schema_arrow.names)) is not None:
            raise CordError(f"{path.name}: two columns are called {twice!r}; rename one")
        for batch in file.iter_batches(1024):
            for row in batch.to_pylist():
                number += 1
                yield number, as_json(row)
    except (pyarrow.ArrowException, OverflowError, UnicodeError) as error:
        raise CordError(f"{path.name}, row {number + 1}: not Parquet ({error}); write the file again") from None


def refuse_duplicates(ids: Iterable[str], source: str, what: str = "id", fix: str = "make ids unique") -> None:
    """Raises CordError naming both rows (from 1) of an id that occurs twice. source: where the rows are from."""
    seen: dict[str, int] = {}
    for number, one in enumerate(ids, start=1):
        if one in seen:
            raise CordError(f"{source}: {what} {one!r} occurs twice (rows {seen[one]} and {number}); {fix}")
        seen[one] = number


def read_object(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file of our own; None where there is no such file, or nothing whole in it."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, {} where there is no file. Raises CordError when it holds something else."""
    found = read_object(path) if path.is_file() else {}
    if found is None:
        raise CordError(f"{path}: not readable as JSON, or no object; remove it and run the stage again")
    return found
