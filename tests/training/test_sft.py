"""Training: what is found before torch is loaded, the rows as ids, and real runs of TRL on a tiny student.

The slow tests start `accelerate launch train.py` as users do; each start costs 20 to 60 s, so that each asserts a lot.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from trainings import checkpoint, training_at
from wandb_offline import read_run

from cord_distill.common.errors import CordError
from cord_distill.common.paths import bundled
from cord_distill.recipe.file import load_recipe
from cord_distill.training import plan as planned
from cord_distill.training.launch import accelerate_config, training_command
from cord_distill.training.memory.predict import model_states, predict
from cord_distill.training.memory.setup import Setup, Zero
from cord_distill.training.memory.shapes import shape_of
from cord_distill.training.run import train

ROOT = Path(__file__).resolve().parents[2]
COMPLETION = "<think>\n### Step 1. so $\\frac{1}{2}$\n\n### Step 2. wait, é≤5\n\n</think>\n\nThe answer is \\boxed{4}."


def row(question: str = "What is $2+2$?", completion: str = COMPLETION, system: str = "") -> dict[str, Any]:
    head = [{"role": "system", "content": system}] if system else []
    user = {"role": "user", "content": question}
    return {"prompt": [*head, user], "completion": [{"role": "assistant", "content": completion}]}


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def write_recipe(folder: Path, student: Path, rows: int = 24, **train: Any) -> Path:
    """A recipe with its data set in place, as after `cord generate`."""
    values = {
        "output_dir": str(folder / "out"),
        "track": {"wandb": {"mode": train.pop("wandb", "disabled")}},
        "train": {
            "model_name_or_path": str(student), "max_length": 512, "learning_rate": 1e-3, "max_steps": 6,
            "global_batch_size": 4, "gradient_checkpointing": False, "save_strategy": "steps", "save_steps": 2, **train,
        },
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(values))
    write_rows(folder / "out/dataset/train.jsonl", [row(f"What is ${i}+{i}$?" + " x" * (i % 5)) for i in range(rows)])
    return path


@pytest.fixture
def student(tmp_path: Path) -> Path:
    """Enough of a model folder for everything that happens before torch."""
    folder = tmp_path / "student"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def test_missing_data_names_the_command(tmp_path: Path, student: Path) -> None:
    path = write_recipe(tmp_path, student)
    (tmp_path / "out/dataset/train.jsonl").unlink()
    with pytest.raises(CordError, match=r"is not there: make it with cord generate recipes/x\.yaml"):
        planned.plan_training(load_recipe(path), "recipes/x.yaml")


def test_missing_model_is_named(tmp_path: Path, student: Path) -> None:
    with pytest.raises(CordError, match="nowhere"):
        planned.plan_training(load_recipe(write_recipe(tmp_path, tmp_path / "nowhere")))


def test_a_recipe_with_variants_needs_one(tmp_path: Path, student: Path) -> None:
    path = write_recipe(tmp_path, student)
    values = yaml.safe_load(path.read_text()) | {"variants": {"cord": {}, "curation": {"decode.pipeline": "curation"}}}
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(CordError, match=r"variants \(cord, curation\)"):
        planned.plan_training(load_recipe(path), "x.yaml")


def test_train_py_fails_before_anything_heavy_is_loaded() -> None:
    """Fails for a version that imports TRL (15 s) to say that a file is missing."""
    code = (
        "import sys, runpy\n"
        "sys.argv = ['train.py', 'recipes/r1_qwen_14b.yaml', 'output_dir=/nonexistent/run']\n"
        "try:\n    runpy.run_path('train.py', run_name='__main__')\n"
        "except SystemExit as e:\n    print('exit', e.code)\n"
        "print(sorted({'torch', 'transformers', 'trl', 'datasets', 'deepspeed'} & set(sys.modules)))\n"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "make it with cord generate recipes/r1_qwen_14b.yaml" in out.stderr
    assert out.stdout.splitlines() == ["exit 2", "[]"]


def test_bundled_recipes_ask_for_the_paper_batch() -> None:
    for size in ("7b", "14b", "32b"):
        recipe = load_recipe(f"r1_qwen_{size}")
        assert recipe.train["global_batch_size"] == 8
        assert recipe.meta_prover is not None and recipe.meta_prover.same_as == "qwq"
        assert Path(recipe.train["deepspeed"]).is_file()


def finished(made: planned.Plan) -> None:
    made.folder.begin(made.inputs, 1, 0)
    made.folder.final.mkdir(parents=True)
    (made.folder.final / "config.json").write_text("{}")
    made.folder.finish(made.inputs, loss=1.0)


def test_a_finished_training_is_recognised(tmp_path: Path, student: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fails for a version that trains again, or that takes a changed learning rate for the same training."""
    path = write_recipe(tmp_path, student)
    finished(planned.plan_training(load_recipe(path)))
    train(load_recipe(path))
    assert "already trained" in capsys.readouterr().out
    assert planned.plan_training(load_recipe(path, ["train.logging_steps=5"])).done
    assert planned.plan_training(load_recipe(path, ["train.resume_from_checkpoint=false"])).anew
    with pytest.raises(CordError, match=r"train\.learning_rate: 0\.001 -> 0\.1.*resume_from_checkpoint=false"):
        planned.plan_training(load_recipe(path, ["train.learning_rate=0.1"]))


