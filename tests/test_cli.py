"""The command line as a user meets it: help that loads nothing, one-line errors, exit codes."""

import errno
import json
import os
import subprocess
import sys

import pytest
from made_rows import write_run
from scripted_world import write_recipe

from cord_distill.cli import main
from cord_distill.recipe.completion import override_keys

HEAVY = ("torch", "transformers", "vllm", "trl", "datasets", "pydantic", "argcomplete", "wandb")


def test_help_is_enough_to_work_from_and_loads_nothing():
    code = f"import sys, cord_distill.cli\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
    help_text = subprocess.run(
        [sys.executable, "-m", "cord_distill.cli", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for command in ("check", "run", "generate", "train", "evaluate", "report", "grade", "quickstart"):
        assert command in help_text


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


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["run", "--config", "my.yaml"], "the recipe is given by its place alone: my.yaml"),
        (["run", "my.yaml", "--decode.beam_size=4"], "without dashes: decode.beam_size=4"),
        (["run", "my.yaml", "--decode.beam_size", "4"], "without dashes: decode.beam_size=4"),
        (["generate", "my.yaml", "++decode.beam_size=4"], "without dashes: decode.beam_size=4"),
        (["evaluate", "--model", "m", "--suite", "math", "--samples", "abc"], "--samples abc: give a whole number"),
    ],
)
def test_words_of_other_tools_are_answered(argv, said, capsys):
    assert main(argv) == 2
    assert said in capsys.readouterr().err


def test_an_unknown_option_is_refused():
    with pytest.raises(SystemExit):
        main(["generate", "smoke_real", "--overwriet"])


def test_check_prints_the_resolved_recipe_and_the_plan(capsys, tmp_path):
    assert main(["check", "quickstart", f"output_dir={tmp_path}", "decode.beam_size=2"]) == 0
    out = capsys.readouterr().out
    assert "beam_size: 2" in out and str(tmp_path) in out
    page = " ".join(out.partition("writes to")[2].split())
    assert (
        "would run generate 100 problems by cord and curation; teachers adder, multiplier, allrounder; "
        "meta-prover prover; beam 2 would run data/cord"
    ) in page
    assert "would run train/curation student, 8 epochs, lr 0.002" in page
    assert "would run evaluate ledger, 4 samples per problem" in page
    assert "hub" not in page and page.endswith(
        f"is in order: cord run quickstart output_dir={tmp_path} decode.beam_size=2"
    )


def test_check_says_what_it_did_not_look_up(capsys, tmp_path):
    """Fails a page that calls a misspelt hub name in order."""
    assert main(["check", "r1_qwen_14b", f"output_dir={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert (
        "not looked up, from the hub: deepseek-ai/DeepSeek-R1-Distill-Qwen-32B, Qwen/QwQ-32B, "
        "microsoft/Phi-4-reasoning-plus, deepseek-ai/DeepSeek-R1-Distill-Qwen-14B, GAIR/LIMO\n"
    ) in out
    assert "the problems of GAIR/LIMO by cord;" in out


@pytest.mark.parametrize("found", [True, False])
def test_view_opens_a_browser_only_when_it_is_asked_to(found, capsys, tmp_path, monkeypatch):
    """Fails a command that opens windows by itself, and one that says nothing where there is no browser."""
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or found)
    recipe = write_run(tmp_path)
    assert not main(["view", str(recipe)]) and opened == []
    assert not main(["view", str(recipe), "--open"])
    assert opened == [(tmp_path / "out/view.html").as_uri()]
    assert ("no browser could be started" in capsys.readouterr().out) is not found


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x/rows"), "/x/rows: No space left on device; what was fin"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk: Disk quota exceeded; what was finished is kept"),
        (OSError(errno.EIO, "Input/output error"), "the disk: Input/output error"),
        (OSError(errno.EROFS, "Read-only file system", "/x"), "/x: Read-only file system"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 9000), "File name too long; what was finished"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/model"), "/x/model: Permission denied"),
        (OSError(errno.ELOOP, "Too many levels of symbolic links", "/x"), "Too many levels of symbolic links"),
    ],
)
def test_what_the_file_system_refuses_is_one_sentence(error, said, monkeypatch, capsys):
    """Wherever it comes from. Fails the version that ends in a traceback outside the journal."""

    def fails(*_):
        raise error

    monkeypatch.setattr("cord_distill.run.init.bundled_recipes", fails)
    assert main(["recipes"]) == 2
    shown = capsys.readouterr().err
    assert said in shown and len(shown.splitlines()) == 1 and len(shown) < 600


PRINTS = """
from cord_distill.types import Problem
def build():
    print("loading ...")
    return [Problem("1", "What is 1 + 1?", "2")]
"""


