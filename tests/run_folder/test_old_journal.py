"""`journal.jsonl` of earlier versions. `journal_of_schema_1.jsonl` was written by the version before the folder."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cord_distill.common.errors import CordError
from cord_distill.common.files import lock_folder
from cord_distill.run_folder.journal import Journal
from cord_distill.types import Problem

MADE = Path(__file__).with_name("journal_of_schema_1.jsonl")
INPUTS = {"decode.beam_size": 4, "seed": 0}
CONTENT = {q: Problem("", q, "2").content for q in ("1+1?", "bad?", "old?", "new?", "other?")}


@pytest.fixture
def old(tmp_path) -> Path:
    (tmp_path / "run").mkdir()
    return Path(shutil.copy(MADE, tmp_path / "run" / "journal.jsonl"))


def opened(old: Path, fingerprint="f1", **options) -> Journal:
    return Journal(old.with_name("journal"), fingerprint=fingerprint, inputs=INPUTS, **options)


def test_it_is_read_once_and_goes_on(old):
    """Fails the version that knows only its own files, the one that keeps the answers of finished problems, and the
    one that drops those of a problem that failed or was edited since."""
    for again in (False, True):
        log = opened(old)
        assert not old.exists() and log.resumed
        assert log.is_finished("p1", CONTENT["1+1?"]) and not log.is_finished("p1", CONTENT["other?"])
        assert log.has_row("p2") and not log.is_finished("p2", CONTENT["bad?"])
        assert [row["n"] for row in log.rows([("p4/ä", CONTENT["old?"]), ("p4/ä", CONTENT["new?"])])] == [1, 2]
        assert log.calls("p1") == {} and log.calls("p2") == {"k3": [-0.5]}
        assert log.calls("p3") == {
            "k4": {"ids": [7], "text": "seven", "stop": "eos", "matched": None},
            "k8": [-0.125],
            **({"k9": [0.0]} if again else {}),
        }
        assert log.calls("p4/ä") == {"k7": [-3.5]}
        log.record_call("p3", "k9", [0.0])
        log.close()


def test_lines_without_checksums_are_read(old):
    """Those of a still earlier version, whose rows do not say what their problems say either."""
    lines = [json.loads(line) for line in old.read_bytes().splitlines()]
    lines[0].pop("checked")
    old.write_text("".join(json.dumps({k: v for k, v in line.items() if k not in "ch"}) + "\n" for line in lines))
    log = opened(old)
    assert log.is_finished("p1", CONTENT["1+1?"]) and not log.is_finished("p1", CONTENT["other?"])
    assert set(log.calls("p3")) == {"k4", "k8"}
    log.close()


def test_every_prefix_of_it_opens(old):
    whole = old.read_bytes()
    for size in range(0, len(whole), 37):
        old.write_bytes(whole[:size])
        log = opened(old)
        log.finish("p9", {"id": "p9", "error": None})
        log.close()
        shutil.rmtree(old.with_name("journal"))


@pytest.mark.parametrize("garbage", [b"garbage\n", b"\0" * 64, b'{"p":1,"k":"k","v":1}\n', b"[" * 5000 + b"\n"])
def test_damage_before_a_finished_row_is_refused_with_its_line_and_nothing_is_moved(old, garbage):
    lines = old.read_bytes().splitlines(keepends=True)
    old.write_bytes(lines[0] + garbage + b"".join(lines[1:]))
    damaged = old.read_bytes()
    with pytest.raises(CordError, match="line 2: damaged in the middle"):
        opened(old)
    assert old.read_bytes() == damaged and not old.with_name("journal").exists()


def test_another_recipe_is_refused_or_set_aside_and_comes_back(old):
    with pytest.raises(CordError, match="changed since: seed"):
        Journal(old.with_name("journal"), fingerprint="f2", inputs={**INPUTS, "seed": 1})
    assert old.read_bytes() == MADE.read_bytes()
    other = opened(old, "f2", overwrite=True)
    assert not other.resumed and not old.exists()
    other.finish("q", {"id": "q", "error": None})
    other.close()
    log = opened(old)
    assert log.is_finished("p1") and not log.is_finished("q")
    log.close()


@pytest.mark.parametrize("at", ["os.rename", "Path.unlink"])
def test_a_kill_while_it_is_read_loses_nothing(old, at):
    """Fails the version that deletes the old file first, and the one that takes half a folder for a whole one."""
    killed = (
        "import os, sys; from pathlib import Path; from cord_distill.run_folder.journal import Journal\n"
        f"{at} = lambda *given, **more: os.kill(os.getpid(), 9)\n"
        f"Journal(Path(sys.argv[1]), fingerprint='f1', inputs={INPUTS!r})"
    )
    ended = subprocess.run([sys.executable, "-c", killed, str(old.with_name("journal"))], check=False)
    assert ended.returncode == -9 and old.read_bytes() == MADE.read_bytes()
    log = opened(old)
    assert log.is_finished("p1") and set(log.calls("p3")) == {"k4", "k8"} and not old.exists()
    assert sorted(path.name for path in old.parent.iterdir()) == [".lock", ".turn.lock", "journal"]
    log.close()


def test_what_an_earlier_version_wrote_beside_the_folder_is_named(old):
    opened(old).close()
    old.write_bytes(MADE.read_bytes() + b"more\n")
    with pytest.raises(CordError, match="an earlier version wrote it beside journal/"):
        opened(old)


def test_an_earlier_version_at_work_is_waited_for_by_the_user(old):
    lock = lock_folder(old.parent)
    with pytest.raises(CordError, match="another process is working"):
        opened(old)
    os.close(lock)
    assert old.exists()


def test_shards_that_were_never_merged_are_read_too(old):
    """Those of this recipe. Their folders stay as they are."""
    for shard, fingerprint in (("1-of-2", b"f1"), ("2-of-2", b"f2")):
        folder = old.parent / "shards" / shard
        folder.mkdir(parents=True)
        first, *rest = MADE.read_bytes().splitlines(keepends=True)
        (folder / old.name).write_bytes(b"".join([first.replace(b'"f1"', b'"%s"' % fingerprint), *rest]))
    old.unlink()
    log = opened(old)
    assert log.is_finished("p1") and [path.name for path in (log.path / "rows").iterdir()] == ["shard-1-of-2.jsonl"]
    log.close()


@pytest.mark.parametrize("text", ["my notes\n", '{"a": 1}\n', '{"a": 1}', "[1, 2]\n"])
def test_a_file_that_is_no_journal_is_never_written_over(tmp_path, text):
    """A one-line file, or a link to one. Fails the version that takes it for a run without a single answer."""
    other = tmp_path / "other.txt"
    other.write_text(text)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "journal.jsonl").symlink_to(other)
    with pytest.raises(CordError, match="not a journal of cord"):
        opened(tmp_path / "run" / "journal.jsonl")
    assert other.read_text() == text


def test_what_is_no_plain_file_is_refused(tmp_path):
    """A FIFO would be waited for without an end."""
    os.mkfifo(tmp_path / "journal.jsonl")
    with pytest.raises(CordError, match="not a plain file"):
        opened(tmp_path / "journal.jsonl")
