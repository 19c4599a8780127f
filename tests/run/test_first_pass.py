"""The first pass: a mistake that a later stage would trip over is named by `cord check`, `cord run` and `cord
generate` before anything is loaded."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml

from cord_distill.cli import main
from cord_distill.decode.generate import Decoded
from cord_distill.model_files.locate import models_folder
from cord_distill.recipe.file import load_recipe

MINE = """
def grade(text, problem):
    return None, False

def ask(n=2):
    return []

def build(folder, seed=0):
    pass

async def rate(problem, ensemble, steps, key, weight=1):
    pass
"""


@pytest.fixture
def recipe(tmp_path, random_models):
    """A whole recipe of local folders in which everything is in order; gives its path."""
    rows = [{"id": f"p{i}", "question": f"What is {i} mod 3?", "answer": i % 3} for i in range(4)]
    held = [{"id": f"h{i}", "problem": f"What is {i} mod 5?", "answer": i % 5} for i in range(3)]
    (tmp_path / "problems.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "held.jsonl").write_text("\n".join(json.dumps(row) for row in held))
    (tmp_path / "mine.py").write_text(MINE)
    two = [
        {"question": f"What is{blank}1/2?", "answer": known}
        for blank, known in ((" ", "0.5"), ("  ", "1/2"), (" ", "2"))
    ]
    (tmp_path / "two.jsonl").write_text("\n".join(map(json.dumps, two)))
    (tmp_path / "agree.jsonl").write_text("\n".join(map(json.dumps, two[:2])))
    chat = [{"role": "user", "content": "What is 1/2?"}]
    (tmp_path / "chats.jsonl").write_text(json.dumps({"question": chat, "answer": "0.5"}))
    (tmp_path / "a_model").mkdir()
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "a_model" / "config.json").write_text("{}")
    (tmp_path / "odd.yaml").write_text("num_proceses: 2\ndeepspeed_config: {zero_stge: 2}\n")
    (tmp_path / "stage7.json").write_text('{"zero_optimization": {"stage": 7}}')
    (tmp_path / "broken.json").write_text('{"zero_optimization":\n {"stage" 2}}')
    (tmp_path / "broken.py").write_text("def grade(text, problem)\n")
    made = {
        "output_dir": "run",
        "teachers": [{"model": str(random_models[name]), "name": name} for name in ("r1", "qwq")],
        "meta_prover": {"same_as": "qwq"},
        "problems": {"path": "problems.jsonl"},
        "decode": {"budgets": {"reasoning_tokens": 64, "answer_tokens": 32, "max_step_tokens": 32}},
        "train": {"model_name_or_path": str(random_models["prover"]), "max_length": 512},
        "evaluate": {"suites": ["math_500"], "data": {"math_500": "held.jsonl"}},
        "track": {"wandb": {"mode": "disabled"}},
    }
    path = tmp_path / "base.yaml"
    path.write_text(yaml.safe_dump(made))
    return path


def test_a_recipe_in_order_passes_and_says_what_was_looked_at(recipe, capsys):
    assert main(["check", str(recipe)]) == 0
    out = capsys.readouterr().out
    assert "looked at: 4 problems, 3 model folders" not in out and "looked at: 4 problems, 2 model folders" in out
    assert "suites math_500" in out and "not looked up" not in out


def test_numbers_in_quotes_are_numbers(recipe, capsys):
    """YAML reads 1e-5 as a text too. Fails the plan that formats the text as a number."""
    quoted = ["train.num_train_epochs='3'", "train.learning_rate='1e-5'", "train.save_steps='0.5'"]
    shares = [f"teachers.{i}.gpu_memory_utilization=0.4" for i in (0, 1)]
    for further in ([], ["--gpus", "1", *shares]):
        assert main(["check", str(recipe), *further, *quoted]) == 0, capsys.readouterr().err


ADAPTERS = ["[all-linear]", "[q_proj, v_proj]", "['.*_proj']"]


@pytest.mark.parametrize("targets", ADAPTERS)
def test_targets_of_lora_that_are_there_pass(recipe, targets, capsys):
    """Fails the check that knows one of PEFT's three ways of naming modules."""
    adapter = ["train.use_peft=true", f"train.lora_target_modules={targets}", "train.lora_r=8"]
    assert main(["check", str(recipe), *adapter]) == 0, capsys.readouterr().err
    assert main(["check", str(recipe), *adapter, "train.use_peft=false"]) == 0, "LoRA is switched off on purpose"


