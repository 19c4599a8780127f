"""Engines on a real Ray cluster of this machine, and what is left of a run when a part of it is killed: the same rows,
byte for byte, and nothing asked twice that had been answered."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from journals import calls, lines_of
from kill_child import decode_on_a_cluster
from processes import kill, wait_for
from ray_cluster import ENVIRONMENT, LoopbackCluster, loopback_cluster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra: pip install 'cord-distill[ray]'"),
]

PROBLEMS = 40
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["kill_child"])
# Both the fork server and the cluster's workers find the helpers of the tests there.
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])


@pytest.fixture(scope="module")
def cluster():
    with loopback_cluster(nodes=3) as made:
        yield made


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, random_models) -> Path:
    """Two teachers, the first also the meta-prover and twice there: three engines on three nodes of one CPU."""
    folder = tmp_path_factory.mktemp("recipe")
    rows = [{"id": f"p{i}", "question": f"What is {i} mod 3?", "answer": i % 3} for i in range(PROBLEMS)]
    (folder / "problems.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    scripted = {"engine": "scripted", "script": "scripted_world:script", "engine_args": {"delay": 0.05}}
    content = {
        "teachers": [
            {"model": str(random_models["r1"]), "name": "r1", **scripted},
            {"model": str(random_models["phi4"]), "name": "phi4", **scripted},
        ],
        "meta_prover": {"same_as": "r1"},
        "problems": {"path": "problems.jsonl", "grader": "kept_calls_grader:grade"},
        "decode": {
            "beam_size": 2,
            "problems_in_flight": 6,
            "request_timeout": 120,
            "budgets": {"reasoning_tokens": 400, "answer_tokens": 40, "max_step_tokens": 60},
        },
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


class Run:
    """`cord generate` in a process of its own. cluster None: engines inside it, as without a cluster."""

    def __init__(self, recipe: Path, folder: Path, cluster: LoopbackCluster | None, *overrides: str) -> None:
        self.journal = folder / "journal"
        self.rows = folder / "trajectories.jsonl"
        self.folder = folder
        self.log = folder.with_suffix(".log")
        on = [f"cluster={{address: '{cluster.address}'}}", "teachers.0.replicas=2"] if cluster else []
        arguments = (ENVIRONMENT, str(recipe), [f"output_dir={folder}", *on, *overrides], str(self.log))
        self.process = CONTEXT.Process(target=decode_on_a_cluster, args=arguments)
        self.process.start()

    def grown(self, lines: int) -> None:
        """Returns when so many lines more are in the journal."""
        before = self._lines()
        wait_for(lambda: self._lines() >= before + lines or not self.process.is_alive())
        assert self.process.is_alive(), self.said()

    def _lines(self) -> int:
        return lines_of(self.journal)

    def end(self) -> Run:
        self.process.join(timeout=900)
        assert self.process.exitcode == 0, self.said()
        return self

    def said(self) -> str:
        return self.log.read_text()

    def same_as(self, other: Run) -> None:
        assert self.rows.read_bytes() == other.rows.read_bytes()
        made = calls(self.journal)
        assert len(made) == len(set(made)) and sorted(made) == sorted(calls(other.journal))


@pytest.fixture(scope="module")
def undisturbed(recipe, tmp_path_factory) -> Run:
    return Run(recipe, tmp_path_factory.mktemp("undisturbed") / "run", None).end()


def test_an_engine_that_is_killed_costs_what_was_under_way(cluster, recipe, tmp_path, undisturbed):
    """Fails the version that gives the run up with its actor, and the one that asks answered calls again."""
    run = Run(recipe, tmp_path / "run", cluster)
    run.grown(200)
    engines = wait_for(lambda: len(found := cluster.engines()) == 3 and found)
    kill(engines[0])
    run.end().same_as(undisturbed)
    assert "asked again elsewhere" in run.said()
    stats = json.loads((run.folder / "generate_stats.json").read_text())["cluster"]
    assert {name: model["replicas"] for name, model in stats.items()} == {"r1": 2, "phi4": 1}
    assert wait_for(lambda: not cluster.engines()) is True, "engines outlive their run"


def test_three_drivers_write_the_rows_of_one_and_each_decodes_a_part(cluster, recipe, tmp_path, undisturbed):
    """Fails the version whose drivers decode the same problems, the one whose figures are those of one driver alone,
    and the one that grades outside the main thread of its process."""
    run = Run(recipe, tmp_path / "run", cluster, "cluster.drivers=3").end()
    run.same_as(undisturbed)
    rows = [path.read_bytes().splitlines() for path in (run.journal / "rows").glob("*.jsonl")]
    assert len(rows) > 1 and sum(map(len, rows)) == PROBLEMS, run.said()
    ours, others = (json.loads((one.folder / "generate_stats.json").read_text()) for one in (run, undisturbed))
    for key in ("problems", "decoded_now", "resumed"):
        assert ours[key] == others[key]
    for name, model in others["models"].items():
        for key in ("generated_tokens", "scores", "scored_tokens", "prompt_tokens"):
            assert ours["models"][name][key] == model[key], (name, key)
    assert not list(run.journal.glob(".drivers-*")) and not list((run.journal / "open").iterdir())


def test_a_driver_that_is_killed_costs_what_was_under_way(cluster, recipe, tmp_path, undisturbed):
    """Its problems are claimed by nobody as soon as it is dead. Fails the version that ends with it, and the one that
    leaves out its problems."""
    run = Run(recipe, tmp_path / "run", cluster, "cluster.drivers=3")
    run.grown(200)
    kill(cluster.drivers()[0])
    run.end().same_as(undisturbed)
    assert "started anew, its problems go on from the journal" in run.said()


def test_a_node_that_is_lost_is_replaced_by_one_that_joins_late(cluster, recipe, tmp_path, undisturbed):
    """Its model has no other replica and the cluster no room for one: it waits for the new node. Fails the version that
    counts a lost machine as the engine's fault, and the one whose pending replicas nobody starts."""
    run = Run(recipe, tmp_path / "run", cluster)
    run.grown(150)
    stats = run.folder / "generate_stats.json"
    lost = next(node for node in cluster.nodes if cluster.engines(node))
    cluster.kill_node(lost)
    cluster.add_node()
    run.end().same_as(undisturbed)
    assert sum(model["restarts"] for model in json.loads(stats.read_text())["cluster"].values()) == 1