def test_json_of_the_check_is_json_whatever_a_plug_in_prints(tmp_path, capsys, monkeypatch):
    """Fails the version whose standard output begins with what the plug-in said."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "prints_much.py").write_text(PRINTS)
    (tmp_path / "r.yaml").write_text("teachers: [{model: a/b}]\nproblems: {builder: 'prints_much:build'}\n")
    main(["check", str(tmp_path / "r.yaml"), "--json"])
    out, err = capsys.readouterr()
    assert "1 problems" in json.loads(out)["looked_at"] and "loading ..." in err


def test_a_terminal_of_another_encoding_shows_escapes(tmp_path):
    """Fails with UnicodeEncodeError on the first letter that the terminal does not have."""
    (tmp_path / "r.yaml").write_text('name: r\ndecode: {step_instructions: "\u00e9\u6570"}\n', encoding="utf-8")
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    argv = [sys.executable, "-m", "cord_distill.cli", "check", str(tmp_path / "r.yaml")]
    done = subprocess.run(argv, env=env, capture_output=True, text=True)
    assert "\\xe9\\u6570" in done.stdout and "Traceback" not in done.stderr


def test_check_writes_out_what_would_turn_the_text_on_a_terminal(tmp_path, capsys):
    """Fails the version that prints a recipe's text raw: U+202E shows the rest of a line from right to left."""
    (tmp_path / "r.yaml").write_text('name: r\ndecode: {step_instructions: "a\\u202eb"}\n')
    main(["check", str(tmp_path / "r.yaml")])
    out, err = capsys.readouterr()
    assert "\u202e" not in out + err and "u202e" in out.lower()


def tab(line: str, folder) -> list[str]:
    """What the Tab key offers behind `line`, as bash asks for it."""
    out = folder / "offered"
    environment = {
        **os.environ, "_ARGCOMPLETE": "1", "_ARGCOMPLETE_STDOUT_FILENAME": str(out), "_ARGCOMPLETE_IFS": "\n",
        "COMP_TYPE": "9", "COMP_LINE": line, "COMP_POINT": str(len(line)),
    }  # fmt: skip
    subprocess.run([sys.executable, "-m", "cord_distill.cli"], env=environment, check=True)
    return [word.strip() for word in out.read_text().split("\n")]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("cord ch", "check"),
        ("cord run quick", "quickstart"),
        ("cord run quickstart decode.budgets.max_step", "decode.budgets.max_step_tokens="),
        ("cord train quickstart train.learning_ra", "train.learning_rate="),
    ],
)
def test_the_tab_key_knows_commands_recipes_and_keys(line, offered, tmp_path):
    """Fails keys that are listed by hand, and a completion that no shell could be told of."""
    assert offered in tab(line, tmp_path)


def test_the_tab_key_offers_a_list_and_no_keys_of_its_entries():
    """`teachers.model=` is no override: an entry goes by its number. Fails the walk that looks into all types alike."""
    assert [override_keys(key) for key in ("teachers", "data.sources")] == [["teachers="], ["data.sources="]]
    assert override_keys("problems.hard_for.tr") == ["problems.hard_for.tries=", "problems.hard_for.trust_remote_code="]


def test_completion_prints_what_the_shell_is_to_run(capsys):
    for shell in ("bash", "zsh", "fish"):
        assert not main(["completion", shell])
        assert "_ARGCOMPLETE" in capsys.readouterr().out


def test_quiet_says_results_alone_and_verbose_lets_libraries_speak(tmp_path, weightless_models, monkeypatch, capsys):
    """Fails a flag that only this process knows: `cord run` hands it to its stages by the environment."""
    for name in ("CORD_VERBOSITY", "VLLM_LOGGING_LEVEL", "TRANSFORMERS_VERBOSITY", "WANDB_SILENT"):
        monkeypatch.setenv(name, "0" if name == "CORD_VERBOSITY" else "ERROR")
    path = str(write_recipe(tmp_path, weightless_models, problems=2))
    assert not main(["generate", path, "--no-check", "track.wandb.mode=disabled"])
    assert "decode cord: 2/2" in capsys.readouterr().err
    assert not main(["generate", path, "--no-check", "-q", "track.wandb.mode=disabled", "seed=1", "--overwrite"])
    out = capsys.readouterr()
    assert "decode cord" not in out.err and "trajectories  " in out.out
    assert os.environ["CORD_VERBOSITY"] == "-1"
    assert not main(["recipes", "-vv"])
    assert os.environ["VLLM_LOGGING_LEVEL"] == "DEBUG" and os.environ["CORD_VERBOSITY"] == "2"
    assert main(["generate", "nowhere", "-q"]) == 2 and "no such file" in capsys.readouterr().err