def test_the_pass_loads_no_torch_and_no_engine(recipe):
    code = (
        "import sys; from cord_distill.cli import main; assert main(['check', sys.argv[1]]) == 0\n"
        "print([m for m in ('torch', 'transformers', 'vllm', 'trl', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(recipe)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


MISTAKES = [
    (["evaluate.suites=[math500]"], "did you mean 'math_500'?"),
    (["evaluate.data.aime24=held.jsonl"], "evaluate.data.aime24"),
    (["evaluate.data.math_500=problems.jsonl"], "problems.jsonl, row 1: no column 'problem'"),
    (["evaluate.tasks=[./gone.py]"], "evaluate.tasks: "),
    (["evaluate.tasks=[./broken.py]"], "broken.py, line 1"),
    (["evaluate.engine.tensor_paralel_size=2"], "did you mean 'tensor_parallel_size'?"),
    (["evaluate.models=[{model: ./gone}]"], "evaluate.models.0.model"),
    (["train.deepspeed=./gone.json"], "train.deepspeed"),
    (["launch.accelerate_config=zero33"], "launch.accelerate_config: 'zero33'"),
    (["train.model_name_or_path=null"], "train.model_name_or_path is missing"),
    (["train.model_name_or_path=./gone"], "train.model_name_or_path"),
    (["train.global_batch_size=7", "train.per_device_train_batch_size=2"], "is not a multiple"),
    (["train.max_length=16"], "train.max_length 16 is less than a row may have"),
    (["train.hub_token=hf_SECRET"], "keys come from the environment"),
    (["train.bf16=maybe"], "'maybe' does not fit"),
    (["train.eval_strategy=steps"], "no rows are held back"),
    (["train.learning_rate=fast"], "'fast' does not fit float"),
    (["train.dtype=bfloat16"], "without float32 masters"),
    (
        ["train.gradient_checkpointing_kwargs={every_n_layer: 2}"],
        "every_n_layer: torch's checkpointing has no such key",
    ),
    (["train.learning_rate=-1"], "train.learning_rate: learning_rate -1 is out of range: give 0 or more"),
    (["train.learning_rate='-1e-5'"], "train.learning_rate: learning_rate -1e-5 is out of range"),
    (["train.weight_decay=.nan"], "train.weight_decay: weight_decay nan is no finite number"),
    (["train.per_device_train_batch_size=0"], "give 1 or more"),
    (["train.max_steps=0"], "give 1 or more, or -1 to go by num_train_epochs"),
    (["train.num_train_epochs=-1"], "give more than 0"),
    (["train.save_total_limit=-3"], "or null to keep every checkpoint"),
    (["train.save_steps=1.5"], "give a whole number of steps, or a share"),
    (["train.optim_args=foo"], "write them as name=value,name=value"),
    (["train.attn_implementation=flash_atention"], "did you mean 'flash_attention_"),
    (["train.attn_implementation=flash_attention_2"], "needs the package flash_attn"),
    (["train.dataloader_prefetch_factor=2"], "set train.dataloader_num_workers, or remove the key"),
    (["train.lora_r=16"], "train.lora_r: without train.use_peft=true"),
    (["train.use_peft=true", "train.lora_target_modules=[query_key_value]"], "has no module 'query_key_value'"),
    (["train.use_peft=true", "train.lora_target_modules=[q_prj, v_proj]"], "did you mean 'q_proj'?"),
    (["train.use_peft=true", "train.lora_target_modules=[q_proj]"], "write ['.*\\.q_proj']"),
    (["train.deepspeed=zero-3"], "did you mean 'zero3'?"),
    (["train.deepspeed=stage7.json"], "zero_optimization.stage is 7; write 0, 1, 2 or 3"),
    (["train.deepspeed=broken.json"], "broken.json is no JSON (line 2: "),
    (["dpo={learning_rate: -1}", "data.preferences={}"], "dpo.learning_rate: learning_rate -1 is out of range"),
    (["dpo={lora_r: 8}", "data.preferences={}"], "dpo.lora_r: without dpo.use_peft=true"),
    (["launch.accelerate_config=odd.yaml"], "'num_proceses' is no key of accelerate; did you mean 'num_processes'?"),
    (["launch.accelerate_config=odd.yaml"], "deepspeed_config: 'zero_stge' is no key of accelerate"),
    (["launch.args=[--num_proceses, '2']"], "'--num_proceses' is no flag of accelerate launch; did you mean"),
    (["launch.args=[zero3]"], "'zero3' would be taken for the script"),
    (["evaluate.suites=[pubmedqa_open]", "evaluate.data=null"], "suite pubmedqa_open: a model judges its answers"),
    (["evaluate.engine.devices=[0]"], "evaluate.engine.devices [0]: this machine has no GPU"),
    (["evaluate.engine.max_model_len=64"], "holds no question beside evaluate.max_new_tokens 32768"),
    (["evaluate.published={untraned: {math_500: {value: 5}}}"], "did you mean 'untrained'?"),
    (["evaluate.data={math_500: {file: x}}"], "evaluate.data.math_500.file: unknown key; known keys here: answer,"),
    (["distil={teacher: qwk}"], "distil.teacher: 'qwk' names no teacher, and is no path or hub id (ORG/NAME); did you"),
    (["train.model_name_or_path=https://huggingface.co/Qwen/Qwen3-8B/tree/main"], "by its hub id, e.g. Qwen/Qwen3-8B"),
    (["teachers.0.model=https://huggingface.co/Qwen/Qwen3-8B"], "teachers.0.model: https://huggingface.co/Qwen/Qwen3"),
    (["evaluate.models=[{model: a/b/c}]"], "evaluate.models.0.model: a/b/c is no folder here"),
    (["teachers.0.chat_template=./gone.jinja"], "gone.jinja is not there"),
    (["problems.grader=mygr:grade"], "there is no module 'mygr'"),
    (["problems.grader=broken:grade"], "broken.py, line 1"),
    (["problems.process_check=mine:gone"], "module mine has no 'gone'"),
    (["teachers.0.engine_args={max_modle_len: 5}"], "did you mean 'max_model_len'?"),
    (["teachers.0.max_model_len=64"], "holds no prompt beside the budgets' 96 tokens"),
    (["decode.budgets.reasoning_tokens=1000000"], "lower decode.budgets"),
    (["teachers.1.tensor_parallel_size=3", "teachers.1.devices=[0, 1]"], "needs 3 GPUs and devices names 2"),
    (["teachers.0.tensor_parallel_size=7"], "does not divide the"),
    (["teachers.0.devices=[0]"], "this machine has no GPU"),
    (["teachers=[]", "meta_prover=null"], "teachers: the recipe names none"),
    (["meta_prover={same_as: qwq, model: ./other}"], "keep one of them"),
    (["decode.beam_size=100000"], "less than or equal to 1024"),
    (["decode.beam_size=true"], "true is no number"),
    (["decode.budgets.max_step_tokens=65"], "is more than reasoning_tokens 64"),
    (["data.decontaminate=[nope.jsonl]"], "data.decontaminate: "),
    (["data.sources=[{path: nope.jsonl, format: limo}]"], "data.sources"),
    (["data.filters.steps_right=true"], "problems.process_check"),
    (["output_dir=problems.jsonl"], "is a file, no folder"),
    (["output_dir=/proc/run"], "cannot be written"),
    (["output_dir=./a_model"], "is a model's folder"),
    (["output_dir=./circle"], "is a file, no folder"),
    (["track.wandb.mode=online"], "online needs a key"),
    (["evaluate.data.math_500=again.jsonl"], "were trained on"),
    (["problems.path=two.jsonl"], "rows 1 and 3 ask the same question ('What is 1/2?') and know different answers"),
    (["problems.path=chats.jsonl"], "holds chat messages"),
    (["problems.split=test"], "problems: split does nothing beside path"),
    (["problems.args={n: 3}"], "problems: args does nothing beside path"),
    (["problems={path: null, dataset: json}"], "'json' is a reader of `datasets`, no hub id: give the file, path: "),
    (["problems={path: null, builder: 'mine:ask', args: {m: 2}}"], "problems.args.m: problems.builder"),
    (["models={builder: 'mine:build', args: {sed: 0}}"], "did you mean models.args.seed?"),
    (["decode.selector=mine:rate", "decode.selector_args={own_weight: 2}"], "mean decode.selector_args.weight?"),
    (
        ["teachers.0.kv_cache_dtype=fp9"],
        "teachers.0.kv_cache_dtype: 'fp9' is none that vLLM knows; did you mean",
    ),
    (["teachers.0.engine_args={kv_cache_dtype: int3}"], "teachers.0.engine_args.kv_cache_dtype"),
    (
        ["ablate={baseline: wid}", "variants={wide: {}}"],
        "no variant is called 'wid'; did you mean 'wide'?",
    ),
    (
        ["ablate={baseline: wide, tables: {A: [wde]}}", "variants={wide: {}}"],
        "ablate.tables.A: no variant is called 'wde'",
    ),
    (["ablate={baseline: wide, paper: {w: [1, 2]}}", "variants={wide: {}}"], "ablate.paper: no variant is called 'w'"),
]


@pytest.mark.parametrize(("overrides", "said"), MISTAKES, ids=[" ".join(m[0]) for m in MISTAKES])
def test_each_mistake_is_named_before_anything_is_loaded(recipe, overrides, said, capsys, monkeypatch):
    """Fails the check that is a list of special cases: the suites, the trainer's files and the data are looked at by
    their own stages' first halves. `cord run` and `cord generate` go through the same pass."""
    monkeypatch.chdir(recipe.parent)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("NETRC", "/nowhere")
    monkeypatch.setenv("HOME", str(recipe.parent))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr("cord_distill.decode.generate.asyncio", None)
    monkeypatch.setattr("cord_distill.run.run.subprocess", None)
    again = [{"id": "x", "problem": "What is 1 mod 3?", "answer": 1}]
    (recipe.parent / "again.jsonl").write_text("\n".join(json.dumps(row) for row in again))
    for command in ("check", "run", "generate"):
        assert main([command, str(recipe), *overrides]) == 2, command
        error = capsys.readouterr().err
        assert said in error and "hf_SECRET" not in error and "Traceback" not in error
    assert not (recipe.parent / "run").exists()


def test_a_folder_without_weights_or_with_half_of_them_is_named(recipe, random_models, tmp_path, capsys):
    bare = tmp_path / "bare"
    shutil.copytree(random_models["r1"], bare, ignore=shutil.ignore_patterns("*.safetensors"))
    assert main(["check", str(recipe), f"teachers.0.model={bare}"]) == 2
    assert "holds no weights" in capsys.readouterr().err
    shutil.copy(next(random_models["r1"].glob("*.safetensors")), bare / "a.safetensors")
    (bare / "model.safetensors.index.json").write_text('{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}')
    assert main(["check", str(recipe), f"train.model_name_or_path={bare}"]) == 2
    assert "lacks b.safetensors (1 of 2 files)" in capsys.readouterr().err


def test_a_damaged_config_is_named(recipe, random_models, tmp_path, capsys):
    """Fails the check that ends in the JSON reader's traceback."""
    damaged = tmp_path / "damaged"
    shutil.copytree(random_models["r1"], damaged)
    (damaged / "config.json").write_text("{")
    assert main(["check", str(recipe), f"teachers.0.model={damaged}"]) == 2
    assert "config.json cannot be read" in capsys.readouterr().err


def _cut(file):
    file.write_bytes(file.read_bytes()[:-100])


HALF_COPIED = [
    ("model.safetensors", _cut, "it was half copied"),
    ("model.safetensors", lambda file: file.write_bytes(b""), "is no safetensors file: half copied"),
    ("model.safetensors", lambda file: file.write_text("version https://git-lfs.github.com/spec/v1\n" * 3), "git-lfs"),
    ("model.safetensors", lambda file: file.write_bytes(b"\x05\0\0\0\0\0\0\0[not]"), "half copied, damaged"),
    ("model.safetensors", lambda file: (file.unlink(), file.symlink_to("/gone")), "cannot be read"),
    ("tokenizer.json", _cut, "tokenizer.json is damaged"),
    ("tokenizer.json", lambda file: file.write_text("version https://git-lfs.github.com/spec/v1\n"), "git-lfs"),
    (
        "config.json",
        lambda file: file.write_text(file.read_text().replace('"vocab_size": 6', '"vocab_size": 5')),
        "two models",
    ),
    ("config.json", lambda file: (file.unlink(), os.mkfifo(file)), "no config.json there"),
]


@pytest.mark.parametrize(("name", "damage", "said"), HALF_COPIED, ids=[f"{one[0]}: {one[2]}" for one in HALF_COPIED])
@pytest.mark.parametrize("key", ["teachers.0.model", "train.model_name_or_path"])
def test_a_model_folder_that_was_half_copied_or_mixed_is_named(
    recipe, random_models, tmp_path, capsys, name, damage, said, key
):
    """Fails the check that only looks whether the files are there: the engines then fail after minutes, or ids without
    a row in the embedding are trained."""
    folder = tmp_path / "copied"
    shutil.copytree(random_models["r1"], folder)
    damage(folder / name)
    assert main(["check", str(recipe), f"{key}={folder}"]) == 2
    error = capsys.readouterr().err
    assert said in error and key in error and "Traceback" not in error


def test_a_folder_that_links_to_itself_is_no_model(recipe, tmp_path, capsys):
    """Fails `Path.resolve`, which raises RuntimeError. The recipe's folder holds the link."""
    assert main(["check", str(recipe), f"teachers.0.model={tmp_path}/circle"]) == 2
    assert "holds no model" in capsys.readouterr().err


def test_two_engines_on_one_gpu_share_its_memory(recipe, capsys):
    """Fails the pass that looks at each engine alone: 0.9 of a GPU twice is more than there is."""
    on_zero = ["teachers.0.devices=[0]", "teachers.1.devices=[0]"]
    assert main(["check", str(recipe), "--gpus", "2", *on_zero]) == 2
    assert "on GPU 0 0.9 (teachers.0) + 0.9 (teachers.1) = 1.8" in capsys.readouterr().err
    shares = ["teachers.0.gpu_memory_utilization=0.45", "teachers.1.gpu_memory_utilization=0.45"]
    assert main(["check", str(recipe), "--gpus", "2", *on_zero, *shares]) == 0
    assert main(["check", str(recipe), "--gpus", "2", "teachers.0.devices=[0]", "teachers.1.devices=[2]"]) == 2
    assert "there are 2 GPUs" in capsys.readouterr().err


def test_decoding_goes_on_where_only_later_stages_could_not_run_if_one_says_so(recipe, monkeypatch, capsys):
    """The student lies on another machine: `--no-check` decodes, and still checks what decoding reads."""
    seen = []
    nothing = Decoded([], 0)
    monkeypatch.setattr("cord_distill.decode.generate.generate", lambda recipes, **_: seen.append(recipes) or nothing)
    assert main(["generate", str(recipe), "train.model_name_or_path=./elsewhere"]) == 2
    assert not seen
    assert not main(["generate", str(recipe), "--no-check", "train.model_name_or_path=./elsewhere"])
    assert len(seen) == 1


@pytest.fixture
def built(recipe, random_models, tmp_path, monkeypatch):
    """The recipe with teachers that it builds itself; gives the builder's folder, not built yet."""
    (tmp_path / "own_builder.py").write_text("def build(folder, sed=0):\n    pass\n")
    made = yaml.safe_load(recipe.read_text())
    made["models"] = {"builder": "own_builder:build", "cache_dir": str(tmp_path / "cache")}
    for teacher in made["teachers"]:
        teacher["model"] = f"built:{teacher['name']}"
    made["train"]["model_name_or_path"] = "built:prover"
    recipe.write_text(yaml.safe_dump(made))
    monkeypatch.chdir(tmp_path)
    folder = models_folder(load_recipe(recipe).models)
    for name in ("r1", "qwq", "prover"):
        shutil.copytree(random_models[name], folder / name)
    yield folder
    sys.modules.pop("own_builder", None)


def test_models_that_are_not_built_yet_are_said_to_be_unseen(recipe, built, capsys):
    """Fails the last line that counts folders which nobody looked into."""
    assert main(["check", str(recipe)]) == 0
    out = capsys.readouterr().out
    assert f"not looked up, not built yet (cord models {recipe}): built:r1, built:qwq, built:prover" in out
    assert "model folders" not in out
    (built / "built.json").write_text("{}")
    assert main(["check", str(recipe)]) == 0
    out = capsys.readouterr().out
    assert "2 model folders" in out and "not built yet" not in out


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["teachers.0.model=built:r2"], "teachers.0.model: the builder made no model 'r2'; it made: prover, qwq, r1"),
        (["train.model_name_or_path=built:provver"], "did you mean built:prover?"),
        (["teachers.0.chat_template=./gone.jinja"], "gone.jinja is not there"),
        (["teachers.0.tensor_parallel_size=7"], "does not divide the"),
        (["decode.budgets.reasoning_tokens=1000000"], "lower decode.budgets"),
        (["evaluate.models=[{model: built:r3}]"], "evaluate.models.0.model: the builder made no model"),
    ],
)
def test_built_models_are_looked_at_like_local_ones(recipe, built, overrides, said, capsys):
    """Fails the pass that leaves `built:` out, whether they are there or not."""
    (built / "built.json").write_text("{}")
    assert main(["check", str(recipe), *overrides]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--gpus=0", "--gpus=-2", "--gpu-memory=0", "--tokens-per-second=-1"])
def test_a_machine_of_nothing_is_refused(recipe, flag, capsys):
    assert main(["check", str(recipe), flag]) == 2
    assert flag.partition("=")[0] in capsys.readouterr().err


def test_a_length_below_one_is_not_passed_on_as_advice(recipe, capsys):
    """Fails the advice data.filters.max_tokens=-1."""
    assert main(["check", str(recipe), "train.max_length=-1"]) == 2
    error = capsys.readouterr().err
    assert "max_length -1 is out of range: give 1 or more" in error and "max_tokens=-1" not in error


def test_a_question_that_is_asked_twice_with_one_answer_is_counted(recipe, tmp_path, capsys):
    """Fails the pass that holds 0.5 and 1/2 for two answers, and the one that says nothing."""
    assert main(["check", str(recipe), f"problems.path={tmp_path / 'agree.jsonl'}"]) == 0
    assert "problems: 1 of 2 ask what one before them asks: 00001" in capsys.readouterr().out


def test_a_seed_key_that_the_recipe_does_not_have_is_named(recipe, capsys):
    """Fails the check that leaves the seeds of `cord ablate` to its first decoding."""
    wide = ["variants={wide: {}}", "ablate={baseline: wide, seed_key: decode.sed}"]
    assert main(["check", str(recipe), *wide]) == 2
    assert "ablate.seed_key: 'decode.sed' takes no seed" in capsys.readouterr().err


def test_a_model_that_is_not_there_is_named_before_data_is_fetched(monkeypatch, capsys):
    """Fails the evaluation that asks the hub for the suite first, and then blames the data set."""
    monkeypatch.setattr("cord_distill.evaluation.evaluate.EvaluationPlan", None)
    assert main(["evaluate", "--model", "/nowhere/nope", "--suite", "gsm8k"]) == 2
    assert "evaluate.models.0.model: /nowhere/nope holds no model" in capsys.readouterr().err


def test_a_judge_that_does_not_answer_is_named(recipe, capsys):
    """Fails the check that asks the servers of decoding alone: the judge would be missed after training."""
    judge = "evaluate.judge={engine: server, url: 'http://127.0.0.1:9/v1', model: org/judge}"
    assert main(["check", str(recipe), judge]) == 2
    assert "evaluate.judge.url: http://127.0.0.1:9/v1: no connection" in capsys.readouterr().err