def test_other_data_or_another_student_are_other_trainings(tmp_path: Path, student: Path) -> None:
    """Fails for a fingerprint of paths: the student is rebuilt under the same one."""
    path = write_recipe(tmp_path, student)
    finished(planned.plan_training(load_recipe(path)))
    (student / "config.json").write_text('{"a": 1}')
    with pytest.raises(CordError, match="student"):
        planned.plan_training(load_recipe(path))
    (student / "config.json").write_text("{}")
    write_rows(tmp_path / "out/dataset/train.jsonl", [row("other")])
    with pytest.raises(CordError, match="dataset"):
        planned.plan_training(load_recipe(path))


def test_another_number_of_ranks_is_refused_early(tmp_path: Path, student: Path, monkeypatch: Any) -> None:
    """Fails for a version that lets DeepSpeed find out after the model is loaded."""
    zero3 = bundled("accelerate_configs") / "deepspeed" / "zero3.json"
    made = planned.plan_training(load_recipe(write_recipe(tmp_path, student, deepspeed=str(zero3))))
    assert made.zero_stage == 3
    made.folder.begin(made.inputs, 2, 3)
    planned.plan_training(made.recipe)  # nothing is saved yet: nothing to resume
    checkpoint(made.folder.path, 2, deepspeed=True)
    with pytest.raises(CordError, match="written by 2 processes and this run has 1"):
        planned.plan_training(made.recipe)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert planned.plan_training(made.recipe).found.name == "partial"


