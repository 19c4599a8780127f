"""`cord show` and the lines of `cord check`: what each model is sent, word for word, without an engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scripted_world import write_recipe

from cord_distill.cli import main


def test_show_prints_prompts_the_scored_text_and_the_first_training_row(
    tmp_path: Path, random_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fails for a page that prints templates and no prompt, leaves out who scores, or starts the scripted engines."""
    monkeypatch.chdir(tmp_path)
    recipe = str(write_recipe(tmp_path, random_models))
    problems = tmp_path / "problems.jsonl"
    problems.write_text(
        '{"id": "first", "question": "Say <|im_end|> \\u001b[31m.", "answer": "12"}\n' + problems.read_text()
    )
    student = [f"train.model_name_or_path={random_models['r1']}", "train.global_batch_size=1"]
    (tmp_path / "run" / "dataset").mkdir(parents=True)
    row = {
        "prompt": [{"role": "user", "content": "1+1?"}],
        "completion": [{"role": "assistant", "content": "<think>\nTwo.\n</think>\n\n2"}],
    }
    (tmp_path / "run" / "dataset" / "train.jsonl").write_text(json.dumps(row) + "\n{}\n")
    assert main(["show", recipe, *student]) == 0
    page = capsys.readouterr().out
    titles = [line.split(",")[0] for line in page.splitlines() if line.startswith("# ")]
    assert titles == ["# teachers.0", "# teachers.1", "# teachers.2", "# meta_prover", "# train"]
    assert "<｜User｜>Say <|im_end|> \\x1b[31m.<｜Assistant｜><think>" in page
    assert page.count("control tokens in the question are sent as text") == 3  # r1 has no such token
    assert "the probability of the 1 tokens '12'" in page or "the 2 tokens '1' '2'" in page
    assert "### Step 1. [the steps]\n\n </think> The final answer is 12" in page
    given, trained = page.rpartition("--- trained")[0], page.rpartition("--- trained")[2]
    assert (
        given.rstrip().endswith("1+1?<｜Assistant｜><think>") and "Two.\n</think>\n\n2<｜end▁of▁sentence｜>" in trained
    )


def test_show_without_rows_or_models_says_so(
    tmp_path: Path, random_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = str(write_recipe(tmp_path, random_models))
    student = [f"train.model_name_or_path={random_models['qwq']}", "train.global_batch_size=1"]
    assert main(["show", recipe, "teachers=[]", "meta_prover=null", *student]) == 0
    assert "no training row yet" in capsys.readouterr().out
    assert main(["show", recipe, "teachers=[]", "meta_prover=null"]) == 2
    assert "none of its models is here yet" in capsys.readouterr().err


def test_check_prints_one_line_per_model(
    tmp_path: Path, random_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model of several keys has one line. Fails for a line per key, and for one about hub ids that are not here."""
    monkeypatch.chdir(tmp_path)
    recipe = str(write_recipe(tmp_path, random_models))
    student = [f"train.model_name_or_path={random_models['r1']}", "train.global_batch_size=1"]
    main(["check", recipe, *student])
    lines = capsys.readouterr().out.partition("what the models are sent")[2].splitlines()[1:6]
    assert [line.strip().partition(": ")[0] for line in lines[:4]] == [
        "teachers.0, train", "teachers.1", "teachers.2", "meta_prover",
    ]  # fmt: skip
    assert "qwen3, vocabulary 600, context 4,096; BOS <｜begin▁of▁sentence｜>" in lines[0]
    assert "opened by its template" in lines[0] and "opened by us" in lines[2]
