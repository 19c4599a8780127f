"""The stages after SFT for real: `accelerate launch train.py RECIPE stage=...` on a tiny student."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from test_sft import losses, run, start, write_recipe, write_rows
from trainings import training_at
from wandb_offline import read_all

from cord_distill.common.paths import bundled

ZERO2 = str(bundled("accelerate_configs") / "deepspeed" / "zero2.json")


def pairs(count: int) -> list[dict[str, Any]]:
    shared = "<think>\n### Step 1. so $\\frac{1}{2}$\n\n"
    return [
        {
            "prompt": [{"role": "user", "content": f"What is ${i}+{i}$?"}],
            "chosen": [{"role": "assistant", "content": f"{shared}### Step 2. twice {i} is {2 * i}\n\n"}],
            "rejected": [{"role": "assistant", "content": f"{shared}### Step 2. who knows, perhaps {i}\n\n"}],
            "kind": "step",
        }
        for i in range(count)
    ]


def recipe_with(folder: Path, student: Path, sections: dict[str, Any], **train: Any) -> Path:
    path = write_recipe(folder, student, **train)
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **sections}))
    return path


@pytest.mark.slow
def test_sft_then_preferences_then_a_teacher_under_zero2(tmp_path: Path, random_models: dict[str, Path]) -> None:
    """SFT, DPO on top of it, and then a teacher on the student's own answers, each with DeepSpeed through accelerate.

    Preferences: the margin between the sides rises from 0 and the loss falls from ln 2. Fails for a stage that starts
    from the base model (its W&B run would not name the SFT student), that trains the shared prefix, or that does
    nothing. Started once more, nothing is loaded.
    """
    often = {"max_steps": 8, "logging_steps": 1, "learning_rate": 3e-4, "warmup_steps": 0}
    path = recipe_with(
        tmp_path, random_models["r1"], {"dpo": often}, deepspeed=ZERO2, wandb="offline", save_total_limit=9
    )
    write_rows(tmp_path / "out/dataset/preferences.jsonl", pairs(24))
    assert "trained:" in run(path)
    said = run(path, "stage=dpo")
    assert "24 pairs (24 of steps)" in said
    folder = tmp_path / "out/dpo"
    done = json.loads((folder / "done.json").read_text())
    assert (done["steps"], done["rows"], done["zero_stage"]) == (8, 24, 2)
    curve, margins = losses(folder), losses(folder, "rewards/margins")
    assert curve[0] == pytest.approx(0.6931, abs=2e-3) and curve[-1] < curve[0] - 0.02
    assert margins[0] == pytest.approx(0, abs=1e-2) and margins[-1] > margins[0]
    given = (folder / "sample_row.txt").read_text()
    assert "### Step 1. so" in given.partition("--- chosen")[0] and "twice" in given.partition("--- chosen")[2]
    tracked = {made.config["recipe"]["stage"]: made for made in read_all(tmp_path / "out")}
    (name,) = [name for name, (kind, _) in tracked["dpo"].used.items() if kind == "model"]
    assert tracked["dpo"].used[name] == tracked["train"].made[name]
    before, after = (tmp_path / "out" / name / "final/model.safetensors" for name in ("checkpoints", "dpo"))
    assert before.read_bytes() != after.read_bytes()
    assert "already trained" in run(path, "stage=dpo")


@pytest.mark.slow
def test_the_student_comes_nearer_to_its_teacher_and_goes_on_after_a_kill(
    tmp_path: Path, random_models: dict[str, Path]
) -> None:
    """The teacher is the same model after SFT at a high rate: KL(student, teacher) on the student's samples falls.

    Then `kill -9` in the middle and the same command again: the losses of an undisturbed run, digit for digit, and the
    same weights. Fails for samples that are drawn anew after a resume, for TRL's 512 tokens, and for a prompt that is
    not the renderer's (the student would be asked without its `<think>`).
    """
    base = random_models["r1"]
    taught = write_recipe(tmp_path / "taught", base, max_steps=30, learning_rate=5e-3, save_strategy="no")
    run(taught)
    teacher = str(tmp_path / "taught/out/checkpoints/final")
    section = {
        "model_name_or_path": str(base), "teacher": teacher, "max_length": 96, "max_steps": 40, "logging_steps": 1,
        "learning_rate": 2e-3, "lr_scheduler_type": "constant", "save_steps": 4,
    }  # fmt: skip
    options = {"deepspeed": ZERO2, "save_total_limit": 9}
    whole = recipe_with(tmp_path / "whole", base, {"distil": section}, **options)
    said = run(whole, "stage=distil")
    assert "24 questions, answered by the student with up to" in said
    folder = tmp_path / "whole/out/distil"
    kl = losses(folder)
    assert len(kl) == 40 and sum(kl[-3:]) < 0.8 * sum(kl[:3])
    lengths = losses(folder, "completions/max_length")
    assert 0 < max(lengths) < 96
    assert "<think>" in (folder / "sample_row.txt").read_text()
    path = recipe_with(tmp_path / "killed", base, {"distil": section}, **options)
    resumed = tmp_path / "killed/out/distil"
    process = start(path, "stage=distil")
    for _ in range(12000):
        if training_at(resumed).checkpoints or process.poll() is not None:
            break
        time.sleep(0.05)
    ranks = psutil.Process(process.pid).children(recursive=True)
    for one in (*ranks, process):
        one.kill()
    process.wait()
    psutil.wait_procs(ranks, timeout=60)
    assert not (resumed / "done.json").exists(), "it was faster than the test; raise max_steps"
    assert "goes on from checkpoint-" in run(path, "stage=distil")
    assert losses(resumed) == kl
    assert losses(resumed, "num_tokens") == losses(folder, "num_tokens")
    assert (resumed / "final/model.safetensors").read_bytes() == (folder / "final/model.safetensors").read_bytes()