def test_launch_command(tmp_path: Path, student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails for a command that leaves accelerate to guess (and print) values, or overrules the user's environment.
    Of the W&B mode the recipe's and the shell's, the stricter counts: an `online` left in a shell sends nothing."""
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "online")
    path = write_recipe(tmp_path, student, wandb="offline")
    argv, env = training_command(path, load_recipe(path), ["variant=cord", "train.seed=1"])
    assert argv[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    assert argv[-4:] == [str(bundled("train.py")), str(path), "variant=cord", "train.seed=1"]
    assert "--num_processes" in argv
    assert (env["WANDB_MODE"], env["HF_HUB_DISABLE_TELEMETRY"]) == ("offline", "1")
    argv, _ = training_command(path, load_recipe(path, ["launch.accelerate_config=zero3"]))
    assert argv[argv.index("--config_file") + 1] == str(accelerate_config("zero3"))
    with pytest.raises(CordError, match="zero3_offload"):
        accelerate_config("zero4")


def test_every_accelerate_config_is_readable() -> None:
    folder = bundled("accelerate_configs")
    configs = {p.stem: yaml.safe_load(p.read_text()) for p in folder.glob("*.yaml")}
    assert set(configs) >= {"cpu", "ddp", "zero2", "zero3", "zero3_offload", "zero3_sp", "multi_node"}
    for name, config in configs.items():
        if name.startswith(("zero3", "multi")):
            assert config["deepspeed_config"]["zero3_save_16bit_model"] is True


# --- rows as ids, on tokenizers with the manners of R1, QwQ and Phi-4


@pytest.fixture(scope="module")
def renderers(random_models: dict[str, Path]) -> dict[str, Any]:
    from cord_distill.prompts.render import load_renderer

    return {name: load_renderer(str(path), name=name) for name, path in random_models.items()}


NAMES = ["r1", "qwq", "phi4", "prover"]


@pytest.mark.parametrize("name", NAMES)
def test_mask_and_ids_are_token_exact(tmp_path: Path, renderers: dict[str, Any], name: str) -> None:
    """Fails for TRL's rendering of messages: the R1 template drops the thought; strings with BOS get a second one."""
    from cord_distill.training.rows import render

    renderer = renderers[name]
    path = write_rows(tmp_path / "train.jsonl", [row(), row("Another?")])
    out = render(path, renderer, max_length=512, max_tokens=None, context=4096)
    ids, labels = out.columns["input_ids"][0], out.columns["labels"][0]
    trained = [label for label in labels if label != -100]
    assert renderer.decode(trained) == COMPLETION.removeprefix("<think>\n") + renderer.end_of_turn
    template = renderer.tokenizer.apply_chat_template(
        renderer.messages("What is $2+2$?"), tokenize=False, add_generation_prompt=True
    )
    opened = template if template.rstrip().endswith("<think>") else template + "<think>\n"
    assert ids == renderer.encode(opened) + trained
    assert ids[: len(ids) - len(trained)] == renderer.prompt_ids("What is $2+2$?")
    assert renderer.decode(ids).rpartition("What is $2+2$?")[2].count("<think>") == 1
    bos = renderer.tokenizer.bos_token_id
    assert bos is None or ids.count(bos) <= 1
    assert trained[-1] == renderer.end_of_turn_id


def test_a_system_message_of_the_row_is_honoured(tmp_path: Path, renderers: dict[str, Any]) -> None:
    from cord_distill.training.rows import render

    path = write_rows(tmp_path / "train.jsonl", [row(system="Answer in verse."), row()])
    out = render(path, renderers["qwq"], max_length=512, max_tokens=None, context=None)
    first, second = (renderers["qwq"].decode(ids) for ids in out.columns["input_ids"])
    assert "Answer in verse." in first and "Answer in verse." not in second


def test_long_rows_are_an_error_unless_a_key_drops_them(tmp_path: Path, renderers: dict[str, Any]) -> None:
    """Fails for TRL's own way: rows are cut at max_length, the answer and EOS with them, without a word."""
    from cord_distill.training.rows import render

    long = COMPLETION.replace("wait", "wait " * 300)
    path = write_rows(tmp_path / "train.jsonl", [row(), row(completion=long)])
    renderer = renderers["r1"]
    with pytest.raises(CordError, match=r"1 of 2 rows \(50\.0 %\).*data\.filters\.max_tokens=128"):
        render(path, renderer, max_length=128, max_tokens=None, context=None)
    out = render(path, renderer, max_length=128, max_tokens=128, context=None)
    assert len(out.columns["labels"]) == 1 and sum(out.dropped.values()) == 1
    with pytest.raises(CordError, match="128 positions"):
        render(path, renderer, max_length=4096, max_tokens=None, context=128)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (row(completion="The answer is 4."), "thought is lost"),
        (row(completion="<think>\nnever closed"), "thought is lost"),
        (row(question="  "), "question is empty"),
        ({"messages": []}, "prompt"),
        ({"prompt": row()["prompt"] * 2, "completion": row()["completion"]}, "roles are"),
    ],
)
def test_bad_rows_name_their_line(tmp_path: Path, renderers: dict[str, Any], bad: dict[str, Any], says: str) -> None:
    """Fails for a version that trains on answers without their thought."""
    from cord_distill.training.rows import render

    path = write_rows(tmp_path / "train.jsonl", [row(), bad])
    with pytest.raises(CordError, match=f"line 2: .*{says}"):
        render(path, renderers["r1"], max_length=512, max_tokens=None, context=None)


def test_control_tokens_in_text_are_trained_as_text_and_counted(tmp_path: Path, renderers: dict[str, Any]) -> None:
    """Fails for a version that trains an end of turn in the middle of a thought."""
    from cord_distill.training.rows import render

    renderer = renderers["qwq"]
    stray = COMPLETION.replace("wait", f"wait {renderer.end_of_turn}")
    path = write_rows(tmp_path / "train.jsonl", [row(), row(completion=stray), row(question="What is <think>?")])
    out = render(path, renderer, max_length=512, max_tokens=None, context=None)
    assert len(out.columns["labels"]) == 3 and not out.dropped
    assert ", 2 with a control token written out as text" in out.summary
    assert [labels.count(renderer.end_of_turn_id) for labels in out.columns["labels"]] == [1, 1, 1]


