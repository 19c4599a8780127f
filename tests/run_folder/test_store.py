"""The journal: what a kill, a torn line, other processes, a full disk or another recipe do to it."""

import json
import os
import random
import resource
import subprocess
import sys

import pytest

from cord_distill.common.errors import CordError
from cord_distill.common.files import lock_folder
from cord_distill.run_folder import archive
from cord_distill.run_folder.calls_file import calls_name
from cord_distill.run_folder.journal import Claim, Journal
from cord_distill.run_folder.journal_header import Header
from cord_distill.run_folder.journal_lines import encoded
from cord_distill.types import Problem


def P(name: str, question: str = "") -> Problem:
    return Problem(name, question, "")


INPUTS = {"decode.beam_size": 4, "seed": 0}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "journal"


def rows_file(path):
    (file,) = (path / "rows").glob("*.jsonl")
    return file


def calls_file(path, problem_id):
    return path / "open" / calls_name(problem_id)


def journal(path, fingerprint="f1", inputs=INPUTS) -> Journal:
    return Journal(path, fingerprint=fingerprint, inputs=inputs)


def filled(path):
    log = journal(path)
    log.record_call("p1", "k1", [0.1])
    log.record_call("p2", "k2", {"ids": [1], "text": "é"})
    log.finish(P("p1"), {"id": "p1", "error": None})
    log.close()


def test_calls_of_finished_problems_are_forgotten_and_others_kept(path):
    filled(path)
    again = journal(path)
    assert again.is_finished(P("p1")) and not again.is_finished(P("p2"))
    assert again.calls("p1") == {}
    assert again.calls("p2") == {"k2": {"ids": [1], "text": "é"}}
    assert list(again.rows(map(P, ["p2", "p1"]))) == [{"id": "p1", "error": None}]
    again.close()


def test_a_torn_last_line_is_cut_and_the_rest_kept(path):
    """Fails the version that appends behind half a line, which damages the next one too."""
    filled(path)
    for file, torn in ((calls_file(path, "p2"), b'{"p":"p2","k":"k3","v":[0.'), (rows_file(path), b'{"p":"p2","h":nu')):
        with open(file, "ab") as opened:
            opened.write(torn)
    again = journal(path)
    assert again.calls("p2") == {"k2": {"ids": [1], "text": "é"}}
    again.record_call("p2", "k3", [0.25])
    assert [json.loads(line)["k"] for line in calls_file(path, "p2").read_text().splitlines()] == ["k2", "k3"]
    again.finish(P("p2"), {"id": "p2", "error": None})
    again.close()
    assert [json.loads(line)["p"] for line in rows_file(path).read_text().splitlines()] == ["p1", "p2"]


def test_the_answers_of_a_finished_problem_are_gone_from_the_disk(path):
    """A problem whose row is written needs none; one that failed goes on from its own. Fails the version whose next
    start reads everything that was ever said."""
    filled(path)
    log = journal(path)
    log.record_call("p4", "k", [0.5])
    log.finish(P("p4"), {"id": "p4", "error": "EngineError"})
    assert log.calls("p5") == {}
    log.close()
    assert {file.name for file in (path / "open").iterdir()} == {calls_name("p2"), calls_name("p4")}


def test_every_prefix_of_its_files_opens(path):
    filled(path)
    whole = {file: file.read_bytes() for file in (rows_file(path), calls_file(path, "p2"))}
    for file, text in whole.items():
        for size in range(0, len(text), 3):
            file.write_bytes(text[:size])
            log = journal(path)
            log.record_call("p3", "k", [1.0])
            log.finish(P("p3"), {"id": "p3", "error": None})
            log.close()
            assert all(json.loads(line) for line in rows_file(path).read_bytes().splitlines())
            for each, was in whole.items():
                each.write_bytes(was)


@pytest.mark.parametrize(
    "garbage", [b"garbage\n", b"1\n", b"[]\n", b"\0" * 64, b'{"p":1,"row":{}}\n', b"[" * 5000 + b"\n"]
)
def test_damage_before_a_finished_row_is_refused_with_its_line(path, garbage):
    filled(path)
    file = rows_file(path)
    file.write_bytes(garbage + file.read_bytes() * 2)
    with pytest.raises(CordError, match="line 1: damaged in the middle"):
        journal(path)


