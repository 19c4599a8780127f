"""The journal: what a kill, a torn line, a second process, a full disk or another recipe do to it."""

import json
import os
import random
import subprocess
import sys

import pytest

from cord_distill.common.errors import CordError
from cord_distill.common.files import lock_folder
from cord_distill.run_folder import archive
from cord_distill.run_folder.journal import Journal, written_fingerprint
from cord_distill.types import Problem

INPUTS = {"decode.beam_size": 4, "seed": 0}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "journal.jsonl"


def journal(path, fingerprint="f1", inputs=INPUTS) -> Journal:
    return Journal(path, fingerprint=fingerprint, inputs=inputs)


def filled(path):
    log = journal(path)
    log.record_call("p1", "k1", [0.1])
    log.record_call("p2", "k2", {"ids": [1], "text": "é"})
    log.finish("p1", {"id": "p1", "error": None})
    log.close()


def test_calls_of_finished_problems_are_forgotten_and_others_kept(path):
    filled(path)
    again = journal(path)
    assert again.is_finished("p1") and not again.is_finished("p2")
    assert again.calls("p1") == {}
    assert again.calls("p2") == {"k2": {"ids": [1], "text": "é"}}
    assert list(again.rows(["p2", "p1"])) == [{"id": "p1", "error": None}]
    again.close()


def test_a_torn_last_line_is_cut_and_the_rest_kept(path):
    """Fails the version that appends behind half a line, which damages the next one too."""
    filled(path)
    with open(path, "ab") as file:
        file.write(b'{"p":"p2","k":"k3","v":[0.')
    again = journal(path)
    again.record_call("p2", "k3", [0.25])
    again.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {**lines[-1], "c": ""} == {"p": "p2", "k": "k3", "v": [0.25], "c": ""}


def test_every_prefix_of_a_journal_opens(path):
    filled(path)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        log = journal(path)
        log.record_call("p3", "k", [1.0])
        log.close()
        assert all(json.loads(line) for line in path.read_bytes().splitlines())


@pytest.mark.parametrize(
    "garbage", [b"garbage\n", b"1\n", b"[]\n", b"\0" * 64, b'{"p":1,"k":"k","v":1}\n', b"[" * 5000 + b"\n"]
)
def test_damage_before_a_finished_row_is_refused_with_its_line(path, garbage):
    filled(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + garbage + b"".join(lines[1:]))
    with pytest.raises(CordError, match="line 2: damaged in the middle"):
        journal(path)


def test_another_recipe_is_refused_and_the_changed_keys_are_named(path):
    filled(path)
    with pytest.raises(CordError, match=r"changed since: decode\.beam_size\."):
        journal(path, "f2", {"decode.beam_size": 8, "seed": 0})
    assert written_fingerprint(path) == "f1"


def test_a_run_that_failed_before_its_first_answer_binds_nobody(path):
    """Fails the version in which a mistyped model path makes the mended recipe 'another recipe'."""
    journal(path, "f1").close()
    journal(path, "f2").close()
    assert written_fingerprint(path) == "f2"


def test_an_older_schema_is_refused(path):
    filled(path)
    path.write_text(path.read_text().replace('{"journal":1', '{"journal":0', 1))
    with pytest.raises(CordError, match="schema 0"):
        journal(path)


def test_two_processes_on_one_folder_are_refused(path):
    filled(path)
    log = journal(path)
    code = (
        "import sys; from pathlib import Path; from cord_distill.common.files import lock_folder; "
        "from cord_distill.common.errors import CordError\n"
        "try: lock_folder(Path(sys.argv[1]))\nexcept CordError as e: print(e)"
    )
    out = subprocess.run([sys.executable, "-c", code, str(path.parent)], capture_output=True, text=True, check=True)
    assert "another process is working" in out.stdout
    log.close()
    os.close(lock_folder(path.parent))


def test_a_file_system_without_locks_is_a_clear_error(tmp_path, monkeypatch):
    """Some clusters mount Lustre so. Fails the version that ends in a traceback, or goes on without a lock."""

    def no_locks(lock, how):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("cord_distill.common.files.fcntl.flock", no_locks)
    with pytest.raises(CordError, match="cannot lock files"):
        lock_folder(tmp_path)


def test_a_failed_row_is_tried_again_and_the_latest_row_counts(path):
    log = journal(path)
    log.record_call("p1", "k1", [0.5])
    log.finish("p1", {"id": "p1", "error": "EngineError"})
    assert not log.is_finished("p1")
    log.close()
    again = journal(path)
    assert not again.is_finished("p1")
    assert again.calls("p1") == {"k1": [0.5]}
    again.finish("p1", {"id": "p1", "error": None})
    assert list(again.rows(["p1"])) == [{"id": "p1", "error": None}]
    again.close()


