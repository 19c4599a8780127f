"""The command line as a user meets it: fast help, one-line errors, exit codes."""

import subprocess
import sys
import time

import pytest

from cord_distill.cli import main

HEAVY = ("torch", "transformers", "vllm", "trl", "datasets", "pydantic")


def test_help_is_enough_to_work_from_and_loads_nothing():
    begun = time.monotonic()
    code = f"import sys, cord_distill.cli\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
    help_text = subprocess.run(
        [sys.executable, "-m", "cord_distill.cli", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for command in ("check", "run", "generate", "train", "evaluate", "report", "grade", "quickstart"):
        assert command in help_text
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["check", "nowhere.yaml"], "no such file"),
        (["check", "quickstrat"], "did you mean 'quickstart'?"),
        (["check", "quickstart", "decode.beam_sise=4"], "did you mean 'beam_size'?"),
        (["generate", "smoke_real"], "problems: no source"),
        (["generate", "smoke_real", "problems.path=nowhere.jsonl"], "nowhere.jsonl is not there"),
        (["check", "quickstart", "variant=curaton"], "not among its variants"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(argv, message, capsys):
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_overrides_may_stand_before_and_after_an_option(capsys):
    assert main(["generate", "smoke_real", "--overwrite", "problems.path=gone.jsonl", "seed=2"]) == 2
    assert "gone.jsonl" in capsys.readouterr().err


def test_an_unknown_option_is_refused():
    with pytest.raises(SystemExit):
        main(["generate", "smoke_real", "--overwriet"])


def test_check_prints_the_resolved_recipe_and_the_plan(capsys, tmp_path):
    assert main(["check", "quickstart", f"output_dir={tmp_path}", "decode.beam_size=2"]) == 0
    out = capsys.readouterr().out
    assert "beam_size: 2" in out and "train/curation" in out and "would run" in out
    assert str(tmp_path) in out