def test_damage_behind_the_last_finished_row_is_cut_off(path):
    """A power cut leaves a page of zeros there. Fails the version that refuses the run."""
    filled(path)
    file = rows_file(path)
    whole = file.read_bytes()
    file.write_bytes(whole + b"\0" * 4096)
    log = journal(path)
    log.finish(P("p2"), {"id": "p2", "error": None})
    log.close()
    assert file.read_bytes().startswith(whole + b'{"p":"p2"')


@pytest.mark.parametrize("damage", [b"\0" * 4096 + b"\n", b"garbage\n", b"[]\n", b'{"p":"x"}\n', b"\0" * 100])
def test_damage_among_answers_costs_those_alone(path, damage):
    """Fails the version that refuses the run, and the one that drops what stands behind the damage too."""
    filled(path)
    file = calls_file(path, "p2")
    whole = file.read_bytes()
    log = journal(path)
    log.record_call("p2", "k3", [0.5])
    log.record_call("p2", "k4", [0.25])
    log.close()
    file.write_bytes(whole + damage + file.read_bytes()[len(whole) :])
    again = journal(path)
    assert again.is_finished(P("p1")) and {"k2", "k4"} <= set(again.calls("p2"))
    again.close()


def test_another_recipe_is_refused_and_the_changed_keys_are_named(path):
    filled(path)
    with pytest.raises(CordError, match=r"changed since: decode\.beam_size\."):
        journal(path, "f2", {"decode.beam_size": 8, "seed": 0})
    assert Header.read(path).fingerprint == "f1"


def test_a_run_that_failed_before_its_first_answer_binds_nobody(path):
    """Fails the version in which a mistyped model path makes the mended recipe 'another recipe'."""
    journal(path, "f1").close()
    journal(path, "f2").close()
    assert Header.read(path).fingerprint == "f2"


def test_a_newer_schema_is_refused(path):
    filled(path)
    header = json.loads((path / "header.json").read_text())
    (path / "header.json").write_bytes(encoded({**header, "journal": 3}))
    with pytest.raises(CordError, match="of another version of cord"):
        journal(path)


def in_a_process(path, code: str, **more) -> str:
    """What a process of its own prints that opens the same journal as `log`."""
    begin = "import sys; from pathlib import Path; from cord_distill.run_folder.journal import Journal\n"
    begin += "from cord_distill.types import Problem\np1, p2 = Problem('p1', '', ''), Problem('p2', '', '')\n"
    begin += f"log = Journal(Path(sys.argv[1]), fingerprint='f1', inputs={INPUTS!r}, **{more!r})\n"
    found = subprocess.run([sys.executable, "-c", begin + code, str(path)], capture_output=True, text=True, check=False)
    return found.stdout + found.stderr


def test_a_problem_is_one_process_s_until_it_ends_and_the_next_one_goes_on_from_its_answers(path):
    """Fails the claim that is a file of its own: one that a killed process left holds the problem for ever."""
    log = journal(path)
    assert log.claim(P("p1")) is Claim.OURS
    said = in_a_process(
        path,
        "print(log.claim(p1), log.is_held(p1), log.claim(p2), flush=True)\n"
        "log.record_call('p2', 'k', [0.5])\n"
        "import os; os.kill(os.getpid(), 9)",
    )
    assert said == "Claim.HELD True Claim.OURS\n"
    assert log.claim(P("p2")) is Claim.OURS and log.calls("p2") == {"k": [0.5]}
    log.finish(P("p1"), {"id": "p1", "error": None})
    assert in_a_process(
        path,
        "print(log.claim(p1), log.is_held(p1), log.claim(p2))",
    ) == ("Claim.FINISHED False Claim.HELD\n")
    log.close()


def test_rows_of_others_are_seen_when_a_problem_is_claimed_or_the_files_are_made(path):
    """Fails the version that looks at the rows when it starts and not again."""
    first, second = journal(path), journal(path)
    first.finish(P("p1"), {"id": "p1", "error": None})
    assert not second.is_finished(P("p1")) and second.claim(P("p1")) is Claim.FINISHED and second.is_finished(P("p1"))
    first.finish(P("p2"), {"id": "p2", "error": None})
    second.finish(P("p3"), {"id": "p3", "error": None})
    with second.turn():
        assert [row["id"] for row in second.rows(map(P, ["p3", "p2", "p1"]))] == ["p3", "p2", "p1"]
    assert len(list((path / "rows").glob("*.jsonl"))) == 2
    first.close()
    second.close()
    assert not list((path / "open").iterdir())


