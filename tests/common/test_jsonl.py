"""Files of rows: how lines end, encodings, what no row may hold. Lazy versions that fail: `str.splitlines`, which cuts
a text at U+2028; `open(encoding="utf-8")`, whose UnicodeDecodeError names no line; `json.loads`, which takes NaN."""

from __future__ import annotations

import datetime
import decimal
import gzip
import json
import os
import tracemalloc
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
        (b'{"id": 1}\n{"answer": "1", "answer": "2"}\n', r"f\.jsonl, row 2: .*key 'answer' stands twice"),
        (b"PK\x03\x04 a workbook", r"f\.jsonl is a ZIP or Excel file; give JSONL"),
        (b"\x28\xb5\x2f\xfd...", r"f\.jsonl is packed with Zstandard"),
        (b"SQLite format 3\0", r"f\.jsonl is an SQLite database"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_with_file_and_row(tmp_path: Path, content: bytes, message: str) -> None:
    """Fails for a UnicodeDecodeError or RecursionError that leaves as a traceback, and for NaN taken as an answer."""
    with pytest.raises(CordError, match=message):
        rows_of(write(tmp_path / "f.jsonl", content))


def test_cells_that_do_not_fit_the_head(tmp_path: Path) -> None:
    with pytest.raises(CordError, match=r"t\.csv, row 3: another number of cells"):
        rows_of(write(tmp_path / "t.csv", b"id,question\n1,a\n2\n"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,answer,answer\n1,3,4\n", r"t\.csv, row 1: two columns are called 'answer'"),
        (b"id;question;answer\n1;a;3\n", r"t\.csv, row 1: its cells are parted by ';'"),
        (b"id\tquestion\n1\ta\n", r"t\.csv, row 1: its cells are parted by '\\t'"),
        (b'id,question\n1,"a\n2,b\n', r"t\.csv, row \d: not CSV"),
    ],
)
def test_tables_that_would_be_read_wrongly(tmp_path: Path, content: bytes, message: str) -> None:
    """Fails `csv.DictReader`, of whose columns of one name the last wins, and which takes a table with semicolons for
    one column."""
    with pytest.raises(CordError, match=message):
        rows_of(write(tmp_path / "t.csv", content))


def test_a_cell_may_be_as_long_as_a_trace(tmp_path: Path) -> None:
    """Fails the reader's own limit of 131,072 characters."""
    assert (
        len(rows_of(write(tmp_path / "t.csv", b'id,question\n1,"' + b"x\n" * 100_000 + b'"\n'))[0]["question"])
        == 200_000
    )


def test_a_line_without_an_end_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gzip bomb. Fails `for line in file`, which holds the line before anybody can look at its length."""
    monkeypatch.setattr("cord_distill.common.jsonl.LONGEST_LINE", 2**20)
    bomb = gzip.compress(b'{"id": "' + b"x" * 2**24)
    tracemalloc.start()
    with pytest.raises(CordError, match=r"bomb\.gz, row 1: a line of more than 1 MiB"):
        rows_of(write(tmp_path / "bomb.gz", bomb))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23


def test_cells_of_parquet_are_values_of_json(tmp_path: Path) -> None:
    """Whatever the file is called. Fails the reader that hands on `Decimal` and `datetime`, which no row can be written
    with, and `bytes` as a text."""
    import pyarrow
    import pyarrow.parquet

    day = datetime.datetime(2024, 2, 29, 12)
    row = {
        "id": decimal.Decimal("1.50"),
        "meta": {"on": day, "in": [{"at": day.date(), "took": datetime.timedelta(1)}]},
    }
    path = tmp_path / "no_suffix"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), path)
    assert rows_of(path) == [
        {"id": "1.50", "meta": {"on": "2024-02-29T12:00:00", "in": [{"at": "2024-02-29", "took": "1 day, 0:00:00"}]}}
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"question": b"\xff"}]), path)
    with pytest.raises(CordError, match="row 1: holds bytes that are no text"):
        rows_of(path)
    twice = pyarrow.Table.from_arrays([pyarrow.array(["1"]), pyarrow.array(["2"])], names=["answer", "answer"])
    pyarrow.parquet.write_table(twice, path)
    with pytest.raises(CordError, match="two columns are called 'answer'"):
        rows_of(path)


@pytest.mark.parametrize("name", ["x" * 300 + ".jsonl", "circle.jsonl", "pipe.jsonl"])
def test_what_is_no_file_is_a_sentence(tmp_path: Path, name: str) -> None:
    """Fails `Path.is_file` on a name that is too long, and a reader that waits at a pipe for ever."""
    (tmp_path / "circle.jsonl").symlink_to("circle.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(CordError, match=r"problems\.path: "):
        rows_of(tmp_path / name)


def test_our_own_rows_may_hold_any_character(tmp_path: Path) -> None:
    """Fails for the strict reader on what a model wrote: its NUL is no fault of the file."""
    path = write(tmp_path / "f.jsonl", TEXT.encode() + b'{"text": "a\\u0000"}\n')
    assert list(own_rows(path)) == [*ROWS, {"text": "a\0"}]
    with pytest.raises(CordError, match="row 2: not an object"):
        list(own_rows(write(path, b"{}\n[]\n")))


def test_a_damaged_row_of_our_own_is_named_by_file_and_line(tmp_path: Path) -> None:
    """Fails the version that decodes the line first: a UnicodeDecodeError names neither file nor line."""
    path = write(tmp_path / "trajectories.jsonl", b'{"id": "1"}\n{"id": "\xff"}\n')
    rows = own_rows(path)
    assert next(rows) == {"id": "1"}
    with pytest.raises(CordError, match=f"{path}, row 2: not JSON"):
        next(rows)


def test_endings_of_files_may_be_written_large(tmp_path: Path) -> None:
    assert rows_of(write(tmp_path / "A.CSV", b"id,question\n1,a\n")) == [{"id": "1", "question": "a"}]