def test_the_parent_that_is_killed_leaves_nothing_behind_and_goes_on_by_the_same_command(
    cluster, recipe, tmp_path, undisturbed
):
    """Its drivers are no processes of its own. Fails the version whose drivers go on asking for nobody."""
    first = Run(recipe, tmp_path / "run", cluster, "cluster.drivers=2")
    first.grown(150)
    assert cluster.drivers()
    os.killpg(first.process.pid, signal.SIGKILL)
    first.process.join()
    wait_for(lambda: not cluster.engines() and not cluster.drivers())
    second = Run(recipe, tmp_path / "run", cluster).end()
    second.same_as(undisturbed)


def test_an_engine_that_hangs_is_replaced(cluster, recipe, tmp_path, undisturbed):
    """A stopped process: it is there and answers nothing. Fails the version that waits for it for ever."""
    run = Run(recipe, tmp_path / "run", cluster, "decode.request_timeout=40")
    run.grown(150)
    os.kill(wait_for(cluster.engines)[0], signal.SIGSTOP)
    run.end().same_as(undisturbed)
    assert "no answer within 40 s" in run.said()


def test_cord_check_says_what_the_cluster_has_and_what_fits(cluster, recipe):
    command = [sys.executable, "-m", "cord_distill.cli", "check", str(recipe)]
    on = [f"cluster={{address: '{cluster.address}'}}", "teachers.0.replicas=5"]
    environment = {**os.environ, **ENVIRONMENT}
    done = subprocess.run([*command, *on], capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cluster: 4 nodes, 0 GPUs, 3 CPUs\n" in done.stdout
    assert "cluster: teachers.0 r1, 1 CPU each: 2 of 5 fit; the others start when nodes join\n" in done.stdout
    assert "cluster: teachers.1 phi4, 1 CPU each: 1 of 1 fit\n" in done.stdout


def test_real_engines_on_nodes_of_their_own_write_the_bytes_of_one_process(cluster, tmp_path, random_models):
    """vLLM, deterministic as on every CPU, and one of the three engines is killed."""
    rows = [{"id": f"p{i}", "question": f"Find $x_{i}$.", "answer": i} for i in range(10)]
    (tmp_path / "problems.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    small = {"max_num_seqs": 16, "kv_cache_gib": 0.1}
    content = {
        "teachers": [{"model": str(random_models[name]), "name": name, **small} for name in ("r1", "phi4")],
        "meta_prover": {"same_as": "r1"},
        "problems": {"path": "problems.jsonl", "grader": "exact"},
        "decode": {
            "beam_size": 2,
            "budgets": {"reasoning_tokens": 120, "answer_tokens": 16, "max_step_tokens": 24},
        },
    }
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(content))
    alone = Run(recipe, tmp_path / "alone", None).end()
    run = Run(recipe, tmp_path / "run", cluster)
    run.grown(30)
    kill(cluster.engines()[0])
    run.end().same_as(alone)


def test_an_evaluation_on_two_replicas_makes_the_samples_of_one_engine(cluster, tmp_path, random_models):
    """One replica is killed. Fails the version that evaluates in its own process, the one that gives up with the
    replica, and the one that makes a stored sample again."""
    rows = [{"id": f"p{i}", "problem": f"What is {i} mod 3?", "answer": str(i % 3)} for i in range(20)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [
        sys.executable,
        "-m",
        "cord_distill.cli",
        "evaluate",
        "--model",
        str(random_models["r1"]),
        "--suite",
        "sums",
    ]
    asked = [*command, "--data", f"sums={tmp_path / 'sums.jsonl'}", "--samples", "8"]
    environment = {**os.environ, **ENVIRONMENT}

    def evaluation(name: str, engine: str, *overrides: str) -> subprocess.Popen:
        scripted = f"evaluate.engine={{engine: scripted, script: 'scripted_world:script', {engine}}}"
        flags = [*asked, "--output", str(tmp_path / name), scripted, *overrides]
        return subprocess.Popen(flags, env=environment, stderr=subprocess.PIPE, text=True)

    alone = evaluation("alone", "engine_args: {delay: 0.5}")
    assert alone.wait(timeout=300) == 0, alone.stderr.read()
    engine = "engine_args: {delay: 0.5}, max_num_seqs: 2, replicas: 2"
    run = evaluation("run", engine, f"cluster={{address: '{cluster.address}'}}")
    samples = tmp_path / "run" / "eval" / "r1" / "samples.jsonl"
    wait_for(lambda: run.poll() is not None or (samples.exists() and lines_in(samples) >= 20))
    kill(wait_for(lambda: len(found := cluster.engines()) == 2 and found)[0])
    said = run.communicate(timeout=300)[1]
    assert run.returncode == 0 and "asked again elsewhere" in said, said
    assert lines_in(samples) == 160
    one, other = (tmp_path / name / "eval" / "r1" / "problems.jsonl" for name in ("alone", "run"))
    assert one.read_bytes() == other.read_bytes()


def test_a_lost_head_ends_the_command_with_one_sentence_and_costs_what_was_under_way(
    cluster, recipe, tmp_path, undisturbed
):
    """The last one, since it ends the cluster. Fails the version that Ray ends without a word, and the one that waits
    for ever."""
    folder = tmp_path / "run"
    on = [f"cluster={{address: '{cluster.address}'}}", "teachers.0.replicas=2", "decode.problems_in_flight=1"]
    command = [sys.executable, "-m", "cord_distill.cli", "generate", str(recipe), f"output_dir={folder}", *on]
    process = subprocess.Popen(command, env={**os.environ, **ENVIRONMENT}, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: process.poll() is not None or lines_of(folder / "journal") >= 100)
    cluster.kill_head()
    said = process.communicate(timeout=180)[1]
    assert process.returncode == 2, said
    sentence = said.strip().splitlines()[-1]
    assert "the cluster is gone: its head does not answer" in sentence and "run the same command" in sentence
    assert "Traceback" not in said
    after = Run(recipe, folder, None).end()
    assert after.rows.read_bytes() == undisturbed.rows.read_bytes()
    # The problem that was under way has a row with an error, and another one since.
    asked = [call for call in calls(after.journal) if call[1] != "row"]
    assert len(asked) == len(set(asked)) and set(asked) <= set(calls(undisturbed.journal))


def lines_in(path: Path) -> int:
    return path.read_bytes().count(b"\n")