def test_one_that_must_be_alone_refuses_others_and_is_refused(path):
    """`cord problems`."""
    log = journal(path)
    with pytest.raises(CordError, match="another process is working"):
        Journal(path, fingerprint="f1", inputs=INPUTS, alone=True)
    log.close()
    alone = Journal(path, fingerprint="f1", inputs=INPUTS, alone=True)
    assert "another process is working" in in_a_process(path, "")
    alone.close()
    os.close(lock_folder(path.parent))


def test_of_two_rows_of_a_problem_every_process_takes_the_same(path, monkeypatch):
    """Whoever wrote first by the clock. Fails the version in which each process prefers its own row."""
    logs = {}
    for name in ("b", "a"):
        monkeypatch.setattr("cord_distill.run_folder.row_files.socket.gethostname", lambda name=name: name)
        logs[name] = journal(path)
        logs[name].finish(P("p1"), {"id": "p1", "by": name, "error": "no" if name == "a" else None})
        logs[name].finish(P("p2"), {"id": "p2", "by": name, "error": None})
        logs[name].finish(P("p3"), {"id": "p3", "by": name, "error": "no"})
    logs["c"] = journal(path)
    for log in logs.values():
        with log.turn():
            assert [row["by"] for row in log.rows(map(P, ["p1", "p2", "p3"]))] == ["b", "a", "b"]
        log.close()


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
    log.finish(P("p1"), {"id": "p1", "error": "EngineError"})
    assert not log.is_finished(P("p1"))
    log.close()
    again = journal(path)
    assert not again.is_finished(P("p1"))
    assert again.calls("p1") == {"k1": [0.5]}
    again.finish(P("p1"), {"id": "p1", "error": None})
    assert list(again.rows(map(P, ["p1"]))) == [{"id": "p1", "error": None}]
    again.close()


