"""What a run is bound to: the contents of its problems and models, never the places where they lie."""

import json
import random
import shutil
from pathlib import Path

import pytest
import yaml
from journals import calls, cut_anywhere
from scripted_world import write_recipe

from cord_distill.common.errors import CordError
from cord_distill.decode.generate import generate
from cord_distill.decode.inputs import decode_inputs
from cord_distill.recipe.file import load_recipe
from cord_distill.run_folder.paths import RunFolder


@pytest.fixture
def project(tmp_path, random_models):
    """A folder with a recipe, its problems and copies of its models."""
    folder = tmp_path / "project"
    folder.mkdir()
    copies = {name: folder / "models" / name for name in random_models}
    for name, copy in copies.items():
        shutil.copytree(random_models[name], copy)
    path = write_recipe(folder, copies, problems=3)
    recipe = yaml.safe_load(path.read_text())
    for section in [*recipe["teachers"], recipe["meta_prover"]]:
        section["model"] = f"./models/{Path(section['model']).name}"
    path.write_text(yaml.safe_dump(recipe))
    return folder


def run(folder, *overrides):
    recipe = load_recipe(folder / "recipe.yaml", overrides)
    decoded = bool(generate([recipe]).recipes)
    return decoded, [json.loads(line) for line in RunFolder.of(recipe).trajectories.read_text().splitlines()]


def test_a_project_that_was_moved_goes_on_and_asks_nothing_twice(project, tmp_path, kept_calls):
    """Another mount point, a second clone; finished, or cut in the middle. Fails the fingerprint that holds absolute
    paths, and keys of calls that do."""
    decoded, rows = run(project)
    made = sorted(calls(project / "run" / "journal"))
    assert decoded and len(made) == len(set(made))
    moved = project.rename(tmp_path / "elsewhere")
    assert run(moved) == (False, rows)
    cut_anywhere(moved / "run" / "journal", random.Random(0))
    again = moved.rename(tmp_path / "yonder")
    assert run(again) == (True, rows) and sorted(calls(again / "run" / "journal")) == made
    (again / "problems.jsonl").rename(tmp_path / "other.jsonl")
    assert run(again, f"problems.path={tmp_path}/other.jsonl") == (False, rows)


@pytest.mark.parametrize("change", [{"question": "What is 2 mod 5?"}, {"answer": 7}, {"meta": {"a": 1}}])
def test_an_edited_problem_never_keeps_its_old_row(project, change, capsys):
    """Fails the version that keeps rows by id alone: the training set is then of other questions than the file."""
    _, before = run(project)
    path = project / "problems.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0] |= change
    path.write_text("\n".join(map(json.dumps, rows)))
    decoded, after = run(project)
    assert decoded and after[1:] == before[1:]
    for key, value in change.items():
        assert after[0]["problem"][key] == (str(value) if key == "answer" else value)
    assert "1 problem has another question or answer" in capsys.readouterr().err
    assert run(project) == (False, after)


def test_other_contents_under_the_same_path_are_another_recipe(project):
    plain = decode_inputs(load_recipe(project / "recipe.yaml"))
    config = project / "models" / "r1" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "extra": 1}))
    changed = decode_inputs(load_recipe(project / "recipe.yaml"))
    assert [key for key in plain if plain[key] != changed[key]] == ["teachers.0.model"]
    assert not any(str(project) in str(value) for value in plain.values())


def test_meta_that_is_nested_without_end_is_a_sentence(project):
    """Found by an attack: a row of 900 brackets ended in a RecursionError after its problem was decoded."""
    row = {"id": "a", "question": "q", "answer": 1}
    deep = json.dumps(row)[:-1] + ', "meta": {"x": ' + "[" * 900 + "]" * 900 + "}}"
    (project / "problems.jsonl").write_text(deep)
    with pytest.raises(CordError, match="row 1: meta is nested deeper than 50 levels"):
        run(project)
    (project / "problems.jsonl").write_text(json.dumps({**row, "meta": {"x": [[[1]]]}}))
    assert run(project)[0]
