"""What models and servers say reaches neither a terminal nor Markdown as anything but text."""

import os
import signal
import subprocess
import sys

import pytest

from cord_distill.common.markdown import code, inline, without_places
from cord_distill.common.terminal import one_line, plain


def test_control_characters_are_written_out():
    assert plain("a\x1b[2Jb\x07\x9b\u202e\ud800\tc\n") == "a\\x1b[2Jb\\x07\\x9b\\u202e\\ud800\tc\n"
    assert one_line("a\n\n b\r\x00" + "x" * 600).startswith("a b\\r\\x00xxx") and len(one_line("x" * 600)) == 500


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a|b", "a\\|b"),
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)>"),
        ("a\n| b | c |", "a \\| b \\| c \\|"),
        ("[x](javascript:alert(1))", "[x\\](javascript:alert(1))"),
        ("`code`", "\\`code\\`"),
        ("60.8 [45.0, 75.0]", "60.8 [45.0, 75.0]"),
        ("a\x1b[31m", "a\\\\x1b[31m"),
    ],
)
def test_markdown_of_others_stays_text(text, said):
    assert inline(text) == said


def test_code_spans_hold_what_they_are_given():
    assert code("a`|\nb") == "`a'¦ b`" and code("") == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/home/me/models/r1", "r1"),
        ("path: /data/secret/limo.jsonl, and ./here", "path: limo.jsonl, and ./here"),
        ("model: '/mnt/x/y'", "model: 'y'"),
        ("~/private/m", "m"),
        ("url: http://10.0.0.5:8000/v1", "url: http://SERVER"),
        ("url: http://u:SECRET@h/x, b", "url: http://SERVER b"),
        ("https://huggingface.co/Qwen/QwQ-32B", "https://huggingface.co/Qwen/QwQ-32B"),
        ("Qwen/QwQ-32B and 3/4 and a/b/c", "Qwen/QwQ-32B and 3/4 and a/b/c"),
    ],
)
def test_what_is_published_names_no_place(text, said):
    assert without_places(text) == said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_signals_of_schedulers_and_terminals_say_what_ctrl_c_says(number, code):
    """Fails the version that dies without a word on Slurm's SIGTERM."""
    program = (
        "import sys, time; from cord_distill import cli\n"
        "def wait(arguments): print('ready', flush=True); time.sleep(60)\n"
        "cli._grade = wait\n"
        "raise SystemExit(cli.main(['grade', 'x.jsonl']))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert child.stdout.readline() == "ready\n"
    child.send_signal(number)
    _, said = child.communicate(timeout=60)
    assert child.returncode == code
    assert "stopped" in said and "go on with:" in said and "cord grade x.jsonl" in said


def test_sigterm_ends_a_command_in_the_background_of_a_script():
    """There the shell has Ctrl-C ignored. Fails the version that passes SIGTERM on as a Ctrl-C, which nobody hears, and
    the one that leaves what runs in the loop where it is."""
    program = (
        "import asyncio; from cord_distill import cli\n"
        "async def wait():\n"
        "    try: print('ready', flush=True); await asyncio.sleep(60)\n"
        "    finally: print('put away', flush=True)\n"
        "cli._grade = lambda arguments: asyncio.run(wait())\n"
        "raise SystemExit(cli.main(['grade', 'x.jsonl']))"
    )
    child = subprocess.Popen(
        ["sh", "-c", 'trap "" INT; exec "$0" -c "$1"', sys.executable, program],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    child.send_signal(signal.SIGTERM)
    out, said = child.communicate(timeout=300)
    assert (child.returncode, out) == (143, "put away\n")
    assert "stopped" in said and "cord grade x.jsonl" in said


def test_a_signal_that_is_ignored_stays_so():
    """`nohup cord run`: the terminal's end is none of the run's."""
    program = (
        "import os, signal; from cord_distill import cli\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "def go_on(arguments): os.kill(os.getpid(), signal.SIGHUP); print('still here')\n"
        "cli._grade = go_on\n"
        "raise SystemExit(cli.main(['grade', 'x.jsonl']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "still here\n")


def test_a_deleted_working_directory_is_a_sentence(tmp_path):
    """Found by an attack: FileNotFoundError from wherever a path is made absolute."""
    gone = tmp_path / "gone"
    gone.mkdir()
    program = f"import os; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r}); from cord_distill import cli; "
    program += "raise SystemExit(cli.main(['check', 'quickstart']))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "the working directory is not there any more" in done.stderr
