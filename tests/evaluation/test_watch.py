"""Evaluation while training, and a training that is killed: real trainings, a real watcher, W&B read back.

Lazy versions that fail here: a watcher that takes half-written checkpoints, or one twice, or waits for ever when
training is over; a resume that begins a second W&B run or counts tokens from 0 again; late results on the trainer's
step axis; a watcher whose end takes the training with it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from trainings import training_at
from wandb_offline import OfflineRun, read_all

from cord_distill.cli import main
from cord_distill.common.errors import CordError
from cord_distill.evaluation.command import use_devices
from cord_distill.evaluation.evaluate import EvaluationPlan
from cord_distill.evaluation.targets import checkpoint_target, methods, training_of
from cord_distill.evaluation.watch import Watcher, _claimed
from cord_distill.recipe.experiment import Experiment
from cord_distill.recipe.file import load_recipe
from cord_distill.recipe.recipe import Recipe
from cord_distill.run.run import RunLog, _run_group
from cord_distill.run.stages import Stage, watch_command
from cord_distill.run_folder.checkpoints import step_of
from cord_distill.run_folder.paths import RunFolder
from cord_distill.training.export import write_model
from cord_distill.training.launch import training_command

ROOT = Path(__file__).resolve().parents[2]
COMPLETION = "<think>\n### Step 1. so 4\n\n</think>\n\nThe answer is \\boxed{4}."
# Answers 4, whatever is asked; slowly, so that it can be killed in between.
SCRIPT = """
import time
class Script:
    def generate(self, text, sampling):
        time.sleep(0.2)
        return "so 4</think>\\\\boxed{4}"
def script(renderer):
    return Script()
"""


def write_recipe(folder: Path, student: Path, **train: Any) -> Path:
    """A recipe with its data set in place, and a suite of two problems, one of which is answered by 4."""
    folder.mkdir(parents=True)
    problems = [{"id": str(n), "problem": f"What is {n} - {n} + {n}?", "answer": n} for n in (4, 5)]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems))
    (folder / "answers_four.py").write_text(SCRIPT)
    values = {
        "output_dir": str(folder / "out"),
        "train": {
            "model_name_or_path": str(student), "max_length": 512, "learning_rate": 1e-3, "max_steps": 6,
            "global_batch_size": 4, "gradient_checkpointing": False, "save_strategy": "steps", "save_steps": 2, **train,
        },
        "evaluate": {
            "suites": ["aime24"], "data": {"aime24": str(folder / "sums.jsonl")}, "samples": 2, "max_new_tokens": 16,
            "engine": {"engine": "scripted", "script": "answers_four:script"}, "untrained": False, "devices": [0],
        },
    }  # fmt: skip
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(values))
    rows = []
    for i in range(24):
        user = {"role": "user", "content": f"What is ${i}+{i}$?" + " x" * (i % 5)}
        rows.append({"id": f"r{i}", "prompt": [user], "completion": [{"role": "assistant", "content": COMPLETION}]})
    (folder / "out/dataset").mkdir(parents=True)
    (folder / "out/dataset/train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# Before anything heavy


def test_keys_that_contradict_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CordError, match="checkpoints: true"):
        load_recipe("quickstart", ["evaluate.when=with_training"])
    with pytest.raises(CordError, match="leaves none"):
        load_recipe("quickstart", ["evaluate.devices=[]"])
    assert main(["evaluate", "--watch", "--model", str(tmp_path), "--suite", "aime24"]) == 2


def test_the_watcher_and_the_training_share_the_gpus(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Numbers count among the visible ones, as torch counts; training gets the others, and as many processes."""
    recipe = load_recipe(
        "quickstart", ["evaluate.checkpoints=true", "evaluate.when=with_training", "evaluate.devices=[1]"], "cord"
    )
    monkeypatch.setattr("cord_distill.evaluation.command.has_gpu", lambda: False)
    use_devices(recipe)
    assert "left aside" in capsys.readouterr().out and "CUDA_VISIBLE_DEVICES" not in os.environ
    monkeypatch.setattr("cord_distill.evaluation.command.has_gpu", lambda: True)
    monkeypatch.setattr("cord_distill.training.launch.gpu_count", lambda: 3)
    monkeypatch.setenv("HF_HOME", "/nonexistent")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    argv, env = training_command("x.yaml", recipe)
    assert env["CUDA_VISIBLE_DEVICES"] == "4,6" and argv[argv.index("--num_processes") + 1] == "2"
    use_devices(recipe)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5"
    with pytest.raises(CordError, match="shows only 1"):
        use_devices(recipe)
    monkeypatch.setattr("cord_distill.run.stages.gpu_count", lambda: 3)
    with pytest.raises(CordError, match=r"on the same GPUs: give evaluate\.devices"):
        watch_command(Experiment.load("quickstart", ["evaluate.checkpoints=true", "evaluate.when=with_training"]))


