"""kill -9 of the whole process group, again and again; then the run is finished and compared with an undisturbed
one."""

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
import yaml
from journals import calls, written
from kill_child import decode

pytestmark = pytest.mark.slow


CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["kill_child"])
# The fork server looks for its preloads on PYTHONPATH alone, and says nothing when it finds none.
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])


def finished(recipe, output_dir) -> None:
    child = CONTEXT.Process(target=decode, args=(str(recipe), str(output_dir)))
    child.start()
    child.join(timeout=300)
    assert child.exitcode == 0


def killed_after_growth(recipe, output_dir, grow: int) -> bool:
    """Starts the run and kills its group once the journal has grown by `grow` bytes. False when it ended before."""
    journal = output_dir / "journal"
    before = written(journal)
    child = CONTEXT.Process(target=decode, args=(str(recipe), str(output_dir)))
    child.start()
    while child.is_alive():
        if written(journal) >= before + grow:
            os.killpg(child.pid, signal.SIGKILL)
            child.join()
            return True
        time.sleep(0.001)
    return False


def scripted_recipe(tmp_path: Path, random_models, delay: float) -> Path:
    """Two teachers and a prover that answer after `delay` seconds, 40 problems."""
    rows = [{"id": f"p{i}", "question": f"What is {i} mod 3?", "answer": i % 3} for i in range(40)]
    (tmp_path / "problems.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    scripted = {"engine": "scripted", "script": "scripted_world:script", "engine_args": {"delay": delay}}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        yaml.safe_dump(
            {
                "teachers": [{"model": str(random_models[n]), "name": n, **scripted} for n in ("r1", "qwq")],
                "meta_prover": {"model": str(random_models["prover"]), **scripted},
                "problems": {"path": "problems.jsonl", "grader": "exact"},
                "decode": {
                    "beam_size": 2,
                    "problems_in_flight": 4,
                    "budgets": {"reasoning_tokens": 400, "answer_tokens": 40, "max_step_tokens": 60},
                },
            }
        )
    )
    return recipe


def test_killed_at_twenty_random_places_the_scripted_run_loses_and_repeats_nothing(tmp_path, random_models):
    """Fails the version that resumes from the last finished problem only, and the one that asks finished calls
    again."""
    recipe = scripted_recipe(tmp_path, random_models, 0.02)
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    finished(recipe, undisturbed)
    size = written(undisturbed / "journal")
    rng = random.Random(0)
    kills = sum(killed_after_growth(recipe, disturbed, rng.randrange(size // 50)) for _ in range(20))
    assert kills == 20
    finished(recipe, disturbed)
    assert (disturbed / "trajectories.jsonl").read_bytes() == (undisturbed / "trajectories.jsonl").read_bytes()
    made = calls(disturbed / "journal")
    assert len(made) == len(set(made)) and sorted(made) == sorted(calls(undisturbed / "journal"))


def test_three_processes_of_which_one_is_killed_make_the_rows_of_one(tmp_path, random_models):
    """kill -9 in mid-run: its problems go to the other two, from the answers so far. Fails the version whose claims
    outlive their process, the one that begins such a problem anew, and the one in which each process makes files of
    its own rows."""
    recipe = scripted_recipe(tmp_path, random_models, 0.05)
    one, shared = tmp_path / "one", tmp_path / "shared"
    finished(recipe, one)
    children = [CONTEXT.Process(target=decode, args=(str(recipe), str(shared))) for _ in range(3)]
    for child in children:
        child.start()
    rows = shared / "journal/rows"
    while len(list(rows.glob("*.jsonl"))) < 3 or written(shared / "journal") < written(one / "journal") // 3:
        assert all(child.is_alive() for child in children)
        time.sleep(0.001)
    os.killpg(children[1].pid, signal.SIGKILL)
    for child in children:
        child.join(timeout=300)
    assert [child.exitcode for child in children] == [0, -signal.SIGKILL, 0]
    assert (shared / "trajectories.jsonl").read_bytes() == (one / "trajectories.jsonl").read_bytes()
    made = calls(shared / "journal")
    assert len(made) == len(set(made)) and sorted(made) == sorted(calls(one / "journal"))
    stats = json.loads((shared / "generate_stats.json").read_text())
    assert stats["processes"] == 2 and stats["decoded_now"] < 40


def test_killed_three_times_the_vllm_run_ends_with_the_same_bytes(tmp_path, random_models):
    rows = [{"id": f"p{i}", "question": f"Find $x_{i}$.", "answer": i} for i in range(10)]
    (tmp_path / "problems.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        yaml.safe_dump(
            {
                "teachers": [{"model": str(random_models[n]), "name": n, "max_num_seqs": 16} for n in ("r1", "phi4")],
                "meta_prover": {"same_as": "r1"},
                "problems": {"path": "problems.jsonl", "grader": "exact"},
                "decode": {
                    "beam_size": 2,
                    "budgets": {"reasoning_tokens": 120, "answer_tokens": 16, "max_step_tokens": 24},
                },
            }
        )
    )
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    finished(recipe, undisturbed)
    size = written(undisturbed / "journal")
    kills = [killed_after_growth(recipe, disturbed, size * part // 10) for part in (1, 3, 2)]
    assert all(kills)
    finished(recipe, disturbed)
    assert (disturbed / "trajectories.jsonl").read_bytes() == (undisturbed / "trajectories.jsonl").read_bytes()
