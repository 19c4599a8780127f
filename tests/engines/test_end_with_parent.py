"""Processes that end with the one that started them, without vLLM; with it: test_vllm_async.py (slow)."""

import subprocess
import sys

import pytest
from processes import kill, title, wait_for

OWNER = """
import multiprocessing, sys, time
from cord_distill.engines.vllm.end_with_parent import own_engines, register

def worker():
    register()
    print("worker", multiprocessing.current_process().pid, flush=True)
    time.sleep(600)

def core():
    register()
    print("core", multiprocessing.current_process().pid, flush=True)
    multiprocessing.get_context("spawn").Process(target=worker).start()
    time.sleep(600)

if __name__ == "__main__":
    if sys.argv[1] == "own":
        own_engines()
        register()  # as vLLM calls it in the owner too
    multiprocessing.get_context("spawn").Process(target=core).start()
    time.sleep(600)
"""


@pytest.mark.parametrize("owned", [True, False], ids=["ours", "other people's"])
def test_core_and_worker_end_with_a_killed_owner_and_nobody_elses_do(tmp_path, owned):
    """Fails the version that asks in the core alone: a worker holds the GPU. And the one that acts in every vLLM of
    the environment, where somebody may want its core to live on."""
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    owner = subprocess.Popen([sys.executable, script, "own" if owned else "-"], stdout=subprocess.PIPE, text=True)
    said = dict(owner.stdout.readline().split() for _ in range(2))
    children = [int(said[name]) for name in ("core", "worker")]
    owner.kill()
    owner.wait()
    try:
        if owned:
            wait_for(lambda: not any(title(pid) for pid in children), seconds=60)
        else:
            assert all(title(pid) for pid in children)
    finally:
        kill(*children)
