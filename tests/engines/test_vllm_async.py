"""The way vLLM runs on GPUs (AsyncLLM, its core in another process), here on CPU: the same answers as in process."""

import asyncio
import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from processes import below, title, wait_for

from cord_distill.engines.base import EngineError, Sampling
from cord_distill.recipe.models import ModelConfig
from cord_distill.types import Stop

pytestmark = pytest.mark.slow


def test_async_llm_answers_as_the_engine_in_process_does(random_models, monkeypatch):
    """Fails an AsyncRunner that was never run: on a machine without a GPU nothing else calls it."""
    from cord_distill.engines.vllm.engine import VllmEngine, engine_args
    from cord_distill.engines.vllm.runners import AsyncRunner, InProcessRunner

    path = str(random_models["qwq"])
    section = ModelConfig(model=path, max_num_seqs=16)
    args = engine_args(section, path, on_cpu=True, deterministic=False, max_model_len=512)
    calls = [
        ([20 + i, 30, 40 + i], Sampling(24, seed=i, top_p=0.95, stop=("a",) if i % 2 else ("zz",))) for i in range(8)
    ]
    prefix = list(range(20, 140))

    async def answers(runner_class):
        engine = VllmEngine(runner_class(args), deterministic=False, native_scores=False, name="qwq")
        try:
            made = await asyncio.gather(*[engine.generate(*call) for call in calls])
            scores = [await engine.logprobs(prefix, [7, 8, 9]) for _ in range(2)]
            with pytest.raises(EngineError):
                await engine.generate([5] * 4000, Sampling(4, seed=0))
            return [out.ids for out in made], [out.stop for out in made], scores, engine.max_model_len
        finally:
            await engine.close()

    beside = asyncio.run(answers(AsyncRunner))
    inside = asyncio.run(answers(InProcessRunner))
    assert Stop.STEP in inside[1] and Stop.LENGTH in inside[1]
    assert beside[0] == inside[0] and beside[1] == inside[1] and beside[3] == inside[3] == 512
    for mine, other in zip(beside[2], inside[2], strict=True):
        assert mine == pytest.approx(other, abs=1e-5)


OWNER = """
import sys
from cord_distill.common.quiet import prepare_environment
prepare_environment()
from cord_distill.engines.vllm.engine import engine_args
from cord_distill.engines.vllm.runners import AsyncRunner
from cord_distill.recipe.models import ModelConfig

if __name__ == "__main__":
    section = ModelConfig(model=sys.argv[1], max_num_seqs=4, kv_cache_gib=0.1)
    runner = AsyncRunner(engine_args(section, sys.argv[1], on_cpu=True, deterministic=False, max_model_len=256))
    print("up", flush=True)
    sys.stdin.read()
"""


def test_the_engine_ends_with_its_parent_also_when_that_is_killed(random_models, tmp_path):
    """Fails vLLM as it is: its core lives on with parent 1, and on a GPU with the memory that the next start needs."""
    assert {"cord_distill"} <= {point.name for point in entry_points(group="vllm.general_plugins")}, "install it anew"
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    owner = subprocess.Popen(
        [sys.executable, script, random_models["qwq"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        wait_for(lambda: owner.stdout.readline() == "up\n")
        children = below(owner.pid)
        assert any("VLLM" in title(pid) for pid in children), [title(pid) for pid in children]
    finally:
        owner.kill()
        owner.wait()
    wait_for(lambda: not any(title(pid) for pid in children), seconds=20)