def test_a_template_that_doubles_bos_is_an_error(tmp_path: Path, random_models: dict[str, Path]) -> None:
    from cord_distill.prompts.render import load_renderer
    from cord_distill.training.rows import render

    renderer = load_renderer(str(random_models["r1"]))
    renderer.tokenizer.chat_template = "{{ bos_token }}" + renderer.tokenizer.chat_template
    with pytest.raises(CordError, match="BOS stands 2 times"):
        render(write_rows(tmp_path / "t.jsonl", [row()]), renderer, max_length=512, max_tokens=None, context=None)


def test_sample_row_shows_both_parts_and_no_escape_codes(renderers: dict[str, Any]) -> None:
    from cord_distill.training.rows import sample_row, shortened

    ids, labels = renderers["r1"].training_ids("Q", "so \x1b[2J it is 4</think>4")
    sample = sample_row(renderers["r1"], ids, labels)
    assert "given, no loss" in sample and "trained (" in sample
    assert "\x1b" not in sample
    assert shortened(sample) == sample.rstrip().replace("\n\n", "\n")
    long = "\n".join(f"line {i} {'x' * 300}" for i in range(400)) + "</think>4"
    ids, labels = renderers["r1"].training_ids("Q", long)
    short = shortened(sample_row(renderers["r1"], ids, labels)).splitlines()
    assert len(short) <= 12 and max(map(len, short)) <= 110
    assert short[-1].endswith("</think>4<｜end▁of▁sentence｜>")
    assert "[... 396 lines]" in short


def test_training_progress_is_one_plain_line_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    """Fails for tqdm, which writes a line per step when stderr is a file; and for a resumed bar that begins at 0."""
    from types import SimpleNamespace

    from cord_distill.training.callbacks import Bar

    args = SimpleNamespace(disable_tqdm=False)
    state = SimpleNamespace(is_world_process_zero=True, max_steps=500, global_step=100)
    bar = Bar("train cord")
    bar.on_train_begin(args, state, None)
    for step in range(101, 501):
        state.global_step = step
        bar.on_step_end(args, state, None)
        bar.on_log(args, state, None, logs={"loss": 1.5, "learning_rate": 1e-5})
    bar.on_train_end(args, state, None)
    assert capsys.readouterr().err.splitlines() == ["train cord: 500/500 in 0 s"]


# --- real runs


def start(path: Path, *overrides: str, config: Path | None = None, probe: Path | None = None) -> subprocess.Popen[str]:
    """probe: a folder; tests/probed_train.py runs in place of train.py and writes what it saw there."""
    recipe = load_recipe(path)
    argv, env = training_command(path, recipe, overrides)
    if config is not None:
        argv = [*argv[:4], "--config_file", str(config), *argv[argv.index(str(bundled("train.py"))) :]]
    if probe is not None:
        argv[argv.index(str(bundled("train.py")))] = str(Path(__file__).parents[1] / "probed_train.py")
        env |= {"CORD_PROBE": str(probe), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        argv,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        cwd=path.parent,
    )


def run(path: Path, *overrides: str, config: Path | None = None, probe: Path | None = None) -> str:
    process = start(path, *overrides, config=config, probe=probe)
    out, _ = process.communicate(timeout=900)
    assert process.returncode == 0, out[-4000:]
    return out


def losses(folder: Path, key: str = "loss") -> list[float]:
    state = json.loads((training_at(folder).checkpoints[-1] / "trainer_state.json").read_text())
    return [entry[key] for entry in state["log_history"] if key in entry]


