"""Files of rows: how lines end, encodings, what no row may hold. Lazy versions that fail: `str.splitlines`, which cuts
a text at U+2028; `open(encoding="utf-8")`, whose UnicodeDecodeError names no line; `json.loads`, which takes NaN."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from cord_distill.common.errors import CordError
from cord_distill.common.jsonl import own_rows, read_jsonl

ROWS = [{"id": "1", "question": "a\u2028b\u0085c\x0bd"}, {"id": "2", "question": "é"}]
TEXT = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in read_jsonl(path, key="problems.path", columns="id and question")]


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", TEXT.encode()),
        ("bom.jsonl", TEXT.encode("utf-8-sig")),
        ("crlf.jsonl", TEXT.replace("\n", "\r\n").encode()),
        ("no_end.jsonl", b"\n" + TEXT.rstrip("\n").encode()),
        ("zipped.jsonl.gz", gzip.compress(TEXT.encode())),
        ("array.json", json.dumps(ROWS).encode()),
        ("pretty.json", json.dumps(ROWS, indent=2, ensure_ascii=False).encode("utf-8-sig")),
        ("table.csv", 'id,question\n1,"a\u2028b\u0085c\x0bd"\n2,é\n'.encode("utf-8-sig")),
    ],
)
def test_every_spelling_of_a_file_gives_the_same_rows(tmp_path: Path, name: str, content: bytes) -> None:
    """Fails for lines cut at U+2028, and for a BOM that becomes part of the first key."""
    assert rows_of(write(tmp_path / name, content)) == ROWS


def test_parquet(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "t.parquet")
    assert rows_of(tmp_path / "t.parquet") == ROWS
    with pytest.raises(CordError, match=r"x\.parquet, row 1: not Parquet"):
        rows_of(write(tmp_path / "x.parquet", b"PAR1 no"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TEXT.encode("latin-1", "replace"), r"f\.jsonl, row 1: not UTF-8 \(it may be Latin-1.*iconv"),
        (TEXT.encode("utf-16"), r"f\.jsonl, row 1: not UTF-8 \(it may be UTF-16.*iconv -f UTF-16"),
        (b'{"id": 1}\n{"id": "\\ud83d"}\n', r"f\.jsonl, row 2: holds half a surrogate pair"),
        (b'{"a": [{"id\\ud83d": 1}]}\n', r"f\.jsonl, row 1: holds half a surrogate pair"),
        (b'{"id": 1}\n\n{"id": "a\\u0000"}\n', r"f\.jsonl, row 3: holds a NUL"),
        (b'{"id": 1}\n{"answer": NaN}\n', r"f\.jsonl, row 2: holds NaN or Infinity"),
        (b'{"answer": [-Infinity]}\n', r"f\.jsonl, row 1: holds NaN or Infinity"),
        (b'{"answer": 1e999}\n', r"f\.jsonl, row 1: holds NaN or Infinity"),
        (b'{"id": 1}\n{"id": \n', r"f\.jsonl, row 2: not JSON"),
        (b"[" * 100_000 + b"\n", r"f\.jsonl, row 1: not JSON \(nested too deep"),
        (b'{"id": 1}\n3\n', r"f\.jsonl, row 2: not an object"),
        (b'[{"id": 1}, 3]', r"f\.jsonl, row 2: not an object"),
        (gzip.compress(TEXT.encode())[:-12], r"f\.jsonl cannot be read"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_with_file_and_row(tmp_path: Path, content: bytes, message: str) -> None:
    """Fails for a UnicodeDecodeError or RecursionError that leaves as a traceback, and for NaN taken as an answer."""
    with pytest.raises(CordError, match=message):
        rows_of(write(tmp_path / "f.jsonl", content))


def test_cells_that_do_not_fit_the_head(tmp_path: Path) -> None:
    with pytest.raises(CordError, match=r"t\.csv, row 3: another number of cells"):
        rows_of(write(tmp_path / "t.csv", b"id,question\n1,a\n2\n"))


def test_our_own_rows_may_hold_any_character(tmp_path: Path) -> None:
    """Fails for the strict reader on what a model wrote: its NUL is no fault of the file."""
    path = write(tmp_path / "f.jsonl", TEXT.encode() + b'{"text": "a\\u0000"}\n')
    assert list(own_rows(path)) == [*ROWS, {"text": "a\0"}]
    with pytest.raises(CordError, match="row 2: not an object"):
        list(own_rows(write(path, b"{}\n[]\n")))
