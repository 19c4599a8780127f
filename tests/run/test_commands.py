"""Commands around a run: a recipe of one's own, the bundled ones, status, the schema, JSON, what stages leave."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml
from scripted_world import write_recipe

from cord_distill.cli import main
from cord_distill.common.errors import CordError
from cord_distill.common.files import lock_folder
from cord_distill.decode.engine_pool import model_positions, named
from cord_distill.recipe.file import load_recipe
from cord_distill.recipe.models import ModelConfig

QUIET = "track.wandb.mode=disabled"


@pytest.fixture
def folder(tmp_path, random_models, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"problem": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(3)]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def test_init_writes_a_recipe_that_the_check_calls_in_order(folder, random_models, capsys):
    """Fails the recipe whose columns, devices or paths hold only where it was written."""
    models = [str(random_models[name]) for name in ("r1", "qwq")]
    flags = ["--questions", "q.jsonl", "--teachers", *models, "--student", str(random_models["prover"])]
    assert not main(["init", "mine.yaml", *flags])
    recipe = load_recipe("mine.yaml")
    assert recipe.problems.question == "problem" and recipe.meta_prover.same_as == "r1"
    small = ["decode.budgets={reasoning_tokens: 64, answer_tokens: 32}", "evaluate=null", QUIET]
    os.chdir("/")
    assert main(["check", str(folder / "mine.yaml"), *small]) == 0
    assert main(["init", str(folder / "mine.yaml"), *flags]) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("gpus", "teachers", "devices"),
    [(8, 3, [[0, 1], [2, 3], [4, 5]]), (8, 2, [[0, 1, 2, 3], [4, 5, 6, 7]]), (1, 2, [[0], [0]]), (0, 2, [None, None])],
)
def test_init_places_the_teachers(folder, gpus, teachers, devices):
    names = [f"org/model-{i}" for i in range(teachers)]
    flags = ["--questions", "q.jsonl", "--student", "org/small", "--gpus", str(gpus)]
    assert not main(["init", "mine.yaml", "--teachers", *names, *flags[:2], *flags[2:]])
    made = yaml.safe_load((folder / "mine.yaml").read_text())
    assert [one.get("devices") for one in made["teachers"]] == devices
    shares = sum(one.get("gpu_memory_utilization", 0) for one in made["teachers"])
    assert gpus != 1 or shares <= 1


@pytest.mark.parametrize("gpus", ["-2", "-1"])
def test_init_places_nobody_on_fewer_than_no_gpus(folder, gpus, capsys):
    """Fails a division by zero, and the share of -0.9."""
    flags = ["--questions", "q.jsonl", "--student", "org/small", f"--gpus={gpus}"]
    assert main(["init", "mine.yaml", "--teachers", "a/b", "c/d", *flags]) == 2
    assert "--gpus" in capsys.readouterr().err and not (folder / "mine.yaml").exists()


def test_init_asks_or_names_the_flag(folder, capsys):
    assert main(["init", "mine.yaml", "--questions", "q.jsonl"]) == 2
    assert "--teachers is missing" in capsys.readouterr().err
    (folder / "odd.jsonl").write_text('{"text": "x"}\n')
    assert main(["init", "mine.yaml", "--questions", "odd.jsonl", "--teachers", "a/b", "--student", "c/d"]) == 2
    assert "no column among question" in capsys.readouterr().err and not (folder / "mine.yaml").exists()


def test_recipes_are_listed_and_a_copy_holds_anywhere(folder, capsys):
    """Fails the copy whose `../accelerate_configs` or `extends: base.yaml` points beside itself."""
    assert not main(["recipes"])
    assert "quickstart" in capsys.readouterr().out
    assert not main(["recipes", "r1_qwen_14b", "--copy", "mine.yaml"])
    assert not main(["recipes", "quickstart"])
    assert load_recipe("mine.yaml").train == load_recipe("r1_qwen_14b").train
    assert load_recipe("quickstart.yaml").train == load_recipe("quickstart").train
    assert main(["recipes", "quickstart"]) == 2


def test_deepspeed_goes_by_the_name_of_a_bundled_file(folder):
    (folder / "r.yaml").write_text("train: {model_name_or_path: a/b, deepspeed: zero3}")
    assert load_recipe("r.yaml").train["deepspeed"].endswith("accelerate_configs/deepspeed/zero3.json")
    (folder / "zero3").write_text("{}")
    assert load_recipe("r.yaml").train["deepspeed"] == str(folder / "zero3")


def test_a_file_of_ones_own_is_a_suite(folder, capsys):
    """Fails the version that wants a Python file, or other columns than training questions have."""
    from cord_distill.evaluation.suites import find_suites, load_suite

    (folder / "q2.jsonl").write_text('{"question": "1 + 1?", "solution": "2"}\n')
    data = "{mine: {path: q2.jsonl, answer: solution, grader: exact}, more: q.jsonl}"
    text = f"evaluate: {{suites: [mine, more], data: {data}}}"
    (folder / "r.yaml").write_text(text)
    evaluate = load_recipe("r.yaml").evaluate
    found = find_suites(evaluate)
    assert (found["mine"].grader, found["more"].grader) == ("exact", "math")
    (one,) = load_suite(found["mine"], evaluate).problems
    assert (one.id, one.question, one.answer) == ("00000", "1 + 1?", "2")
    assert [p.answer for p in load_suite(found["more"], evaluate).problems] == ["1", "2", "3"]
    (folder / "r.yaml").write_text(text.replace("mine", "math500"))
    assert main(["check", "r.yaml"]) == 2
    assert "did you mean 'math_500'?" in capsys.readouterr().err


def test_check_json_and_the_schema_are_json(folder, capsys):
    assert main(["check", "quickstart", "--json", f"output_dir={folder / 'out'}"]) == 0
    page = json.loads(capsys.readouterr().out)
    assert page["in_order"] and page["faults"] == [] and any("would run" in line for line in page["lines"])
    assert main(["check", "quickstart", "--json", "evaluate.suites=[gone]"]) == 2
    assert any("gone" in fault for fault in json.loads(capsys.readouterr().out)["faults"])
    assert not main(["schema"])
    schema = json.loads(capsys.readouterr().out)
    assert schema["properties"]["train"]["properties"]["learning_rate"] == {"type": ["number", "string"]}
    assert not main(["env"])
    assert "Python" in capsys.readouterr().out


def test_the_most_that_decoding_costs(folder, capsys, random_models):
    """4 traces x 3 teachers x 320 tokens and 32 of the answer, 100 problems; Curation 4 traces of each of 3."""
    asked = ["check", "quickstart", "--gpus", "2", "--tokens-per-second", "1000", "--gpu-hour-price", "3"]
    main([*asked, f"output_dir={folder / 'out'}", *(f"teachers.{i}.kv_cache_gib=1" for i in range(3))])
    out = capsys.readouterr().out
    assert "decode cord: at most 10,900 requests and 387,200 generated tokens, 0.1 h at 1,000 tokens/s" in out
    assert "decode curation: at most 2,400 requests and 422,400 generated tokens" in out


def test_stage_commands_leave_what_a_run_leaves(folder, random_models, capsys, monkeypatch):
    """Fails the version whose `cord check` says `would run generate` of finished work, and that has no recipe.yaml."""
    path = str(write_recipe(folder, random_models))
    assert not main(["generate", path, QUIET])
    assert not main(["data", path, QUIET, "data.filters.correct=false"])
    assert (folder / "run/recipe.yaml").is_file()
    capsys.readouterr()
    assert not main(["status", str(folder / "run"), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["stages"]["generate"] == "done" and not found["running"]
    assert found["decoding"][0] | {"idle_seconds": 0} == {
        "method": "cord", "finished": 7, "failed": 0, "problems": 7, "running": False, "idle_seconds": 0,
    }  # fmt: skip
    lock = lock_folder(folder / "run")
    assert not main(["status", str(folder / "run")])
    assert "decode cord: 7 of 7, running" in capsys.readouterr().out
    os.close(lock)
    (folder / "empty").mkdir()
    assert main(["status", str(folder / "empty")]) == 2
    assert "no run folder" in capsys.readouterr().err


def test_the_first_ctrl_c_is_answered_while_python_cannot_react():
    """Fails the answer that a signal handler of Python gives: it waits until the C call is over."""
    child = (
        "import ctypes, sys\n"
        "from cord_distill.common.signals import answered_at_once\n"
        "with answered_at_once():\n"
        "    print('begun', flush=True)\n"
        "    ctypes.CDLL(None).usleep(1)\n"
        "    import re\n"
        "    re.match(r'(a+)+$', 'a' * 26 + 'b')\n"  # one C call of seconds that lets no handler run
    )
    running = subprocess.Popen(
        [sys.executable, "-c", child], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    )
    assert running.stdout.readline() == "begun\n"
    time.sleep(0.2)
    os.kill(running.pid, signal.SIGINT)
    _, error = running.communicate(timeout=120)
    assert "stopping: waiting for what is being computed" in error


def test_a_folder_is_called_one_and_a_run_that_is_not_there_is_no_recipe(folder, capsys):
    (folder / "r.yaml").write_text("problems: {path: .}\nteachers: [{model: a/b}]\n")
    assert main(["check", "r.yaml"]) == 2
    assert "is a folder; give a JSONL file" in capsys.readouterr().err
    assert main(["view", "outputs/none"]) == 2
    assert "there is no such run folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            ["generate", "quickstart", "--variant", "curation"],
            "--variant: a variant is picked without dashes: variant=cu",
        ),
        (["train", "quickstart", "--num_processes", "8"], """launch.args='["--num_processes", "8"]'"""),
        (["train", "quickstart", "--num-machines=2"], """launch.args='["--num-machines", "2"]'"""),
        (["run", "quickstart", "--multi_gpu"], """launch.args='["--multi_gpu"]'"""),
        (["run", "quickstart", "--dry-run"], "is said by: cord check RECIPE"),
        (["status", "outputs/nope"], "no such file, and no run folder either"),
        (["report", "quickstart"], "nothing was run there yet; begin with: cord run quickstart"),
    ],
)
def test_what_other_tools_call_it_is_answered_with_our_word(folder, argv, said, capsys):
    """Fails argparse's `unrecognized arguments`, and a report about nothing."""
    assert main(argv) == 2
    assert said in capsys.readouterr().err and not (folder / "outputs").exists()


def test_an_architecture_that_nobody_knows_is_one_sentence(folder, weightless_models, capsys):
    """Fails the traceback of transformers, and the sentence without the key."""
    odd = folder / "odd"
    shutil.copytree(weightless_models["r1"], odd)
    config = json.loads((odd / "config.json").read_text())
    (odd / "config.json").write_text(json.dumps({**config, "model_type": "my_own_kind"}))
    with pytest.raises(CordError, match=r"^teachers\.0: .*my_own_kind"), named("teachers.0"):
        model_positions(str(odd), ModelConfig(model=str(odd)))
