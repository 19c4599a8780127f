"""kill -9 before every single touch of the disk while the data set and the report are written; then the stage is run
again, and what it leaves equals that of an undisturbed run."""

import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest
import yaml
from kill_child import decode
from kill_stage_child import stage

pytestmark = pytest.mark.slow

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["kill_child", "kill_stage_child"])
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])


def ended(target, *args) -> int:
    child = CONTEXT.Process(target=target, args=args)
    child.start()
    child.join(timeout=300)
    return child.exitcode


@pytest.fixture(scope="module")
def decoded(tmp_path_factory, random_models):
    """(recipe, folder of its decoded run)"""
    folder = tmp_path_factory.mktemp("stages")
    rows = [{"id": f"p{i}", "question": f"What is {i} mod 3?", "answer": i % 3} for i in range(12)]
    (folder / "problems.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    scripted = {"engine": "scripted", "script": "scripted_world:script"}
    recipe = {
        "teachers": [{"model": str(random_models[name]), "name": name, **scripted} for name in ("r1", "qwq")],
        "meta_prover": {"model": str(random_models["prover"]), **scripted},
        "problems": {"path": "problems.jsonl", "grader": "exact"},
        "decode": {"beam_size": 2, "budgets": {"reasoning_tokens": 300, "answer_tokens": 40, "max_step_tokens": 60}},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    assert ended(decode, str(path), str(folder / "run")) == 0
    return path, folder / "run"


def files(folder: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for name in names
        for file in sorted([folder / name] if (folder / name).is_file() else (folder / name).rglob("*"))
        if file.is_file()
    }


@pytest.mark.parametrize(
    ("name", "made"), [("data", ("dataset",)), ("report", ("summary.json", "report.html", "report.md"))]
)
def test_killed_before_every_touch_a_stage_run_again_leaves_what_an_undisturbed_one_does(decoded, tmp_path, name, made):
    """Fails the version that writes into place: a half-written file would stand there, or be taken for a whole one."""
    recipe, run = decoded

    def fresh() -> Path:
        # The same path every time: the data card and the report name it.
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        return Path(shutil.copytree(run, tmp_path / "run"))

    undisturbed = fresh()
    assert ended(stage, name, str(recipe), str(undisturbed), None) == 0
    whole = files(undisturbed, made)
    assert len(whole) >= 3
    before = set(files(run, ("",)))
    kills = 0
    while True:
        there = fresh()
        code = ended(stage, name, str(recipe), str(there), kills)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1
        # Whatever stands under its final name is whole, or is not there.
        assert all(content == whole[file] for file, content in files(there, made).items() if file in whole)
        assert ended(stage, name, str(recipe), str(there), None) == 0
        assert files(there, made) == whole
        left = {file for file in files(there, ("",)) if file not in before and file not in whole}
        assert not left, f"left behind by the killed run: {left}"
    assert kills >= 4
