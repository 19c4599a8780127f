"""Which stages run again when a recipe changes: fingerprints alone, no stage is run."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cord_distill.cli import main
from cord_distill.common.errors import CordError, TooManyFailed
from cord_distill.recipe.experiment import Experiment
from cord_distill.run.run import RunLog, _run_group
from cord_distill.run.stages import Stage, plan_stages


def done_log(tmp_path, *overrides) -> RunLog:
    """A log in which every stage of the quickstart is done, with its outputs there."""
    log = RunLog(tmp_path)
    for stage in plan_stages(Experiment.load("quickstart", [f"output_dir={tmp_path}", *overrides])):
        for output in stage.outputs:
            if "models" not in str(output.parent.parent):
                output.parent.mkdir(parents=True, exist_ok=True)
                output.mkdir(exist_ok=True) if output.name == "eval" else output.write_text("{}")
    for stage in plan_stages(Experiment.load("quickstart", [f"output_dir={tmp_path}", *overrides])):
        log.done(stage, stage.fingerprint(), 1.0)
    return RunLog(tmp_path)


def reruns(tmp_path, *overrides) -> list[str]:
    log = RunLog(tmp_path)
    stages = plan_stages(Experiment.load("quickstart", [f"output_dir={tmp_path}", *overrides]))
    return [s.key for s in stages if s.key != "models" and log.reason(s, s.fingerprint())]


def test_the_stages_of_a_recipe_with_variants(tmp_path):
    keys = [stage.key for stage in plan_stages(Experiment.load("quickstart", [f"output_dir={tmp_path}"]))]
    assert keys == [
        "models", "generate", "data/cord", "data/curation", "train/cord", "train/curation", "evaluate",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ("track.wandb.project=other", []),
        ("decode.problems_in_flight=3", []),
        ("launch.parallel_jobs=1", []),
        ("evaluate.samples=8", ["evaluate"]),
        ("train.learning_rate=1.0e-3", ["train/cord", "train/curation"]),
        ("data.keep_markers=false", ["data/cord", "data/curation"]),
        ("decode.beam_size=2", ["generate"]),
    ],
)
def test_a_change_runs_again_what_reads_it_and_nothing_before(tmp_path, change, again):
    """Fails the version with one hash over the whole recipe. What comes after follows by its input files' hashes."""
    done_log(tmp_path)
    assert reruns(tmp_path) == []
    assert reruns(tmp_path, change) == again


def test_new_trajectories_run_everything_after_them_again(tmp_path):
    done_log(tmp_path)
    (tmp_path / "cord" / "trajectories.jsonl").write_text("{...}")
    assert reruns(tmp_path) == ["data/cord"]
    (tmp_path / "cord" / "dataset" / "train.jsonl").write_text("{...}")
    assert reruns(tmp_path) == ["data/cord", "train/cord"]


