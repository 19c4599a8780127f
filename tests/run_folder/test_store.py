"""The journal: what a kill, a torn line, a second process, a full disk or another recipe do to it."""

import json
import os
import subprocess
import sys

import pytest

from cord_distill.common.errors import CordError
from cord_distill.common.files import lock_folder, set_aside
from cord_distill.run_folder.journal import Journal, written_fingerprint

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
    assert lines[-1] == {"p": "p2", "k": "k3", "v": [0.25]}


def test_every_prefix_of_a_journal_opens(path):
    filled(path)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        log = journal(path)
        log.record_call("p3", "k", [1.0])
        log.close()
        assert all(json.loads(line) for line in path.read_bytes().splitlines())


def test_damage_in_the_middle_is_refused_with_its_line(path):
    filled(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"garbage\n" + lines[1])
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

    class Full:
        def __init__(self, file):
            self.file = file

        def write(self, data):
            self.file.write(data[: len(data) // 2])
            self.file.flush()
            raise OSError(28, "No space left on device")

        def __getattr__(self, name):
            return getattr(self.file, name)

    log._file = Full(log._file)
    with pytest.raises(CordError, match="No space left on device"):
        log.record_call("p9", "k9", [1.0])
    log.close()
    assert path.stat().st_size == size
    again = journal(path)
    assert again.is_finished("p1")
    again.close()


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CordError, match="cannot be written"):
        journal(tmp_path / "file" / "journal.jsonl")


def test_set_aside_keeps_what_it_moves(path):
    filled(path)
    moved = set_aside(path, "f1")
    assert not path.exists() and written_fingerprint(moved) == "f1"