@pytest.mark.slow
def test_killed_and_started_again_under_zero(
    tmp_path: Path, random_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 in the middle, a half-written newest checkpoint, start again: the loss curve of an undisturbed run.

    Fails for a resume that loses the optimizer or the place in the data, and for one that takes the highest number. The
    finished folder is what vLLM and transformers need: whole safetensors, no pickle, the original template, EOS, the
    cache on. The offline W&B run holds recipe and curve. Started once more, nothing is loaded.
    """
    zero = str(bundled("accelerate_configs") / "deepspeed" / "zero3.json")
    options = {"deepspeed": zero, "max_steps": 8, "save_total_limit": 9}
    whole = write_recipe(tmp_path / "whole", random_models["r1"], wandb="offline", **options)
    out = run(whole)
    assert "FutureWarning" not in out and "following values were not passed" not in out
    path = write_recipe(tmp_path / "killed", random_models["r1"], **options)
    folder = tmp_path / "killed/out/checkpoints"
    process = start(path)
    for _ in range(6000):
        if training_at(folder).checkpoints or process.poll() is not None:
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "done.json").exists(), "it was faster than the test; raise max_steps"
    checkpoint(folder, 99, state="")
    assert "goes on from checkpoint-" in run(path)
    assert losses(folder) == losses(tmp_path / "whole/out/checkpoints")
    assert len(losses(folder)) == 8

    final = folder / "final"
    assert (final / "model.safetensors").is_file() and not list(final.glob("*.bin"))
    template = (random_models["r1"] / "chat_template.jinja").read_text()
    assert (final / "chat_template.jinja").read_text() == template
    assert json.loads((final / "config.json").read_text())["use_cache"] is True
    from transformers import AutoModelForCausalLM

    from cord_distill.prompts.render import load_renderer

    model = AutoModelForCausalLM.from_pretrained(final)
    before = AutoModelForCausalLM.from_pretrained(random_models["r1"]).state_dict()
    assert any(not before[key].equal(value) for key, value in model.state_dict().items())
    stops = model.generation_config.eos_token_id
    assert load_renderer(str(final)).end_of_turn_id in (stops if isinstance(stops, list) else [stops])
    config, history = read_run(tmp_path / "whole/out")
    assert config["recipe"]["train"]["global_batch_size"] == 4 and config["rows"] == 24
    logged = [entry for entry in history if "train/loss" in entry]
    assert [entry["train/loss"] for entry in logged] == losses(folder)
    assert [entry["train/global_step"] for entry in logged] == list(range(1, 9))
    assert {"train/learning_rate", "train/grad_norm", "train/num_tokens"} <= set(logged[0])
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", None)
    train(load_recipe(path))


def check_probes(folder: Path, student: Path, setup: Setup) -> None:
    """What each rank held at step 2, part by part, and the share of weights that ten updates at 5e-6 moved."""
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs

    shape = shape_of(str(student))
    predicted = model_states(shape, setup)
    if setup.zero.offload_optimizer:
        host = predict(shape, setup).host
        predicted |= {part: host[part] // setup.gpus for part in ("gradients", "optimizer")}
    for rank in range(setup.gpus):
        seen = json.loads((folder / f"probe-{rank}.json").read_text())
        assert seen["stage"] == setup.zero.stage
        assert {part: seen[part] for part in predicted} == pytest.approx(predicted, rel=0.02)
        assert (seen["master"], seen["touched"] > 10_000) == ("torch.float32", True)
        assert seen["changed"] > 0.9
    if setup.zero == Zero(3):  # counts 18 bytes per parameter, with gradients in float32, and one gathered layer
        _, theirs, layer = estimate_zero3_model_states_mem_needs(
            shape.parameters, shape.embedding, num_gpus_per_node=setup.gpus, cpu_offload=False
        )
        print(f"ZeRO-3 states: {sum(predicted.values())} bytes, DeepSpeed's estimator {theirs - layer} (+ {layer})")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddp", "zero2", "zero3", "zero3_sp", "zero3_offload"])
def test_two_processes_train_as_one(
    tmp_path: Path, random_models: dict[str, Path], tmp_path_factory: Any, name: str
) -> None:
    """Every config that can run on CPU (gloo), two ranks, against one process: same losses, one whole model.

    Fails for a batch that grows with the number of ranks, for ZeRO-3 that saves pieces, for a memory prediction that is
    off by one copy of anything, and for bf16 weights without masters, in which 5e-6 rounds to nothing.
    """
    if name == "zero3_offload" and not shutil.which("g++"):
        pytest.skip("DeepSpeed compiles its CPU optimizer (minutes, once): needs g++")
    student, alone = random_models["qwq"], tmp_path_factory.getbasetemp() / "alone"
    options = {"max_steps": 10, "save_steps": 10, "learning_rate": 5e-6, "pad_to_multiple_of": 128}
    if not alone.exists():
        run(write_recipe(alone, student, **options), probe=alone)
        check_probes(alone, student, Setup(gpus=1, half=False))
    half = name in ("zero2", "zero3", "zero3_offload")
    config = yaml.safe_load(accelerate_config(name).read_text())
    config |= {"num_processes": 2, "mixed_precision": "bf16" if half else "no", "use_cpu": True}
    if "parallelism_config" in config:
        config["parallelism_config"]["parallelism_config_sp_size"] = 2
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    path = write_recipe(tmp_path, student, **options, **({"bf16": True} if half else {}))
    run(path, config=tmp_path / "config.yaml", probe=tmp_path)
    folder = tmp_path / "out/checkpoints"
    assert json.loads((folder / "done.json").read_text())["world_size"] == 2
    # bf16 has 8 bits of precision. Sequence parallelism averages per micro-batch, not per token: equal only while the
    # rows are about equally long.
    within = 2e-2 if name == "zero3_sp" else 5e-3 if half else 1e-5
    for key in ("loss", "grad_norm"):
        assert losses(folder, key) == pytest.approx(losses(alone / "out/checkpoints", key), rel=within)
    stage = {"ddp": 0, "zero2": 2}.get(name, 3)
    zero = Zero(stage, offload_optimizer=name == "zero3_offload")
    check_probes(tmp_path, student, Setup(gpus=2, zero=zero, half=half))
    from safetensors.torch import load_file

    assert all(t.numel() for t in load_file(folder / "final/model.safetensors").values())


def greedy(model: Any, ids: list[int], count: int = 24) -> list[int]:
    import torch

    out = model.eval().generate(torch.tensor([ids]), max_new_tokens=count, do_sample=False, eos_token_id=-1)
    return out[0, len(ids) :].tolist()


@pytest.mark.slow
def test_lora_ends_as_one_merged_model(tmp_path: Path, random_models: dict[str, Path]) -> None:
    """`final/` and `cord export` of a checkpoint: whole models with the adapter's own greedy tokens, also under vLLM.

    Fails for a version whose `final/` is an adapter, which evaluation would take for a whole model, and for one that
    merges in another precision or forgets the scale alpha / r.
    """
    from cord_distill.cli import main

    targets = ["q_proj", "v_proj", "down_proj"]
    lora = {"use_peft": True, "lora_target_modules": targets, "lora_alpha": 64, "learning_rate": 0.02}
    path = write_recipe(tmp_path, random_models["qwq"], **lora)
    run(path)
    folder = tmp_path / "out/checkpoints"
    assert (folder / "adapter/adapter_model.safetensors").is_file()
    assert not (folder / "final/adapter_config.json").exists()
    assert main(["export", str(path), "--to", str(tmp_path / "last"), "--step", "6"]) == 0
    assert main(["export", str(path), "--to", str(tmp_path / "copy")]) == 0
    assert main(["export", str(path), "--to", str(tmp_path / "copy")]) == 2
    assert main(["export", str(path), "--to", str(tmp_path / "none"), "--step", "5"]) == 2
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from cord_distill.prompts.render import load_renderer

    ids = load_renderer(str(folder / "final")).prompt_ids("What is 1+1?")
    base = AutoModelForCausalLM.from_pretrained(random_models["qwq"])
    untrained = greedy(base, ids)
    adapted = greedy(PeftModel.from_pretrained(base, folder / "adapter"), ids)
    assert adapted != untrained
    for made in (folder / "final", tmp_path / "last", tmp_path / "copy"):
        assert greedy(AutoModelForCausalLM.from_pretrained(made), ids) == adapted
        assert not list(made.glob("*.bin"))
    assert vllm_greedy(folder / "final", ids) == adapted


def vllm_greedy(folder: Path, ids: list[int], count: int = 24) -> list[int]:
    """In a process of its own: an engine in this one would keep its memory for all later tests."""
    code = (
        "import json, sys\n"
        "from vllm import LLM, SamplingParams\n"
        "folder, ids, count = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])\n"
        "llm = LLM(folder, max_model_len=512, enforce_eager=True, dtype='float32')\n"
        "sampling = SamplingParams(temperature=0, max_tokens=count, ignore_eos=True)\n"
        "print('IDS', list(llm.generate([{'prompt_token_ids': ids}], sampling)[0].outputs[0].token_ids))\n"
    )
    argv = [sys.executable, "-c", code, str(folder), json.dumps(ids), str(count)]
    out = subprocess.run(argv, capture_output=True, text=True, timeout=600)
    assert out.returncode == 0, out.stderr[-3000:]
    return json.loads(out.stdout.rpartition("IDS ")[2])
