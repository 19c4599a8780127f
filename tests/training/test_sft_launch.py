"""Launches that need more than one command: two nodes, a kill under ZeRO-3 on two ranks, LoRA, a list of seeds.

Real runs of `accelerate launch train.py` and `cord run` on a tiny student, as in test_sft.py.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from test_sft import checkpoint, losses, run, start, write_recipe
from trainings import training_at

from cord_distill.common.paths import bundled
from cord_distill.training.launch import accelerate_config
from cord_distill.training.memory.predict import model_states
from cord_distill.training.memory.setup import Lora, Setup, Zero
from cord_distill.training.memory.shapes import shape_of

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def config_of(name: str) -> dict[str, Any]:
    return yaml.safe_load(accelerate_config(name).read_text())


def test_configs_that_need_gpus_are_made_of_parts_that_ran() -> None:
    """multi_node is zero3 on two nodes, zero3_offload_sp is zero3_sp with the offload: nothing else differs."""
    zero3, nodes = config_of("zero3"), config_of("multi_node")
    assert nodes["deepspeed_config"].pop("deepspeed_multinode_launcher") == "standard"
    assert nodes["deepspeed_config"] == zero3["deepspeed_config"]
    changed = {key for key in {*nodes, *zero3} if nodes.get(key) != zero3.get(key)}
    assert changed == {"main_process_ip", "main_process_port", "num_machines", "num_processes", "rdzv_backend"}
    both, sp = config_of("zero3_offload_sp"), config_of("zero3_sp")
    assert both["deepspeed_config"] == config_of("zero3_offload")["deepspeed_config"]
    assert {key for key in both if both[key] != sp[key]} == {"deepspeed_config"}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def config_file(folder: Path, name: str, **changes: Any) -> Path:
    """An accelerate config as it is shipped, but for two processes without a GPU."""
    config = config_of(name) | {"num_processes": 2, "mixed_precision": "bf16", "use_cpu": True} | changes
    path = folder / f"{name}-{config.get('machine_rank')}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.slow
def test_two_nodes_and_a_kill_under_zero3_give_one_loss_curve(tmp_path: Path, random_models: dict[str, Path]) -> None:
    """`multi_node` with two "nodes" on this machine, each with a launcher of its own; then ZeRO-3 on two ranks of one
    node, killed in the middle, its newest checkpoint half written, and started again: the same losses, digit for digit.

    Fails for a rank 0 per node (both would write), for ranks that outlive their launcher, for a resume that takes the
    highest number, and for one in which a rank's optimizer part, or the place in the data, is lost.
    """
    student, options = random_models["r1"], {"bf16": True, "max_steps": 8, "save_total_limit": 9}
    nodes = write_recipe(tmp_path / "nodes", student, **options)
    port = free_port()
    started = [
        start(nodes, config=config_file(tmp_path, "multi_node", machine_rank=rank, main_process_port=port))
        for rank in (0, 1)
    ]
    said = [process.communicate(timeout=900)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], said[0][-3000:] + said[1][-3000:]
    assert "trained:" in said[0] and "trained:" not in said[1]
    folder = tmp_path / "nodes/out/checkpoints"
    done = json.loads((folder / "done.json").read_text())
    assert (done["world_size"], done["zero_stage"], len(losses(folder))) == (2, 3, 8)

    path = write_recipe(tmp_path / "killed", student, **options)
    resumed, config = tmp_path / "killed/out/checkpoints", config_file(tmp_path, "zero3")
    process = start(path, config=config)
    for _ in range(12000):
        if training_at(resumed).checkpoints or process.poll() is not None:
            break
        time.sleep(0.05)
    kill_launcher(process)
    assert not (resumed / "done.json").exists(), "it was faster than the test; raise max_steps"
    half = checkpoint(resumed, 99, deepspeed=True)
    (half / "latest").unlink()
    assert "goes on from checkpoint-" in run(path, config=config)
    for key in ("loss", "grad_norm"):
        assert losses(resumed, key) == losses(folder, key)
    assert (resumed / "final/model.safetensors").read_bytes() == (folder / "final/model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("zero", [0, 3])
def test_ten_updates_change_the_adapters_and_nothing_else(
    tmp_path: Path, random_models: dict[str, Path], zero: int
) -> None:
    """LoRA on a frozen bf16 base at lr 5e-6: over 90 % of the adapters' float32 (master) weights move, no base weight.

    Fails for adapters that take the base's bf16 without masters (5e-6 rounds to nothing beside 0.1), and for a base
    that is trained too. The memory of both is the predicted one.
    """
    student = random_models["qwq"]
    lora = {"use_peft": True, "lora_r": 8, "lora_alpha": 16, "lora_dropout": 0.0, "lora_target_modules": [*TARGETS]}
    options = {"bf16": True, "learning_rate": 5e-6, "max_steps": 10, "save_steps": 10, **lora}
    if zero:
        options["deepspeed"] = str(bundled("accelerate_configs") / "deepspeed" / "zero3.json")
    run(write_recipe(tmp_path, student, **options), probe=tmp_path)
    seen = json.loads((tmp_path / "probe-0.json").read_text())
    shape = shape_of(str(student))
    assert (seen["stage"], seen["master"]) == (zero, "torch.float32")
    assert seen["changed"] > 0.9 and seen["touched"] > 5_000
    assert (seen["frozen"], seen["frozen_changed"]) == (shape.parameters, 0)
    predicted = model_states(shape, Setup(gpus=1, zero=Zero(zero), lora=Lora(8, TARGETS, 0.0)))
    assert {part: seen[part] for part in predicted} == pytest.approx(predicted, rel=0.02)


def kill_launcher(process: subprocess.Popen[str]) -> None:
    """`kill -9` of the launcher alone. Its ranks have sessions of their own; they must not train on."""
    ranks = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    gone, left = psutil.wait_procs(ranks, timeout=60)
    assert len(gone) >= 2 and not left


LIMO = [
    {
        "question": f"What is ${a}+{a}$? Think of {a} apples.",
        "solution": f"Okay, {a} and {a}.\n\nTwice {a} is {2 * a}.\n\n**Final Answer**\n\n\\boxed{{{2 * a}}}",
        "answer": str(2 * a),
    }
    for a in range(2, 18)
]


@pytest.mark.slow
def test_other_peoples_rows_are_trained_with_two_seeds_and_evaluated(
    tmp_path: Path, random_models: dict[str, Path]
) -> None:
    """`cord run` on rows of LIMO's format, no teacher: one data set, a student per seed, mean and interval over them.

    Fails for a list of seeds that trains twice the same (equal weights), or decodes or builds the data twice; and for a
    student whose `final/` vLLM cannot load. Run again, nothing runs.
    """
    (tmp_path / "limo.jsonl").write_text("".join(json.dumps(row) + "\n" for row in LIMO))
    problems = [{"id": f"p{n}", "problem": f"What is ${n}+1$?", "answer": str(n + 1)} for n in (31, 32)]
    (tmp_path / "aime.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems))
    recipe = tmp_path / "limo.yaml"
    recipe.write_text(
        "seed: [0, 1]\noutput_dir: ./out\n"
        "data: {sources: [{path: ./limo.jsonl, format: limo, licence: CC0}]}\n"
        f"train: {{model_name_or_path: {random_models['r1']}, max_length: 512, max_steps: 3, global_batch_size: 4,\n"
        "  save_strategy: 'no', learning_rate: 1.0e-3, gradient_checkpointing: false}\n"
        "evaluate: {suites: [aime24], data: {aime24: ./aime.jsonl}, samples: 2, max_new_tokens: 16, untrained: false,\n"
        "  engine: {dtype: float32, max_model_len: 512, kv_cache_gib: 0.1, engine_args: {enforce_eager: true}}}\n"
        "track: {wandb: {mode: disabled}}\n"
    )
    said = cord_run(recipe)
    out = tmp_path / "out"
    assert "data/sft" in said and "train/sft-seed-0" in said and "train/sft-seed-1" in said
    assert len((out / "dataset/train.jsonl").read_text().splitlines()) == len(LIMO)
    finals = [out / f"checkpoints/seed-{seed}/final/model.safetensors" for seed in (0, 1)]
    assert finals[0].read_bytes() != finals[1].read_bytes()
    summary = json.loads((out / "summary.json").read_text())
    student = summary["students"]["sft"]
    assert (student["num_seeds"], list(student["seeds"]), student["k"]) == (2, ["0", "1"], 2)
    assert student["avg_at_2"] == sum(run["avg_at_2"] for run in student["seeds"].values()) / 2
    assert "sft, mean of 2 seeds" in (out / "report.md").read_text()
    assert "| sft, mean of 2 seeds |" in (out / "eval/results.md").read_text()
    assert sorted(path.parent.name for path in out.glob("eval/*/results.json")) == ["sft-seed-0", "sft-seed-1"]
    written = [final.stat().st_mtime_ns for final in finals]
    assert "train/sft-seed-1: done before, skipped" in cord_run(recipe)
    assert [final.stat().st_mtime_ns for final in finals] == written


def cord_run(recipe: Path) -> str:
    argv = [sys.executable, "-m", "cord_distill.cli", "run", str(recipe)]
    out = subprocess.run(
        argv, cwd=recipe.parent, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert out.returncode == 0, out.stdout[-4000:]
    return out.stdout


def test_two_trainings_never_share_a_folder(tmp_path):
    """A requeued job beside the first. Fails the version that locks `cord run` alone: each deletes the other's
    checkpoints."""
    from types import SimpleNamespace

    from cord_distill.common.errors import CordError
    from cord_distill.training.run import _lock

    made = SimpleNamespace(stage="train", folder=SimpleNamespace(path=tmp_path / "checkpoints"))
    _lock(made)
    with pytest.raises(CordError, match="another process trains into it"):
        _lock(made)
    _lock(SimpleNamespace(folder=SimpleNamespace(path=tmp_path / "others")))