def test_each_training_of_a_recipe_has_labels_of_its_own(tmp_path: Path) -> None:
    """Fails for eval/checkpoint-2 of two variants in one folder."""

    def labels(name: str, *overrides: str) -> list[str]:
        recipe = load_recipe(name, [f"output_dir={tmp_path}", *overrides])
        found = methods(recipe)
        return [checkpoint_target(recipe, training_of(recipe, run), Path("checkpoint-2")).label for run in found]

    assert labels("quickstart") == ["cord-checkpoint-2", "curation-checkpoint-2"]
    assert labels("r1_qwen_14b") == ["checkpoint-2"]
    assert labels("r1_qwen_14b", "seed=[0,1]") == ["cord-seed-0-checkpoint-2", "cord-seed-1-checkpoint-2"]


def python(code: str) -> tuple[list[str], dict[str, str]]:
    return [sys.executable, "-c", code], dict(os.environ)


def stage(tmp_path: Path, code: str) -> Stage:
    return Stage("train/x", lambda: "f", (tmp_path,), lambda: python(code))


def test_the_watcher_of_a_run_is_waited_for_and_its_failure_fails_nothing(tmp_path: Path, capsys: Any) -> None:
    """Fails for a run that goes on while a watcher holds the GPU, and for one that a killed watcher stops."""
    seen = tmp_path / "seen"
    watcher = python(f"import time, os; time.sleep(0.5); open({str(seen)!r}, 'w').close(); os.kill(os.getpid(), 9)")
    log = RunLog(tmp_path)
    _run_group([stage(tmp_path, "pass")], log, 1, watcher)
    assert seen.exists() and "train/x" in log.entries
    assert "the watcher stopped with exit code -9; what it left is evaluated after training" in capsys.readouterr().err
    seen.unlink()
    _run_group([stage(tmp_path, "pass")], log, 1, watcher)
    assert not seen.exists(), "nothing was to be trained, and nothing to be watched"


def test_a_training_that_fails_takes_its_watcher_with_it(tmp_path: Path) -> None:
    """Fails the version that waits until the watcher ends by itself."""
    ended = tmp_path / "ended"
    watcher = python(f"import time; time.sleep(60); open({str(ended)!r}, 'w').close()")
    with pytest.raises(CordError, match="train/x stopped with exit code 3"):
        _run_group([stage(tmp_path, "raise SystemExit(3)")], RunLog(tmp_path), 1, watcher)
    assert not ended.exists()