@pytest.mark.parametrize("at", ["a call", "a row"])
def test_a_full_disk_is_a_clear_error_and_costs_no_finished_row(path, monkeypatch, at):
    filled(path)
    sizes = {file: file.stat().st_size for file in path.rglob("*.jsonl")}
    log = journal(path)

    written = []

    def half(file, data, write=os.write):
        if written:
            raise OSError(28, "No space left on device")
        written.append(write(file, data[: len(data) // 2]))
        return written[0]

    monkeypatch.setattr("cord_distill.run_folder.journal_lines.os.write", half)
    with pytest.raises(CordError, match="No space left on device"):
        if at == "a call":
            log.record_call("p2", "k9", [1.0])
        else:
            log.finish(P("p2"), {"id": "p2", "error": None})
    monkeypatch.undo()
    log.close()
    assert {file: file.stat().st_size for file in path.rglob("*.jsonl")} == sizes
    again = journal(path)
    assert again.is_finished(P("p1")) and again.calls("p2")
    again.close()


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CordError, match="cannot be written"):
        journal(tmp_path / "file" / "journal")


def test_every_flipped_bit_is_found(path):
    """Fails the journal without a checksum per line: a flip inside a number gives another trajectory in silence."""
    filled(path)
    files = (path / "header.json", rows_file(path), calls_file(path, "p2"))
    whole = {file: file.read_bytes() for file in files}
    rng = random.Random(0)
    for _ in range(150):
        flipped = rng.choice(files)
        text = bytearray(whole[flipped])
        text[rng.randrange(len(text))] ^= 1 << rng.randrange(8)
        flipped.write_bytes(text)
        try:
            log = journal(path)
        except CordError:
            assert flipped == files[0]
        else:
            # Of rows and answers the flipped one is decoded or asked for again.
            assert log.is_finished(P("p1")) == (flipped != files[1])
            assert log.calls("p2") == ({} if flipped == files[2] else {"k2": {"ids": [1], "text": "é"}})
            log.close()
        for file, was in whole.items():
            file.write_bytes(was)


def test_two_writers_of_one_name_without_a_lock_lose_nothing(path, monkeypatch):
    """Locks that hold on one machine alone, and machines of the same name. Fails the version that writes at an offset
    of its own: rows are lost."""
    filled(path)
    first = journal(path)
    first.finish(P("p0"), {"id": "p0", "error": None})
    monkeypatch.setattr("cord_distill.run_folder.row_files.fcntl.flock", lambda lock, how: None)
    second = journal(path)
    second.finish(P("p2"), {"id": "p2", "error": None})
    with pytest.raises(CordError, match="another process writes into it too"):
        first.finish(P("p3"), {"id": "p3", "error": None})
    second.finish(P("p4"), {"id": "p4", "error": None})
    monkeypatch.undo()
    first.close()
    second.close()
    again = journal(path)
    assert [row["id"] for row in again.rows(map(P, ["p0", "p1", "p2", "p3", "p4"]))] == ["p0", "p1", "p2", "p4"]
    again.close()


def test_an_edit_of_a_problem_that_is_taken_back_finds_its_row_again(path):
    log = journal(path)
    log.finish(P("p1", "was"), {"id": "p1", "error": None, "n": 1})
    log.finish(P("p1", "edited"), {"id": "p1", "error": None, "n": 2})
    log.close()
    log = journal(path)
    assert [row["n"] for row in log.rows([P("p1", "was"), P("p1", "edited")])] == [1, 2]
    third = P("p1", "third")
    assert log.edited([third, P("p1", "was"), P("p2")]) == 1
    assert not log.is_finished(third) and log.claim(third) is Claim.OURS
    log.close()


@pytest.mark.parametrize("what", ["a file", "a folder", "answers without a header"])
def test_what_is_no_journal_is_never_written_over(path, what):
    if what == "a file":
        path.parent.mkdir()
        path.write_text("my notes")
    elif what == "a folder":
        path.mkdir(parents=True)
        (path / "notes.txt").write_text("mine")
    else:
        filled(path)
        (path / "header.json").unlink()
    said = {"a file": "not a folder", "a folder": "not a journal of cord", "answers without a header": "nobody knows"}
    with pytest.raises(CordError, match=said[what]):
        journal(path)


def test_more_problems_in_flight_than_open_files_are_a_sentence(path, monkeypatch):
    """First the limit is raised as far as it goes. Fails the version that ends in a traceback."""
    log = journal(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, hard))
        assert {log.claim(P(f"q{i}")) for i in range(40)} == {Claim.OURS}
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 60, hard))
        monkeypatch.setattr("cord_distill.run_folder.calls_file.resource.setrlimit", lambda which, limits: None)
        with pytest.raises(CordError, match=r"decode\.problems_in_flight: .*ulimit -n"):
            for i in range(40, 90):
                log.claim(P(f"q{i}"))
    finally:
        monkeypatch.undo()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    log.close()


def test_nothing_is_moved_while_another_process_writes(path):
    """Fails the version that sets the journal aside before it looks at the lock."""
    filled(path)
    running = journal(path)
    with pytest.raises(CordError, match="another process is working"):
        Journal(path, fingerprint="f2", inputs={}, overwrite=True)
    running.finish(P("p2"), {"id": "p2", "error": None})
    assert len(list(running.rows(map(P, ["p1", "p2"])))) == 2
    running.close()


def test_back_and_forth_between_two_recipes_loses_nothing(path):
    """Fails the version that replaces an older one of the same label, and the one that never looks into `stale/`."""
    beside = path.with_name("trajectories.jsonl")

    def opened(fingerprint, **options):
        return Journal(path, fingerprint=fingerprint, inputs={"seed": fingerprint}, beside=[beside], **options)

    filled(path)
    beside.write_text("of f1")
    other = opened("f2", overwrite=True)
    assert not other.is_finished(P("p1")) and not beside.exists()
    other.finish(P("q1"), {"id": "q1", "error": None})
    other.close()
    for _ in range(3):
        first = opened("f1")
        assert first.is_finished(P("p1")) and not first.is_finished(P("q1")) and beside.read_text() == "of f1"
        first.close()
        second = opened("f2")
        assert second.is_finished(P("q1")) and not second.is_finished(P("p1"))
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
