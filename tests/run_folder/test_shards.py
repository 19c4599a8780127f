"""Shards and parts of a run: the same rows as one run in any cutting, in any order, after any loss."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cord_distill.cli import main
from cord_distill.common.errors import CordError
from cord_distill.decode.generate import generate
from cord_distill.decode.merge import merge, summed
from cord_distill.decode.shards import Shard, Subset, shard_number
from cord_distill.recipe.file import load_recipe
from cord_distill.run_folder.journal import Journal
from cord_distill.run_folder.paths import RunFolder

PROBLEMS = 24
AGAIN = "cord generate recipe.yaml"


@pytest.fixture
def recipe_path(tmp_path, random_models, monkeypatch):
    """Two scripted teachers, a scripted meta-prover, 24 problems."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    rows = [{"id": f"p{i}", "question": f"What is {i} mod 3?", "answer": i % 3} for i in range(PROBLEMS)]
    (tmp_path / "problems.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    scripted = {"engine": "scripted", "script": "scripted_world:script"}
    recipe = {
        "output_dir": "run",
        "teachers": [{"model": str(random_models[name]), "name": name, **scripted} for name in ("r1", "phi4")],
        "meta_prover": {"model": str(random_models["prover"]), **scripted},
        "problems": {"path": "problems.jsonl", "grader": "exact"},
        "decode": {"beam_size": 2, "budgets": {"reasoning_tokens": 300, "answer_tokens": 40, "max_step_tokens": 60}},
        "track": {"wandb": {"mode": "disabled"}},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


@pytest.fixture
def whole(recipe_path, tmp_path) -> str:
    """trajectories.jsonl of one run, in a folder of its own."""
    recipe = load_recipe(recipe_path, [f"output_dir={tmp_path / 'whole'}"])
    generate([recipe])
    return RunFolder.of(recipe).trajectories.read_text()


def run_shards(recipe, count: int, numbers=None) -> None:
    for number in numbers or range(1, count + 1):
        generate([recipe], part=Subset(Shard(number, count)))


def ids(path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def test_every_problem_is_in_exactly_one_shard_the_same_on_every_machine():
    """Fails Python's own hash (another one in every process) and positions in the file (which move)."""
    assert [shard_number(f"p{i}", 8) for i in range(6)] == [5, 4, 5, 6, 3, 7]
    for count in (1, 3, 8):
        holders = [[n for n in range(1, count + 1) if Shard(n, count).holds(f"p{i}")] for i in range(200)]
        assert all(len(found) == 1 for found in holders)
        sizes = [sum(found == [n] for found in holders) for n in range(1, count + 1)]
        assert min(sizes) > 0.5 * 200 / count


@pytest.mark.parametrize("text", ["0/8", "9/8", "8", "3/", "a/b", "3/8/1", "-1/8", "1/0"])
def test_a_shard_that_does_not_exist_is_refused(text):
    with pytest.raises(CordError, match="give NUMBER/COUNT"):
        Shard.parse(text)


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_merged_shards_are_the_bytes_of_one_run(recipe_path, whole, count):
    """40 shards of 24 problems: some are empty. Fails the version that puts one shard's rows behind the other's."""
    recipe = load_recipe(recipe_path)
    numbers = sorted(range(1, count + 1), key=lambda n: n * 7 % (count + 1))
    run_shards(recipe, count, numbers)
    sizes = [len(ids(Shard(n, count).folder(RunFolder.of(recipe)).trajectories)) for n in range(1, count + 1)]
    assert sum(sizes) == PROBLEMS and (count < 40 or 0 in sizes)
    assert merge(recipe, AGAIN) == PROBLEMS
    assert RunFolder.of(recipe).trajectories.read_text() == whole


def test_shards_that_are_missing_or_torn_are_named_with_their_commands_and_can_be_redone(recipe_path, whole):
    """Fails the version that merges what there is. Nothing is copied before all are done."""
    recipe = load_recipe(recipe_path)
    run = RunFolder.of(recipe)
    run_shards(recipe, 4)
    shutil.rmtree(Shard(2, 4).folder(run).folder)
    torn = Shard(3, 4).folder(run).journal
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])
    with pytest.raises(CordError) as refused:
        merge(recipe, AGAIN)
    lines = str(refused.value).splitlines()[1:]
    assert lines[0] == f"  shard 2/4 is not there: {AGAIN} --shard 2/4"
    assert lines[1].startswith("  shard 3/4 lacks ") and lines[1].endswith(f": {AGAIN} --shard 3/4")
    assert len(lines) == 2 and not run.trajectories.exists()
    run_shards(recipe, 4, [3, 2])
    assert merge(recipe, AGAIN) == PROBLEMS
    assert run.trajectories.read_text() == whole


def test_after_the_merge_one_run_goes_on_without_decoding_again(recipe_path, whole, monkeypatch):
    """`cord generate`, which `cord run` starts, asks no engine; the shards' folders may be gone. Merging twice copies
    nothing."""
    recipe = load_recipe(recipe_path)
    run = RunFolder.of(recipe)
    run_shards(recipe, 3)
    merge(recipe, AGAIN)
    figures = run.generate_stats.read_text()
    assert merge(recipe, AGAIN) == 0
    shutil.rmtree(run.folder / "shards")
    monkeypatch.setattr("cord_distill.decode.generate.start_ensemble", None)
    assert generate([recipe]) == []
    assert run.trajectories.read_text() == whole and run.generate_stats.read_text() == figures


def test_figures_of_shards_are_summed(recipe_path, whole, tmp_path):
    recipe = load_recipe(recipe_path)
    run_shards(recipe, 3)
    merge(recipe, AGAIN)
    one, merged = (
        json.loads((folder / "generate_stats.json").read_text()) for folder in (tmp_path / "whole", tmp_path / "run")
    )
    assert merged["problems"] == merged["decoded_now"] == PROBLEMS and merged["shards"] == 3
    for name, meter in one["models"].items():
        same = {key: value for key, value in meter.items() if key != "request_seconds"}
        assert {key: merged["models"][name][key] for key in same} == same
    parts = [
        json.loads(path.read_text())["seconds"] for path in (tmp_path / "run/shards").glob("*/generate_stats.json")
    ]
    assert merged["seconds"] == round(sum(parts), 3)
    assert summed([{}, {"seconds": 2.5}]) == {"seconds": 2.5, "start_seconds": 0, "models": {}, "decoded_now": 0}


def test_two_shards_may_run_at_once_and_one_shard_only_once(recipe_path):
    """Fails one lock for the whole run folder, and none at all. Held by processes, as on two machines."""
    recipe = load_recipe(recipe_path)
    held = Journal(Shard(1, 2).folder(RunFolder.of(recipe)).journal, fingerprint="x", inputs={})
    command = [sys.executable, "-m", "cord_distill.cli", "generate", str(recipe_path), "--shard"]
    other, same = (
        # The scripts lie beside this file, and the working directory is searched for plug-ins.
        subprocess.run([*command, shard], capture_output=True, text=True, cwd=Path(__file__).parents[1])
        for shard in ("2/2", "1/2")
    )
    held.close()
    assert other.returncode == 0 and "decode cord" in other.stderr, other.stderr
    assert same.returncode == 2 and "another process is working" in same.stderr and "1-of-2" in same.stderr


def test_shards_of_another_recipe_are_refused(recipe_path):
    run_shards(load_recipe(recipe_path), 2)
    with pytest.raises(CordError, match=r"shards/1-of-2/.*changed since: decode\.beam_size"):
        merge(load_recipe(recipe_path, ["decode.beam_size=3"]), AGAIN)
    with pytest.raises(CordError, match=r"changed since: decode\.beam_size"):
        generate([load_recipe(recipe_path, ["decode.beam_size=3"])], part=Subset(Shard(1, 2)))


def test_two_cuttings_in_one_folder_need_a_word_and_no_shards_an_example(recipe_path, whole):
    recipe = load_recipe(recipe_path)
    with pytest.raises(CordError, match=r"no shards there; make them, e\.g\. cord generate recipe\.yaml --shard 1/2"):
        merge(recipe, AGAIN)
    run_shards(recipe, 2)
    run_shards(recipe, 3, [1])
    with pytest.raises(CordError, match=r"cut into 2 and into 3 shards; say which to merge, e\.g\. --shards 3"):
        merge(recipe, AGAIN)
    with pytest.raises(CordError, match="shard 2/3 is not there"):
        merge(recipe, AGAIN, count=3)
    assert merge(recipe, AGAIN, count=2) == PROBLEMS
    assert RunFolder.of(recipe).trajectories.read_text() == whole


def test_a_failed_problem_is_merged_as_one_run_records_it_and_again_when_it_was_mended(recipe_path, tmp_path):
    rows = [{"id": f"p{i}", "question": "bad" if i == 3 else f"fine {i}", "answer": 1} for i in range(6)]
    (tmp_path / "problems.jsonl").write_text("\n".join(map(json.dumps, rows)))
    broken = load_recipe(recipe_path, [f"teachers.{i}.script=scripted_world:broken" for i in range(2)])
    run = RunFolder.of(broken)
    run_shards(broken, 2)
    assert merge(broken, AGAIN) == 6
    errors = [json.loads(line)["error"] for line in run.trajectories.read_text().splitlines()]
    assert [bool(error) for error in errors] == [False, False, False, True, False, False]
    rows[3]["question"] = "mended"
    (tmp_path / "problems.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run_shards(broken, 2)
    assert merge(broken, AGAIN) == 1
    assert not any(json.loads(line)["error"] for line in run.trajectories.read_text().splitlines())


def test_only_and_limit_decode_a_part_and_lose_nothing(recipe_path, whole):
    """Fails the version that writes trajectories.jsonl anew with only the asked rows, or changes the fingerprint."""
    recipe = load_recipe(recipe_path)
    path = RunFolder.of(recipe).trajectories
    generate([recipe], part=Subset(only=("p7", "p3")))
    assert ids(path) == ["p3", "p7"]
    generate([recipe], part=Subset(limit=2))
    assert ids(path) == ["p0", "p1", "p3", "p7"]
    generate([recipe])
    assert path.read_text() == whole
    assert generate([recipe], part=Subset(only=("p3",))) == []
    assert path.read_text() == whole


def test_an_id_that_is_not_there_is_named_before_anything_starts(recipe_path, tmp_path):
    recipe = load_recipe(recipe_path)
    with pytest.raises(CordError, match=r"--only p99: in the recipe's problems .*did you mean 'p9'"):
        generate([recipe], part=Subset(only=("p99",)))
    number = shard_number("p0", 2)
    with pytest.raises(CordError, match=f"--only p0: in shard {3 - number}/2"):
        generate([recipe], part=Subset(Shard(3 - number, 2), only=("p0",)))
    assert not (tmp_path / "run").exists()


def test_the_commands(recipe_path, whole, capsys):
    path = str(recipe_path)
    assert main(["generate", path, "--shard", "1/2", "seed=0"]) == 0
    assert "shards/1-of-2/trajectories.jsonl" in capsys.readouterr().out
    assert main(["merge", path, "seed=0"]) == 2
    assert f"shard 2/2 is not there: cord generate {path} seed=0 --shard 2/2" in capsys.readouterr().err
    assert main(["generate", path, "--shard", "2/2"]) == 0
    assert main(["merge", path]) == 0
    assert f"{PROBLEMS} rows copied from shards" in capsys.readouterr().out
    assert RunFolder.of(load_recipe(path)).trajectories.read_text() == whole
    assert main(["generate", path, "--limit", "0"]) == 2
    assert main(["generate", path, "--shard", "3/2"]) == 2


def test_the_slurm_example_gives_each_task_its_shard(tmp_path):
    """Also when only some tasks run again. Fails the script that takes the number of tasks for the number of shards."""
    script = Path(__file__).parents[2] / "docs/examples/slurm_generate.sh"
    (tmp_path / "cord").write_text('#!/bin/bash\necho "$@"\n')
    (tmp_path / "cord").chmod(0o755)
    slurm = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "2"}
    said = subprocess.run(["bash", script, "my.yaml", "seed=1"], env=slurm, capture_output=True, text=True, check=True)
    assert said.stdout == "generate my.yaml seed=1 --shard 3/8\n"
    assert "#SBATCH --array=1-8\n" in script.read_text()


@pytest.mark.slow
def test_merged_shards_of_a_real_engine_are_the_bytes_of_one_run(random_models, tmp_path):
    """vLLM on CPU, deterministic: what a batch holds beside a request must not show in its tokens and scores."""
    rows = [{"id": f"p{i}", "question": f"What is {i} + {i}?", "answer": 2 * i} for i in range(10)]
    (tmp_path / "problems.jsonl").write_text("\n".join(map(json.dumps, rows)))
    recipe = {
        "teachers": [{"model": str(random_models["qwq"]), "name": "qwq", "max_num_seqs": 16}],
        "meta_prover": {"same_as": "qwq"},
        "problems": {"path": "problems.jsonl"},
        "decode": {"beam_size": 3, "budgets": {"reasoning_tokens": 96, "answer_tokens": 12, "max_step_tokens": 24}},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    one, cut = (load_recipe(tmp_path / "recipe.yaml", [f"output_dir={tmp_path / x}"]) for x in ("one", "cut"))
    generate([one])
    run_shards(cut, 2)
    merge(cut, AGAIN)
    made = RunFolder.of(one).trajectories.read_text()
    assert RunFolder.of(cut).trajectories.read_text() == made
    assert not any(json.loads(line)["error"] for line in made.splitlines())