def adapter_checkpoint(folder: Path, base: Path) -> Path:
    """As LoRA leaves it: the adapter and the tokenizer, no whole model and no config.json."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(target_modules=["q_proj"]))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    (folder / "optimizer.pt").write_text("x")
    (folder / "trainer_state.json").write_text("{}")
    return folder


@pytest.mark.slow
def test_after_training_an_adapter_is_merged_and_one_that_is_broken_keeps_no_other_from_it(
    tmp_path: Path, random_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """`evaluate.checkpoints: true` with `when: after`. Fails for a version that gives engines the adapter's folder."""
    base = random_models["qwq"]
    path = write_recipe(tmp_path / "run", base)
    monkeypatch.syspath_prepend(path.parent)
    folder = tmp_path / "run/out/checkpoints"
    training_at(folder).begin({"lr": 1}, 1, 0)
    shutil.copytree(base, folder / "final")
    broken = adapter_checkpoint(folder / "checkpoint-2", base)
    (broken / "adapter_model.safetensors").write_text("no tensors")
    adapter_checkpoint(folder / "checkpoint-4", base)
    training_at(folder).finish({"lr": 1}, steps=4)
    (folder / ".evaluated/checkpoint-1").mkdir(parents=True)  # of a watcher that was killed
    command = ["evaluate", str(path), "evaluate.checkpoints=true", "track.wandb.mode=disabled"]
    assert main(command) == 1
    assert "evaluate checkpoint-2: failed:" in capsys.readouterr().err
    evaluation = tmp_path / "run/out/eval"
    assert sorted(p.parent.name for p in evaluation.glob("*/results.json")) == ["checkpoint-4", "cord"]
    results = json.loads((evaluation / "checkpoint-4/results.json").read_text())
    assert results["base"] == str(base) and results["suites"]["aime24"]["avg_at_k"] == 0.5
    assert list((folder / ".evaluated").glob("checkpoint-*")) == []
    assert sorted(p.name for p in (folder / "checkpoint-4").glob("*.safetensors")) == ["adapter_model.safetensors"]
    shutil.rmtree(broken)
    assert main(command) == 0
    assert "evaluate checkpoint-4: done before, unchanged" in capsys.readouterr().out


def whole_checkpoint(folder: Path, model: Path) -> Path:
    """A checkpoint as the trainer writes one, with the weights of `model`."""
    shutil.copytree(model, folder)
    (folder / "trainer_state.json").write_text("{}")
    (folder / "optimizer.pt").write_text("state")
    return folder


def test_what_is_evaluated_outlives_the_checkpoint(tmp_path: Path, random_models: dict[str, Path]) -> None:
    """Fails symbolic links, which point at nothing once training has deleted the checkpoint."""
    checkpoint = whole_checkpoint(tmp_path / "checkpoint-2", random_models["qwq"])
    weights = (checkpoint / "model.safetensors").read_bytes()
    write_model(checkpoint, tmp_path / "loadable", link=True)
    assert (tmp_path / "loadable/model.safetensors").samefile(checkpoint / "model.safetensors"), "nothing is copied"
    shutil.rmtree(checkpoint)
    assert (tmp_path / "loadable/model.safetensors").read_bytes() == weights
    assert not (tmp_path / "loadable/optimizer.pt").exists()


