"""docs/your_own_task.md runs as it stands: its files are written from the page, its commands are the page's."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
from pathlib import Path

import pytest

from cord_distill.cli import main

PAGE = (Path(__file__).parents[2] / "docs/your_own_task.md").read_text()
COMMANDS = re.findall(r"^    cord (.*)", PAGE, re.M)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The page's three files, and its commands but the evaluation, run there."""
    folder = tmp_path_factory.mktemp("own")
    for name, text in re.findall(r"`([\w.]+)`[^\n]*:\n\n```\w+\n(.*?)```", PAGE, re.S):
        (folder / name).write_text(text)
    assert sorted(path.name for path in folder.iterdir()) == ["weekday.jinja", "weekday.py", "weekday.yaml"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        for command in COMMANDS[:-1]:
            assert main([*shlex.split(command), "track.wandb.mode=disabled"]) == 0, command
        yield folder


@pytest.fixture(scope="module")
def rows(folder):
    return [json.loads(line) for line in (folder / "outputs/weekday/trajectories.jsonl").open()]


def test_the_commands_are_those_of_a_whole_run_without_training():
    assert [f"{stage} weekday.yaml" for stage in ("models", "generate", "data", "evaluate")] == COMMANDS


def test_every_plug_in_of_the_page_was_used(folder, rows):
    """Fails a page whose grader or process check is named in the recipe and never asked."""
    assert len(rows) == 30 and not any(row["error"] for row in rows)
    slips = 0
    for row in rows:
        for one in row["candidates"][0]:
            slip = int(re.findall(r"mod 7 = (\d)", one["text"])[0]) != row["problem"]["meta"]["days"] % 7
            assert one["score"] == pytest.approx(math.exp(-2.0 if slip else -0.1), abs=1e-5)
            slips += slip
    assert slips > 10
    for row in rows:
        assert row["correct"] == any(c["score"] > 0.5 for c in row["candidates"][0])
    for row in rows:
        said = re.findall(r"\w+day", row["final_answer_text"])[-1]
        assert row["prediction"] == said and row["correct"] == (said == row["problem"]["answer"])
        assert row["checks"]["all_right"] == row["correct"]
    assert {step["teacher"] for row in rows for step in row["steps"]} == {"anna", "ben"}


def test_the_data_set_holds_the_right_rows(folder, rows):
    kept = [json.loads(line)["id"] for line in (folder / "outputs/weekday/dataset/train.jsonl").open()]
    assert sorted(kept) == sorted(row["id"] for row in rows if row["correct"])


def test_the_chat_template_of_the_page_is_the_one_in_the_prompt(folder):
    from cord_distill.prompts.render import load_renderer

    (qwq,) = folder.glob("outputs/models/*/qwq")
    renderer = load_renderer(str(qwq), system_prompt="", chat_template=str(folder / "weekday.jinja"))
    assert renderer.prompt_text("When?") == ("<|im_start|>user\nWhen?<|im_end|>\n<|im_start|>assistant\n<think>\n")
    assert renderer.end_of_turn == "<|im_end|>"


def test_the_benchmark_of_the_page_holds_other_problems_and_lighteval_sees_it(folder, rows):
    import weekday

    from cord_distill.evaluation.suites import find_suites, load_suite
    from cord_distill.recipe.file import load_recipe

    evaluate = load_recipe(folder / "weekday.yaml").evaluate
    loaded = load_suite(find_suites(evaluate)["weekday"], evaluate)
    assert len(loaded.problems) == 20
    assert not {p.id for p in loaded.problems} & {row["id"] for row in rows}
    right = f"so\n</think>\n\nIt is {loaded.problems[0].answer}."
    assert loaded.suite.load_grader()(right, loaded.problems[0]) == (loaded.problems[0].answer, True)
    assert weekday.grade("It is Monday", loaded.problems[0]) == (None, False)


@pytest.mark.slow
def test_the_evaluation_of_the_page_runs(folder):
    assert main([*shlex.split(COMMANDS[-1]), "track.wandb.mode=disabled"]) == 0
    results = json.loads((folder / "outputs/weekday/eval/before/results.json").read_text())
    assert results["suites"]["weekday"]["num_problems"] == 20 and results["suites"]["weekday"]["k"] == 2
    shutil.rmtree(folder / "outputs/weekday/eval")
