"""Leases and the deletion of old checkpoints. Lazy versions that fail here: `save_total_limit` of transformers (deletes
what is being read), a file with a process number (a killed reader blocks for ever), rmtree in place (a kill leaves half
a checkpoint that looks whole)."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cord_distill.run_folder.leases import lease, rotate

HOLDER = (
    "import sys, time\n"
    "from pathlib import Path\n"
    "from cord_distill.run_folder.leases import lease\n"
    "with lease(Path(sys.argv[1])) as held:\n"
    "    print(held, flush=True)\n"
    "    time.sleep(600)\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for step in (2, 4, 8, 16):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}/model.safetensors").write_text("w")
    return tmp_path


def left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name.startswith(("checkpoint", ".checkpoint")))


def test_the_oldest_go_by_number(folder: Path) -> None:
    assert [p.name for p in rotate(folder, 2)] == ["checkpoint-2", "checkpoint-4"]
    assert left(folder) == ["checkpoint-16", "checkpoint-8"]
    assert rotate(folder, 2) == []


@pytest.mark.parametrize("keep", [None, 0, 4, 9])
def test_no_limit_or_none_reached_keeps_all(folder: Path, keep: int | None) -> None:
    assert rotate(folder, keep) == []
    assert rotate(folder / "nothing", keep) == []


def test_the_newest_and_the_best_stay(folder: Path) -> None:
    rotate(folder, 1, str(folder / "checkpoint-4"))
    assert left(folder) == ["checkpoint-16", "checkpoint-4"]


def test_what_another_process_reads_stays_until_it_ends_even_by_kill_9(folder: Path) -> None:
    reader = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder / "checkpoint-2")], stdout=subprocess.PIPE, text=True
    )
    assert reader.stdout is not None and reader.stdout.readline().strip() == "True"
    with lease(folder / "checkpoint-2") as held:
        assert not held
    # The one that is read stays and does not cost a newer one its place.
    assert [p.name for p in rotate(folder, 2)] == ["checkpoint-4"]
    assert left(folder) == ["checkpoint-16", "checkpoint-2", "checkpoint-8"]
    reader.send_signal(signal.SIGKILL)
    reader.wait()
    assert [p.name for p in rotate(folder, 2)] == ["checkpoint-2"]


def test_a_deletion_that_was_killed_is_finished_by_the_next(folder: Path) -> None:
    (folder / "checkpoint-2").rename(folder / ".checkpoint-2.old")
    assert [p.name for p in rotate(folder, 3)] == []
    assert left(folder) == ["checkpoint-16", "checkpoint-4", "checkpoint-8"]


def test_training_rotates_by_it(folder: Path) -> None:
    """The trainer's own rotation is turned off in sft.py (the slow tests see that); this is what stands in for it."""
    from cord_distill.training.callbacks import Rotation

    args = SimpleNamespace(should_save=True, output_dir=str(folder))
    state = SimpleNamespace(best_model_checkpoint=None)
    with lease(folder / "checkpoint-4"):
        Rotation(1).on_save(args, state, None)
    assert left(folder) == ["checkpoint-16", "checkpoint-4"]
    Rotation(1).on_save(SimpleNamespace(should_save=False, output_dir=str(folder)), state, None)
    assert left(folder) == ["checkpoint-16", "checkpoint-4"]