def test_without_hard_links_weights_are_copied(
    tmp_path: Path, random_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = whole_checkpoint(tmp_path / "checkpoint-2", random_models["qwq"])

    def refuse(*places: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    write_model(checkpoint, tmp_path / "loadable", link=True)
    copied = tmp_path / "loadable/model.safetensors"
    assert copied.read_bytes() == (checkpoint / "model.safetensors").read_bytes() and copied.stat().st_nlink == 1


def test_a_checkpoint_that_training_deletes_before_its_turn_is_no_failure(
    tmp_path: Path, random_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Fails the watcher that ends with 1, or that evaluates half of a model."""
    path = write_recipe(tmp_path / "run", random_models["qwq"])
    monkeypatch.syspath_prepend(path.parent)
    folder = tmp_path / "run/out/checkpoints"
    training_at(folder).begin({"lr": 1}, 1, 0)
    for step in (2, 4):
        whole_checkpoint(folder / f"checkpoint-{step}", random_models["qwq"])

    def deleted_first(source: Path, to: Path, **asked: Any) -> None:
        if source.name == "checkpoint-2":
            shutil.rmtree(source)
        write_model(source, to, **asked)

    monkeypatch.setattr("cord_distill.evaluation.watch.write_model", deleted_first)
    watcher = Watcher(EvaluationPlan.of(load_recipe(path, ["track.wandb.mode=disabled"])))
    assert (watcher.evaluate_new(), watcher.failed) == (1, [])
    assert "evaluate checkpoint-2: training deleted it before its turn" in capsys.readouterr().out
    assert [p.parent.name for p in (tmp_path / "run/out/eval").glob("*/results.json")] == ["checkpoint-4"]


def test_two_watchers_share_the_checkpoints(tmp_path: Path) -> None:
    """A killed watcher's claim ends with its process. Fails a file with a process number in it."""
    checkpoint = tmp_path / "checkpoint-2"
    code = f"""
from pathlib import Path; import time
from cord_distill.evaluation.watch import _claimed
with _claimed(Path({str(checkpoint)!r})) as folder:
    print(folder is not None, flush=True); time.sleep(600)
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert other.stdout is not None and other.stdout.readline().strip() == "True"
    with _claimed(checkpoint) as folder:
        assert folder is None
    killed(other)
    with _claimed(checkpoint) as folder:
        assert folder == tmp_path / ".evaluated/checkpoint-2"


# Real trainings


def started(path: Path, argv: list[str], env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    environment = {**(env or os.environ), "PYTHONPATH": os.pathsep.join([str(path.parent), str(ROOT)])}
    environment.pop("WANDB_SERVICE", None)  # one that another test of this process left behind
    out = open(path.parent / f"{len(list(path.parent.glob('*.log')))}.log", "w")  # noqa: SIM115 - the child writes it
    return subprocess.Popen(
        argv, env=environment, text=True, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, cwd=path.parent
    )


def training(path: Path) -> subprocess.Popen[str]:
    return started(path, *training_command(path, load_recipe(path)))


def watching(path: Path) -> subprocess.Popen[str]:
    return started(path, [sys.executable, "-m", "cord_distill.cli", "evaluate", str(path), "--watch"])


def wait_for(seen: Callable[[], Any], *processes: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 400
    while not seen():
        assert time.monotonic() < deadline
        assert all(p.poll() is None for p in processes), "it ended too early"
        time.sleep(0.05)


def killed(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def history(folder: Path) -> list[dict[str, Any]]:
    state = json.loads((training_at(folder).checkpoints[-1] / "trainer_state.json").read_text())
    return [entry for entry in state["log_history"] if "loss" in entry]


@dataclass
class Watched:
    """One undisturbed training beside which a watcher was killed and started again."""

    path: Path
    recipe: Recipe
    log: str
    first_results: int

    @property
    def out(self) -> Path:
        return RunFolder.of(self.recipe).root

    @property
    def runs(self) -> list[OfflineRun]:
        return read_all(self.out)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, random_models: dict[str, Path]) -> Watched:
    path = write_recipe(tmp_path_factory.mktemp("watched") / "run", random_models["r1"], save_total_limit=9)
    folder, evaluation = path.parent / "out/checkpoints", path.parent / "out/eval"
    process, watcher = training(path), watching(path)
    wait_for((folder / "training.json").exists, process, watcher)
    half = folder / "checkpoint-99"
    half.mkdir()
    (half / "model.safetensors").write_text("half")
    wait_for(lambda: (evaluation / "checkpoint-2/results.json").exists(), watcher)
    killed(watcher)
    first = (evaluation / "checkpoint-2/results.json").stat().st_mtime_ns
    assert process.wait(timeout=400) == 0, (path.parent / "0.log").read_text()[-3000:]
    again = watching(path)
    assert again.wait(timeout=400) == 0, (path.parent / "2.log").read_text()[-3000:]
    return Watched(path, load_recipe(path), (path.parent / "2.log").read_text(), first)


@pytest.mark.slow
def test_each_complete_checkpoint_is_evaluated_once_and_the_watcher_ends_with_the_training(watched: Watched) -> None:
    evaluation = watched.out / "eval"
    assert sorted(p.parent.name for p in evaluation.glob("*/results.json")) == [
        "checkpoint-2", "checkpoint-4", "checkpoint-6",
    ]  # fmt: skip
    assert (evaluation / "checkpoint-2/results.json").stat().st_mtime_ns == watched.first_results
    assert "evaluate checkpoint-2: done before, unchanged" in watched.log
    results = json.loads((evaluation / "checkpoint-6/results.json").read_text())
    assert (results["step"], results["suites"]["aime24"]["avg_at_k"], results["samples_made"]) == (6, 0.5, 4)
    assert "evaluate.devices is left aside: there is no GPU here" in watched.log
    rows = [line for line in (evaluation / "results.md").read_text().splitlines() if line.startswith("| checkpoint-")]
    assert rows[0].startswith("| checkpoint-2 | 50.0")
    # What was made to load a checkpoint is gone, and nothing was copied into it or written over.
    assert list((watched.out / "checkpoints/.evaluated").glob("checkpoint-*")) == []
    assert (watched.out / "checkpoints/checkpoint-6/model.safetensors").stat().st_nlink == 1


@pytest.mark.slow
def test_its_results_are_in_the_one_run_of_the_training_on_their_own_steps(watched: Watched) -> None:
    assert {run.id for run in watched.runs} == {json.loads((watched.out / "checkpoints/wandb.json").read_text())["id"]}
    steps = [step for run in watched.runs for step in run.column("checkpoint/step")]
    assert steps == [2, 4, 6]
    for run in watched.runs:
        if run.column("checkpoint/step"):
            assert run.column("checkpoint/aime24/avg_at_k") == [0.5] * len(run.column("checkpoint/step"))
            assert run.step_of["checkpoint/aime24/avg_at_k"] == "checkpoint/step"


@pytest.mark.slow
def test_the_run_of_the_training_says_what_it_took(watched: Watched) -> None:
    run = watched.runs[0]
    assert run.config["recipe"]["train"]["global_batch_size"] == 4 and run.config["rows"] == 24
    for key in ("train/loss", "train/learning_rate", "train/tokens_per_second", "train/peak_rss_gib"):
        assert len(run.column(key)) == 6 and all(value > 0 for value in run.column(key)[:-1]), key
    seen = run.column("train/num_tokens")
    assert seen == sorted(seen) and seen[0] > 100
    assert seen == [entry["num_tokens"] for entry in history(watched.out / "checkpoints")]
    assert run.column("row.nrows") == [1]
    assert set(run.used) == {"tiny-cord-dataset"}
    assert run.made["tiny-cord-model"][0] == "model"
    assert {"checkpoint-2", "checkpoint-4", "checkpoint-6", "final"} <= set(run.aliases["tiny-cord-model"])


@pytest.mark.slow
def test_killed_and_started_again_without_deepspeed(
    watched: Watched, tmp_path: Path, random_models: dict[str, Path]
) -> None:
    """kill -9, start again: the curve of the undisturbed run, tokens counted on, one W&B run, and the older checkpoint
    is deleted."""
    path = write_recipe(tmp_path / "run", random_models["r1"], save_total_limit=1)
    folder = tmp_path / "run/out/checkpoints"
    process = training(path)
    wait_for(lambda: training_at(folder).checkpoints, process)
    killed(process)
    assert not (folder / "done.json").exists(), "it was faster than the test; raise max_steps"
    first = training_at(folder).checkpoints[0]
    process = training(path)
    assert process.wait(timeout=400) == 0, (tmp_path / "run/1.log").read_text()[-3000:]
    assert f"goes on from {first.name}" in (tmp_path / "run/1.log").read_text()
    assert [p.name for p in folder.glob("checkpoint-*")] == ["checkpoint-6"]
    undisturbed = history(watched.out / "checkpoints")
    for key in ("step", "loss", "grad_norm", "learning_rate", "num_tokens"):
        assert [entry[key] for entry in history(folder)] == [entry[key] for entry in undisturbed], key
    before, after = read_all(tmp_path / "run/out")
    assert before.id == after.id
    resumed_at = step_of(first)
    assert after.column("train/global_step")[-1] == 6
    assert after.column("train/num_tokens") == [entry["num_tokens"] for entry in undisturbed[resumed_at:]]
