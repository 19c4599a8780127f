"""Several processes share one run folder: the same rows as one process makes, whoever dies and whoever ends last."""

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from cord_distill.cli import main
from cord_distill.common.die_with_parent import PARENT
from cord_distill.common.errors import CordError
from cord_distill.decode.decode_stats import summed
from cord_distill.decode.generate import Decoded, generate, open_journal
from cord_distill.decode.pipelines.rivals import with_rivals
from cord_distill.decode.problems import load_candidates
from cord_distill.decode.subset import Subset
from cord_distill.recipe.file import load_recipe
from cord_distill.run_folder.journal import Claim, Journal
from cord_distill.run_folder.paths import RunFolder
from cord_distill.types import Problem

PROBLEMS = 24
HERE = Path(__file__).parents[1]


@pytest.fixture
def recipe_path(tmp_path, random_models):
    """Two scripted teachers, a scripted meta-prover, 24 problems."""
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


def ids(path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def problem(recipe, name: str) -> Problem:
    return next(one for one in load_candidates(recipe) if one.id == name)


class Other:
    """Another process's view of the run, as it would be on another machine: it holds some problems."""

    def __init__(self, recipe, *held: str) -> None:
        self.journal = open_journal(recipe)
        assert [self.journal.claim(problem(recipe, name)) for name in held] == [Claim.OURS] * len(held)


def test_what_another_process_holds_is_left_to_it_and_the_last_one_writes_the_files(recipe_path, whole, capsys):
    """Fails the version that decodes a held problem too, the one that writes files without its row, and the one that
    calls the stage done. The other process ends without a word; the next one takes its problem over."""
    recipe, run = load_recipe(recipe_path), RunFolder.of(load_recipe(recipe_path))
    other = Other(recipe, "p7")
    assert main(["generate", str(recipe_path)]) == 0
    said = capsys.readouterr()
    assert "1 problem is being decoded by other processes" in said.out and "Traceback" not in said.err
    assert not run.trajectories.exists() and not (run.root / "stages.json").exists()
    assert other.journal.claim(problem(recipe, "p3")) is Claim.FINISHED
    other.journal.close()
    assert main(["generate", str(recipe_path)]) == 0
    assert run.trajectories.read_text() == whole
    assert list(json.loads((run.root / "stages.json").read_text())) == ["generate"]


def test_with_nothing_open_no_engine_is_started(recipe_path, monkeypatch):
    """Fails the version that loads weights only to find that the others have every problem."""
    recipe = load_recipe(recipe_path)
    other = Other(recipe, *(f"p{i}" for i in range(PROBLEMS)))
    monkeypatch.setattr("cord_distill.decode.generate.start_ensemble", None)
    made = generate([recipe])
    assert (made.recipes, made.held) == ([], PROBLEMS)
    other.journal.close()


def test_a_problem_is_claimed_when_it_comes_in_and_not_before(recipe_path, whole, monkeypatch):
    """One that waits for room in the KV cache is free for another process. Fails the version whose first process
    claims as many problems as it has requests, and leaves none for the others."""
    recipe = load_recipe(recipe_path, ["teachers.0.engine_args.kv_tokens=1000"])
    run, seen = RunFolder.of(recipe), []
    monkeypatch.setattr(
        "cord_distill.decode.decode_all.with_rivals",
        lambda problem, here, outcome, real=with_rivals: (
            seen.append(len(list((run.journal / "open").glob("*.jsonl")))) or real(problem, here, outcome)
        ),
    )
    generate([recipe])
    assert 0 < max(seen) <= 4 and len(ids(run.trajectories)) == PROBLEMS


def test_cord_run_waits_for_the_others_before_its_next_stage(recipe_path, whole, monkeypatch):
    """Also where the other one dies with a problem in its hands. Fails the `cord run` that makes its data set of the
    rows so far."""
    recipe = load_recipe(recipe_path)
    other = Other(recipe, "p0", "p23")
    real, waited = asyncio.sleep, []

    async def sleep(seconds):
        if seconds == 0.25:
            waited.append(other.journal.close())
        await real(0 if seconds == 0.25 else seconds)

    monkeypatch.setattr("cord_distill.decode.decode_all.LOOK_AGAIN", 0.25)
    monkeypatch.setattr("cord_distill.decode.decode_all.asyncio.sleep", sleep)
    made = generate([recipe], wait=True)
    assert len(waited) == 1 and made.held == 0
    assert RunFolder.of(recipe).trajectories.read_text() == whole


def test_only_a_stage_of_cord_run_waits(recipe_path, monkeypatch):
    asked = []

    def generated(recipes, **options):
        asked.append(options["wait"])
        return Decoded([], 1)

    monkeypatch.setattr("cord_distill.decode.generate.generate", generated)
    assert main(["generate", str(recipe_path)]) == 0
    monkeypatch.setenv(PARENT, str(os.getppid()))
    assert main(["generate", str(recipe_path)]) == 0
    assert asked == [False, True]


def test_a_problem_that_fails_elsewhere_is_not_tried_again_in_the_same_run(recipe_path, tmp_path):
    """By the next run it is. Fails the version in which each of N processes tries every failing problem once."""
    recipe = load_recipe(recipe_path)
    first, second = Other(recipe, "p1").journal, Other(recipe).journal
    p1 = problem(recipe, "p1")
    first.finish(p1, {"id": "p1", "error": "EngineError: no"})
    assert second.claim(p1) is Claim.FINISHED
    assert Other(recipe).journal.claim(p1) is Claim.OURS


def test_the_figures_of_all_processes_are_summed_and_those_of_earlier_runs_are_not(recipe_path, whole, tmp_path):
    recipe, run = load_recipe(recipe_path), RunFolder.of(load_recipe(recipe_path))
    generate([recipe], part=Subset(limit=2))
    assert json.loads(run.generate_stats.read_text())["decoded_now"] == 2
    generate([recipe], part=Subset(limit=4))
    other = Other(recipe)  # from here on the processes overlap
    generate([recipe], part=Subset(limit=9))
    generate([recipe])
    stats = json.loads(run.generate_stats.read_text())
    assert (stats["decoded_now"], stats["problems"], stats["processes"]) == (20 + 2, PROBLEMS, 3)
    other.journal.close()
    assert run.trajectories.read_text() == whole
    one = {
        "seconds": 2.0,
        "start_seconds": 0.5,
        "resumed": False,
        "engine_steps": {"a": 2},
        "models": {"a": {"requests": 3}},
        "problems": 9,
        "decoded_now": 4,
    }
    assert summed([one]) == one
    two = summed([one, {**one, "models": {"a": {"requests": 2}, "b": {"requests": 1}}}])
    assert (
        two["seconds"] == 4.0
        and two["engine_steps"] == {"a": 4}
        and two["models"] == {"a": {"requests": 5}, "b": {"requests": 1}}
    )


def test_two_machines_whose_locks_do_not_reach_each_other_lose_nothing(recipe_path, whole, monkeypatch):
    """Both decode everything, as on a file system whose locks hold on one machine alone. Fails the version that writes
    both into one file, the one that ends when its answers' file is gone, and the one that puts a row twice."""
    recipe, run = load_recipe(recipe_path), RunFolder.of(load_recipe(recipe_path))
    monkeypatch.setattr("cord_distill.run_folder.calls_file.fcntl.flock", lambda file, how: None)
    finish, others = Journal.finish, []

    def beside(journal, problem, row):
        """The other machine finishes every problem just before this one does, under a name of its own."""
        if not others:
            others.append(open_journal(recipe))
        if journal is not others[0]:
            monkeypatch.setattr("cord_distill.run_folder.row_files.socket.gethostname", lambda: "b-other")
            others[0].calls(problem.id)
            finish(others[0], problem, row)
            monkeypatch.setattr("cord_distill.run_folder.row_files.socket.gethostname", lambda: "a-here")
        finish(journal, problem, row)

    monkeypatch.setattr("cord_distill.run_folder.journal.Journal.finish", beside)
    generate([recipe])
    rows = {path.name: len(path.read_bytes().splitlines()) for path in (run.journal / "rows").glob("*.jsonl")}
    assert rows == {"a-here.jsonl": PROBLEMS, "b-other.jsonl": PROBLEMS}
    assert run.trajectories.read_text() == whole


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
    assert generate([recipe], part=Subset(only=("p3",))).recipes == []
    assert path.read_text() == whole


def test_an_id_that_is_not_there_is_named_before_anything_starts(recipe_path, tmp_path):
    recipe = load_recipe(recipe_path)
    with pytest.raises(CordError, match=r"--only p99: in the recipe's problems .*did you mean 'p9'"):
        generate([recipe], part=Subset(only=("p99",)))
    assert not (tmp_path / "run").exists()


def test_the_commands(recipe_path, capsys):
    path = str(recipe_path)
    assert main(["generate", path, "--limit", "3"]) == 0
    assert main(["generate", path, "--limit", "0"]) == 2


def test_the_slurm_example_starts_one_process_per_node(tmp_path):
    """Fails the script that starts one process for the whole job, and the one that drops overrides."""
    script = HERE.parent / "docs/examples/slurm_generate.sh"
    (tmp_path / "srun").write_text('#!/bin/bash\necho "$@"\n')
    (tmp_path / "srun").chmod(0o755)
    slurm = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    said = subprocess.run(["bash", script, "my.yaml", "seed=1"], env=slurm, capture_output=True, text=True, check=True)
    assert said.stdout == "--kill-on-bad-exit=0 cord generate my.yaml seed=1\n"
    assert {"#SBATCH --nodes=8", "#SBATCH --ntasks-per-node=1"} <= set(script.read_text().splitlines())
