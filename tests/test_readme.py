"""README's blocks of commands run as they stand, one line after the other, in an empty folder.

The large models are scripted ones, and the student has random weights; everything else is real. Fails the page whose
lines are each a good command and lead nowhere together: training that asks for a data set which no line above makes.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

import pytest
import yaml
from journals import entries
from scripted_world import write_recipe

from cord_distill.cli import main

ROOT = Path(__file__).resolve().parents[1]
COMMAND = re.compile(r"(?:cord|make|accelerate) ")
SCRIPTED = {"engine": "scripted", "script": "scripted_world:script"}
# What runs elsewhere as it stands, or cannot run on a CPU.
NOT_HERE = {
    "make quickstart": "tests/run/test_quickstart.py",
    "make test": ".ci/run",
    "make install EXTRA=gpu": "the wheels of a GPU",
    "cord run smoke_real problems.path=questions.jsonl evaluate.data.aime24=aime24.jsonl": (
        "tests/run/test_quickstart.py, on real questions"
    ),
}
# What stands for the page's placeholders and for a recipe of three 32B teachers; and of the suites of `math` the one
# whose data is here.
WORDS = {
    "RECIPE": "mine.yaml",
    "r1_qwen_14b": "paper.yaml",
    "outputs/NAME": "outputs/mine",
    "A": "outputs/mine/eval/untrained",
    "B": "outputs/mine/eval/cord",
    "PATH": "student",
    "math": "aime24",
    "aime24=FILE": "aime24=held.jsonl",
}
# Settings that a line needs beside the recipe, since these stages are off by default or run without a recipe.
MORE = {
    "problems": [f"problems.hard_for={json.dumps({'model': './student', **SCRIPTED, 'min_reasoning_tokens': 1})}"],
    "evaluate --model": [f"evaluate.engine={json.dumps(SCRIPTED)}", "--samples", "1"],
    "ablate": ["output_dir=outputs/ablation"],
}


def blocks() -> list[list[str]]:
    """README's indented blocks that hold commands, without their comments; `a | b RECIPE` is two lines."""
    text = re.sub(r"```.*?```", "", (ROOT / "README.md").read_text(), flags=re.S)
    found = []
    for block in re.findall(r"(?:^    .*\n)+", text, re.M):
        lines = [" ".join(line.split("#")[0].split()) for line in block.splitlines()]
        made = []
        for line in filter(COMMAND.match, lines):
            program, *rest = line.split()
            several = re.match(r"(\w+(?: \| \w+)+) (.*)", " ".join(rest))
            made += [f"{program} {one} {several[2]}" for one in several[1].split(" | ")] if several else [line]
        found += [made] if made else []
    return found


def argv(line: str) -> list[str]:
    words = [WORDS.get(word, word) for word in shlex.split(line)[1:]]
    return [*words, *MORE.get(words[0], []), *MORE.get(" ".join(words[:2]), [])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, random_models):
    """Two recipes of one kind: `mine.yaml` for the list of commands, `paper.yaml` for the way to one's own GPUs."""
    folder = tmp_path_factory.mktemp("readme")
    rows = [{"id": f"h{i}", "problem": f"What is {i} mod 5?", "answer": str(i % 5)} for i in range(3)]
    (folder / "held.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "student").symlink_to(random_models["prover"])
    write_recipe(folder, random_models, problems=10)
    (folder / "q.jsonl").write_text((folder / "problems.jsonl").read_text())
    train = {"model_name_or_path": "./student", "max_length": 1024, "max_steps": 2, "per_device_train_batch_size": 2}
    evaluate = {"suites": ["aime24"], "data": {"aime24": "held.jsonl"}, "samples": 1, "max_new_tokens": 64}
    for name in ("mine", "paper"):
        recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
        recipe |= {"output_dir": f"outputs/{name}", "train": train, "data": {"filters": {"correct": False}}}
        recipe |= {"evaluate": {**evaluate, "engine": SCRIPTED}, "track": {"wandb": {"mode": "disabled"}}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    (folder / "ablations").mkdir()
    section = {"baseline": "wide", "seeds": [0], "tables": {"Search": ["wide", "narrow"]}}
    variants = {"wide": {}, "narrow": {"decode.beam_size": 1}}
    listed = {"extends": "../mine.yaml", "ablate": section, "variants": variants}
    (folder / "ablations/mine.yaml").write_text(yaml.safe_dump(listed))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
        yield folder


def sequence(holds: str) -> list[str]:
    """The block with this line."""
    (found,) = [block for block in blocks() if any(line.startswith(holds) for line in block)]
    return [line for line in found if line not in NOT_HERE]


def run(line: str, capsys) -> str:
    code = main(argv(line))
    said = capsys.readouterr()
    assert code == 0 and "Traceback" not in said.err, f"{line}: {said.err[-3000:]}"
    return said.out


def test_every_command_of_the_readme_is_in_a_sequence():
    """Fails a new block that no test runs."""
    run_here = {*sequence("cord check RECIPE"), *sequence("cord check r1_qwen_14b")}
    assert {line for block in blocks() for line in block} == run_here | {*NOT_HERE}
    assert "cord data RECIPE" in run_here and len(run_here) > 20


@pytest.mark.slow
def test_on_your_own_gpus_leads_to_an_evaluated_student(folder, capsys):
    """Fails training that wants `cord data` where no line above makes the data set."""
    rows = folder / "outputs/paper/trajectories.jsonl"
    seen = {}
    for line in sequence("cord check r1_qwen_14b"):
        run(line, capsys)
        seen[line] = rows.read_text().splitlines() if rows.exists() else []
    assert [len(found) for found in seen.values()] == [0, 8, 10, 10, 10]
    looked, whole = seen["cord generate r1_qwen_14b problems.limit=8"], seen["cord generate r1_qwen_14b"]
    assert whole[:8] == looked  # the first look is not decoded again
    results = json.loads((folder / "outputs/paper/eval/cord/results.json").read_text())
    assert results["suites"]["aime24"]["num_problems"] == 3


@pytest.mark.slow
def test_the_list_of_commands_runs_in_its_order(folder, capsys):
    """`cord run` does all; the single stages then find it done and leave it; what reads a run reads this one."""
    said = {}
    for line in sequence("cord check RECIPE"):
        said[line] = run(line, capsys)
        if line == "cord run RECIPE":
            asked = entries(folder / "outputs/mine/journal")
    assert entries(folder / "outputs/mine/journal") == asked  # no engine was asked anything again
    status = said["cord status outputs/NAME"]
    assert "decode cord: 10 of 10" in status and status.count(" done") == 4 and "again" not in status
    assert "everything that can be checked" in said["cord check RECIPE"]
    assert "3 problems" in said["cord compare A B"]
    for made in ("my.yaml", "outputs/mine/report.html", "outputs/mine/view.html", "outputs/ablation/ablations.md"):
        assert (folder / made).is_file(), made
