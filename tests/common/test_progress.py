"""The progress display in files and in CI, what it says of decoding, and what Ctrl-C says."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from journals import entries
from scripted_world import write_recipe

from cord_distill.cli import _parser, main
from cord_distill.common import progress as module
from cord_distill.common.progress import Progress, short_time, unfinished
from cord_distill.decode.progress_note import DecodeNote
from cord_distill.decode.replay import Meter
from cord_distill.run.stopped import stopped_text
from cord_distill.search.beam import BeamSearch, Proposal
from cord_distill.types import Step, Stop


@pytest.fixture
def clock(monkeypatch):
    """Seconds that a test moves by hand; nothing is shown yet."""
    seconds = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: seconds[0])
    monkeypatch.setattr(module, "_shown", [])
    return seconds


def test_in_a_file_there_is_a_line_now_and_then_and_more_seldom_with_time(clock, capsys):
    """Fails a display that writes a line per item, or one every 15 s for a week."""
    display = Progress("decode cord", 10_000)
    for _ in range(3600):
        clock[0] += 1
        display.advance(1, "cache 90 %")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "decode cord: 16/10000 2.8 h left, cache 90 %"
    assert 12 <= len(lines) <= 16
    display.close()
    assert capsys.readouterr().err == "decode cord: 3600/10000 in 3600 s\n"


def test_the_time_left_counts_only_what_this_process_did(clock):
    """Fails an estimate that takes 900 problems of yesterday for the pace of today."""
    display = Progress("decode cord", 1000, done=900)
    assert display.seconds_left is None
    clock[0] += 50
    display.advance(10)
    assert display.seconds_left == pytest.approx(450)


def test_the_first_answer_alone_says_nothing_of_the_rest(clock):
    """Fails the version that says 26 min of three: searches in flight begin together and end together."""
    display = Progress("decode cord", 100)
    clock[0] += 53
    display.advance()
    assert display.seconds_left is None
    for _ in range(23):
        clock[0] += 53 / 23
        display.advance()
    assert display.seconds_left == pytest.approx(106 / 24 * 76)


def test_at_80_columns_count_and_time_stay_and_the_note_is_cut(clock, monkeypatch):
    import io

    from rich.console import Console

    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(module, "_stderr_console", lambda: console)
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("CORD_PLAIN_PROGRESS", "0")
    display = Progress("decode curation", 817)
    display.advance(1, "124 live beams of 31 problems, r1 1,363 qwq 1,403 phi4 1,377 tokens/s, cache 93 %")
    display.close()
    line = next(line for line in re.split(r"[\r\n]", screen.getvalue()) if "1/817" in line)
    assert "0:00:00" in line and "124 live beams" in line and "…" in line


def test_a_note_may_change_before_anything_is_done(clock, capsys):
    display = Progress("decode cord", 5)
    clock[0] += 20
    display.show("12 live beams of 3 problems")
    assert capsys.readouterr().err == "decode cord: 0/5 12 live beams of 3 problems\n"


@pytest.mark.parametrize(("seconds", "text"), [(44.6, "45 s"), (700, "12 min"), (12_600, "3.5 h")])
def test_times(seconds, text):
    assert short_time(seconds) == text


def test_what_decoding_says_is_of_the_last_minute():
    """Fails rates that are means over a run of days."""
    meters = {"r1": Meter(), "qwq": Meter(), "prover": Meter()}
    live = {"p1": 4, "p2": 3}
    note = DecodeNote(meters, live)
    assert note.text(0.0) == "7 live beams of 2 problems"
    for second in range(1, 121):
        meters["r1"].generated_tokens += 100 if second <= 60 else 250
        meters["qwq"].generated_tokens += 40
        meters["r1"].prompt_tokens, meters["r1"].cached_tokens = 1000, 930
        said = note.text(float(second))
    assert said == "7 live beams of 2 problems, r1 250 qwq 40 tokens/s, cache 93 %"
    live.clear()
    assert note.text(121.0) == "r1 246 qwq 39 tokens/s, cache 93 %"


def test_live_beams_are_those_that_go_on():
    search = BeamSearch(beam_size=2, num_teachers=2)
    assert search.num_live == 1
    for ask, ends in zip(search.expand(), (None, Stop.THINK_END), strict=True):
        step = Step(1, "t", f"### Step 1. {ask.teacher}", (1,), 1, 0.5 + ask.teacher / 10, ends or Stop.STEP)
        search.absorb(ask, Proposal(step, ends))
    assert search.num_live == 1
    for ask in search.expand():
        search.absorb(ask, Proposal(Step(2, "t", "end", (1,), 1, 0.9, Stop.THINK_END), Stop.THINK_END))
    assert search.done and search.num_live == 0


# Ctrl-C.


def test_ctrl_c_says_how_far_it_was_where_it_is_and_how_to_go_on(clock, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CORD_PARENT_PID", raising=False)
    display = Progress("decode cord", 100)
    display.advance(37)
    display.close()
    argv = ["generate", "smoke_real", "problems.path=my questions.jsonl", "output_dir=runs/x"]
    said = stopped_text(_parser().parse_args(argv), argv)
    assert unfinished() == ["decode cord: 37 of 100"]
    assert said.splitlines() == [
        "stopped at decode cord: 37 of 100",
        "what was finished is kept in runs/x; go on with:",
        "    cord generate smoke_real 'problems.path=my questions.jsonl' output_dir=runs/x",
    ]
    monkeypatch.setenv("CORD_PARENT_PID", "1")
    assert stopped_text(_parser().parse_args(argv), argv) == "stopped at decode cord: 37 of 100"


def test_ctrl_c_on_an_ablation_names_the_folder_it_wrote_into(tmp_path, monkeypatch, capsys):
    """`cord ablate gsm8k_cpu` reads ablations/gsm8k_cpu.yaml: the folder of gsm8k_cpu.yaml has none of its work."""
    from cord_distill.ablation import ablate

    def interrupted(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ablate, "ablate", interrupted)
    assert main(["ablate", "gsm8k_cpu"]) == 130
    said = capsys.readouterr().err
    assert "what was finished is kept in outputs/gsm8k_cpu_selectors; go on with:\n    cord ablate gsm8k_cpu\n" in said


def test_a_display_that_reached_its_end_is_not_unfinished(clock):
    display = Progress("decode cord", 2)
    display.advance(2)
    display.close()
    assert unfinished() == []


@pytest.mark.slow
def test_ctrl_c_on_a_running_command(random_models, tmp_path):
    """A real process, a real signal: exit code 130, no traceback, and the same command ends the work."""
    path = write_recipe(tmp_path, random_models, problems=40, problems_in_flight=1)
    path.write_text(path.read_text().replace("engine: scripted", "engine: scripted\n  engine_args: {delay: 0.02}"))
    here = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])}
    command = [sys.executable, "-m", "cord_distill.cli", "generate", str(path)]
    child = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "run/journal"

    def rows() -> int:
        return sum("row" in entry for entry in entries(journal))

    for _ in range(1200):
        if rows():
            break
        time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    said = child.communicate(timeout=60)[1]
    assert child.returncode == 130, said
    assert "Traceback" not in said
    done = rows()
    assert f"stopped at decode cord: {done} of 40" in said and 0 < done < 40
    assert "what was finished is kept in run; go on with:\n    cord generate" in said