def test_swapped_weights_under_the_same_name_are_evaluated_again(tmp_path):
    """`evaluate.models`: another file of the same size with its old time. Fails the version that goes by the path."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    weights = model / "model.safetensors"
    weights.write_bytes(b"first")
    asked = f'evaluate.models=[{{"model": "{model}", "name": "other"}}]'
    done_log(tmp_path, asked)
    assert reruns(tmp_path, asked) == []
    before = weights.stat()
    weights.write_bytes(b"other")
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert reruns(tmp_path, asked) == ["evaluate"]
    weights.unlink()
    (model / "config.json").unlink()
    assert reruns(tmp_path, asked) == ["evaluate"]


def test_a_stage_whose_output_is_gone_runs_again(tmp_path):
    done_log(tmp_path)
    (tmp_path / "curation" / "checkpoints" / "final" / "config.json").unlink()
    assert reruns(tmp_path) == ["train/curation"]


def test_a_training_by_hand_is_on_record_under_its_own_stage(tmp_path, monkeypatch):
    """`cord train RECIPE stage=dpo`. Fails the version that books it as SFT: whatever SFT had trained would then count
    as done under the settings of now, and the preferences as not done."""
    asked = [f"output_dir={tmp_path}", "variant=cord", "data.preferences={}", "dpo={}", "stage=dpo"]
    done_log(tmp_path, *asked[1:]).path.unlink()
    nothing = ([sys.executable, "-c", ""], dict(os.environ))
    monkeypatch.setattr("cord_distill.training.launch.training_command", lambda *_: nothing)
    assert main(["train", "quickstart", *asked]) == 0
    assert list(RunLog(tmp_path).entries) == ["dpo/cord"]


def test_a_stage_that_fails_stops_the_run_and_keeps_what_was_done_before(tmp_path):
    def python(code):
        return lambda: ([sys.executable, "-c", code], dict(os.environ))

    log = RunLog(tmp_path)
    good = Stage("one", lambda: "f", (), python("pass"))
    bad = Stage("two", lambda: "f", (), python("raise SystemExit(3)"))
    _run_group([good], log, 1)
    with pytest.raises(CordError, match="two stopped with exit code 3"):
        _run_group([bad], log, 1)
    again = RunLog(tmp_path)
    assert again.reason(good, "f") is None and again.reason(bad, "f") == "not done yet"


def test_a_share_of_failed_problems_stops_the_run_or_does_not(tmp_path):
    """Exit codes of `cord generate`: 3 is within decode.max_failed_share, 4 above. Only stages that count problems."""

    def ends_with(code, **options):
        argv = [sys.executable, "-c", f"raise SystemExit({code})"]
        return Stage("generate", lambda: "f", (), lambda: (argv, dict(os.environ)), **options)

    failed = [None]
    log = RunLog(tmp_path)
    with pytest.raises(TooManyFailed, match="more problems failed than decode"):
        _run_group([ends_with(4, again=lambda: failed[0])], log, 1)
    assert log.reason(ends_with(4), "f") == "not done yet"
    _run_group([ends_with(3, again=lambda: failed[0])], log, 1)
    assert log.reason(ends_with(0, again=lambda: failed[0]), "f") is None
    failed[0] = "1 problem failed"
    assert log.reason(ends_with(0, again=lambda: failed[0]), "f") == "1 problem failed"


def test_data_and_trainings_are_set_aside_by_number_and_brought_back(tmp_path):
    """A training with `train.output_dir` has two folders, on two disks perhaps. Fails the version that replaces what
    lies under the same label, the one that makes anew what lies there, and the one that leaves the second folder."""
    made, elsewhere = tmp_path / "checkpoints" / "final", tmp_path / "big" / "run" / "done.json"
    said = []

    def stage(fingerprint):
        def call():
            said.append(fingerprint)
            for file in (made, elsewhere):
                file.parent.mkdir(exist_ok=True, parents=True)
                file.write_text(fingerprint)
            return fingerprint

        return Stage("train/cord", lambda: fingerprint, (made,), call=call, folders=(made.parent, elsewhere.parent))

    for fingerprint in ("first", "second", "first", "second", "third", "first"):
        _run_group([stage(fingerprint)], RunLog(tmp_path), 1)
        assert made.read_text() == elsewhere.read_text() == fingerprint
    assert said == ["first", "second", "third"]


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', "\0" * 40, '{"data/cord": {}}'])
def test_a_damaged_log_is_kept_and_every_stage_looks_for_itself(tmp_path, text, capsys):
    """Fails the version that ends in a traceback for ever."""
    (tmp_path / "stages.json").write_text(text)
    log = RunLog(tmp_path)
    assert log.entries == {}
    log.done(Stage("one", lambda: "f", ()), "f", 1.0)
    assert "damaged" in capsys.readouterr().err and [*RunLog(tmp_path).entries] == ["one"]
    assert [path.read_text() for path in tmp_path.glob("stale/*/stages.json")] == [text]


def test_a_killed_run_leaves_no_orphan_behind(tmp_path):
    """kill -9 of `cord run` alone. Fails the version whose decoding goes on unseen and holds the folder's lock."""
    pid_file = tmp_path / "pid"
    child = (
        "import os, time; from cord_distill.common.die_with_parent import die_with_parent; die_with_parent()\n"
        f"open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    )
    parent = (
        "import os, sys; from pathlib import Path; from cord_distill.run.run import RunLog, _run_group\n"
        "from cord_distill.run.stages import Stage\n"
        f"stage = Stage('x', lambda: 'f', (), lambda: ([sys.executable, '-c', {child!r}], dict(os.environ)))\n"
        f"_run_group([stage], RunLog(Path({str(tmp_path)!r})), 1)"
    )
    running = subprocess.Popen([sys.executable, "-c", parent])
    wait_until(lambda: pid_file.exists() and pid_file.read_text())
    running.kill()
    running.wait()
    wait_until(lambda: not Path(f"/proc/{pid_file.read_text()}").exists() or "zombie" in status(pid_file.read_text()))


def status(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return "zombie"


def wait_until(true, seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def child(key: str, code: str) -> Stage:
    command = ([sys.executable, "-c", code], dict(os.environ))
    return Stage(key, lambda: "1", (), command=lambda: command)


def test_a_stage_is_done_when_it_ends_whatever_runs_beside_it(tmp_path):
    """The first waits until the second one's end is on record. Fails the version that waits in the order of the list,
    where a short stage is booked with the seconds of the long one before it."""
    log = RunLog(tmp_path)
    code = (
        "import pathlib, time, sys\n"
        f"log = pathlib.Path({str(log.path)!r})\n"
        "for _ in range(1200):\n"
        "    if log.exists() and 'short' in log.read_text(): sys.exit(0)\n"
        "    time.sleep(0.1)\n"
        "sys.exit(3)\n"
    )
    _run_group([child("long", code), child("short", "")], log, parallel=2)
    assert list(log.entries) == ["short", "long"]


def test_a_stage_that_fails_stops_the_one_that_runs_beside_it(tmp_path):
    with pytest.raises(CordError, match="second stopped with exit code 7"):
        stages = [child("first", "import time; time.sleep(600)"), child("second", "raise SystemExit(7)")]
        _run_group(stages, RunLog(tmp_path), 2)


def test_what_ended_well_beside_a_stage_that_failed_is_on_record(tmp_path, monkeypatch):
    """Both have ended when they are looked at. Fails the version that runs the second training again."""

    class Ended:
        def __init__(self, argv, env):
            self.returncode = int(argv[-1])

        def poll(self):
            return self.returncode

    monkeypatch.setattr("cord_distill.run.run.subprocess.Popen", Ended)
    stages = [Stage(key, lambda: "1", (), command=lambda code=code: ([code], {}))
              for key, code in (("failed", "3"), ("fine", "0"))]  # fmt: skip
    log = RunLog(tmp_path)
    with pytest.raises(CordError, match="failed stopped with exit code 3"):
        _run_group(stages, log, parallel=2)
    assert list(log.entries) == ["fine"]