def test_a_full_disk_is_a_clear_error_and_costs_no_finished_row(path, monkeypatch):
    filled(path)
    size = path.stat().st_size
    log = journal(path)

    written = []

    def half(file, data, write=os.write):
        if written:
            raise OSError(28, "No space left on device")
        written.append(write(file, data[: len(data) // 2]))
        return written[0]

    monkeypatch.setattr("cord_distill.run_folder.journal.os.write", half)
    with pytest.raises(CordError, match="No space left on device"):
        log.record_call("p9", "k9", [1.0])
    monkeypatch.undo()
    log.close()
    assert path.stat().st_size == size
    again = journal(path)
    assert again.is_finished("p1")
    again.close()


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CordError, match="cannot be written"):
        journal(tmp_path / "file" / "journal.jsonl")


@pytest.mark.parametrize("damage", [b"\0" * 4096 + b"\n", b"\0" * 100, b"garbage\n", b"[]\n", b'{"p":"x"}\n'])
def test_damage_among_calls_that_may_be_lost_is_cut_off(path, damage):
    """A power cut leaves a page of zeros behind the last fsynced row. Fails the version that refuses the run."""
    filled(path)
    whole = path.read_bytes()
    log = journal(path)
    log.record_call("p3", "k3", [0.5])
    log.close()
    path.write_bytes(whole + damage + path.read_bytes()[len(whole) :])
    again = journal(path)
    assert again.is_finished("p1") and again.calls("p2") and again.calls("p3") == {}
    again.close()
    assert path.read_bytes() == whole


def test_every_flipped_bit_is_found(path):
    """Fails the journal without a checksum per line: a flip inside a number gives another trajectory in silence."""
    filled(path)
    whole = path.read_bytes()
    rng = random.Random(0)
    for at in rng.sample(range(len(whole)), 150):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        try:
            log = journal(path)
        except CordError:
            continue
        # Only the last line may go: then p1 is decoded again, from the calls that are left.
        assert not log.is_finished("p1") and log.calls("p1") in ({}, {"k1": [0.1]}), at
        log.close()


def test_a_journal_without_checksums_is_read_and_goes_on(path):
    """One of an earlier version: its lines have no `c`, its rows no `h`."""
    path.parent.mkdir()
    problem = {"id": "p1", "question": "1+1?", "answer": "2", "meta": {}}
    lines = [
        {"journal": 1, "fingerprint": "f1", "inputs": INPUTS},
        {"p": "p1", "k": "k1", "v": [0.1]},
        {"p": "p1", "row": {"id": "p1", "problem": problem, "error": None}},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    log = journal(path)
    assert log.is_finished("p1", Problem(**problem).content)
    assert not log.is_finished("p1", Problem(**{**problem, "question": "1+2?"}).content)
    log.record_call("p2", "k2", [0.2])
    log.close()
    again = journal(path)
    assert again.calls("p2") == {"k2": [0.2]} and len(list(again.rows(["p1"]))) == 1
    again.close()


def test_two_writers_without_a_lock_lose_nothing(path, monkeypatch):
    """Locks that hold on one machine alone. Fails the version that writes at an offset of its own: rows are lost."""
    filled(path)
    first = journal(path)
    monkeypatch.setattr("cord_distill.common.files.fcntl.flock", lambda lock, how: None)
    second = journal(path)
    second.finish("p2", {"id": "p2", "error": None})
    with pytest.raises(CordError, match="another process writes into it too"):
        first.finish("p3", {"id": "p3", "error": None})
    second.finish("p4", {"id": "p4", "error": None})
    first.close()
    second.close()
    again = journal(path)
    assert [row["id"] for row in again.rows(["p1", "p2", "p3", "p4"])] == ["p1", "p2", "p4"]
    again.close()


@pytest.mark.parametrize("text", ["my notes\n", '{"a": 1}\n', '{"a": 1}', "[1, 2]\n"])
def test_a_file_that_is_no_journal_is_never_written_over(path, tmp_path, text):
    """A one-line file, or a link to one. Fails the version that takes it for a run without a single answer."""
    other = tmp_path / "other.txt"
    other.write_text(text)
    path.parent.mkdir()
    path.symlink_to(other)
    with pytest.raises(CordError, match="not a journal of cord"):
        journal(path)
    assert other.read_text() == text


def test_what_is_no_plain_file_is_refused(path):
    """A FIFO would be waited for without an end."""
    path.parent.mkdir()
    os.mkfifo(path)
    with pytest.raises(CordError, match="not a plain file"):
        journal(path)


def test_nothing_is_moved_while_another_process_writes(path):
    """Fails the version that sets the journal aside before it looks at the lock."""
    filled(path)
    running = journal(path)
    with pytest.raises(CordError, match="another process is working"):
        Journal(path, fingerprint="f2", inputs={}, overwrite=True)
    running.finish("p2", {"id": "p2", "error": None})
    assert len(list(running.rows(["p1", "p2"]))) == 2
    running.close()


def test_back_and_forth_between_two_recipes_loses_nothing(path):
    """Fails the version that replaces an older one of the same label, and the one that never looks into `stale/`."""
    beside = path.with_name("trajectories.jsonl")

    def opened(fingerprint, **options):
        return Journal(path, fingerprint=fingerprint, inputs={"seed": fingerprint}, beside=[beside], **options)

    filled(path)
    beside.write_text("of f1")
    other = opened("f2", overwrite=True)
    assert not other.is_finished("p1") and not beside.exists()
    other.finish("q1", {"id": "q1", "error": None})
    other.close()
    for _ in range(3):
        first = opened("f1")
        assert first.is_finished("p1") and not first.is_finished("q1") and beside.read_text() == "of f1"
        first.close()
        second = opened("f2")
        assert second.is_finished("q1") and not second.is_finished("p1")
        second.close()
    with pytest.raises(CordError, match="changed since: seed"):
        opened("f3")


def test_nothing_in_the_archive_is_ever_replaced(tmp_path):
    places = []
    for text in ("first", "second", "third"):
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "row").write_text(text)
        places.append(archive.set_aside([tmp_path / "data"], "f1"))
    assert [(place / "data" / "row").read_text() for place in places] == ["first", "second", "third"]
    kept = archive.find(tmp_path, "f1", "data")
    assert kept == places[-1] and archive.find(tmp_path, "f", "data") is None
    archive.bring_back(kept, tmp_path)
    assert (tmp_path / "data" / "row").read_text() == "third" and not kept.exists()
