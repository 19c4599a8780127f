"""An engine that hangs inside the process: the process ends with a word, and its journal is whole."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml
from journals import written

from cord_distill.common.exit_codes import ENGINE_HANGS
from cord_distill.engines import watchdog
from cord_distill.engines.watchdog import Watchdog
from cord_distill.recipe.file import load_recipe
from cord_distill.run_folder.paths import RunFolder


def test_work_within_its_limit_is_left_alone(monkeypatch):
    """Fails the version that adds the steps up, and the one that takes an idle engine for a hanging one."""
    now = [0.0]
    monkeypatch.setattr(watchdog, "time", SimpleNamespace(monotonic=lambda: now[0]))
    dog = Watchdog(100.0, "a teacher")
    dog.close()
    for _ in range(4):
        dog.begin()
        now[0] += 60.0
        assert not dog.hangs()
        dog.end()
    now[0] += 1000.0
    assert not dog.hangs()
    dog.begin()
    now[0] += 101.0
    assert dog.hangs()


def test_work_past_its_limit_ends_the_process_with_the_reason():
    """Fails the version with a time-out of the event loop: a step that never returns keeps the loop from it."""
    story = (
        "import asyncio, time\n"
        "from cord_distill.engines.watchdog import Watchdog\n"
        "async def hang():\n"
        "    async with asyncio.timeout(0.2):\n"
        "        Watchdog(0.5, 'a teacher').begin()\n"
        "        time.sleep(60)\n"
        "asyncio.run(hang())\n"
    )
    ended = subprocess.run([sys.executable, "-c", story], capture_output=True, text=True, timeout=50, check=False)
    assert ended.returncode == ENGINE_HANGS
    assert "a teacher hangs: one step took longer than 0.5 s (decode.request_timeout)" in ended.stderr
    assert "time.sleep" in ended.stderr or "in hang" in ended.stderr


@pytest.mark.slow
def test_a_hanging_vllm_stops_the_run_and_the_next_one_goes_on_to_the_same_bytes(tmp_path, random_models):
    """Fails the version that waits for ever, and one that loses what was finished."""
    rows = [{"id": f"p{i}", "question": f"What is {i} plus 4?", "answer": str(i + 4)} for i in range(4)]
    (tmp_path / "problems.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    recipe = {
        "teachers": [{"model": str(random_models["qwq"]), "name": "qwq", "max_num_seqs": 8}],
        "meta_prover": {"same_as": "qwq"},
        "problems": {"path": "problems.jsonl", "grader": "exact"},
        "decode": {
            "beam_size": 2,
            "request_timeout": 20,
            "budgets": {"reasoning_tokens": 90, "answer_tokens": 8, "max_step_tokens": 30},
        },
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    hanging = (
        "import sys, time\n"
        "from vllm.v1.engine.llm_engine import LLMEngine\n"
        "step, left = LLMEngine.step, [40]\n"
        "def hangs(self):\n"
        "    left[0] -= 1\n"
        "    if left[0] < 0: time.sleep(600)\n"
        "    return step(self)\n"
        "LLMEngine.step = hangs\n"
        "from cord_distill.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    where = f"output_dir={tmp_path}/run"
    child = [sys.executable, "-c", hanging, "generate", str(path), where]
    ended = subprocess.run(child, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == ENGINE_HANGS, ended.stderr[-2000:]
    assert "qwq hangs" in ended.stderr and "run the same command again" in ended.stderr
    run = RunFolder.of(load_recipe(str(path), [where]))
    assert written(run.journal) > 500 and not run.trajectories.exists()

    undisturbed = f"output_dir={tmp_path}/undisturbed"
    both = (
        "import sys\n"
        "from cord_distill.cli import main\n"
        "for where in sys.argv[2:]:\n"
        "    assert main(['generate', sys.argv[1], where]) == 0\n"
    )
    subprocess.run([sys.executable, "-c", both, str(path), where, undisturbed], timeout=300, check=True)
    other = RunFolder.of(load_recipe(str(path), [undisturbed]))
    assert run.trajectories.read_bytes() == other.trajectories.read_bytes()
