"""What all tests share: an offline, quiet, single-threaded environment, and a few fixtures."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from journals import keep_calls

# Before anything heavy is imported: these are read at import. A value set outside wins.
for key, value in {
    "DO_NOT_TRACK": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TORCHDYNAMO_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # an engine in its own process takes minutes to start
    "VLLM_NO_USAGE_STATS": "1",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
}.items():
    os.environ.setdefault(key, value)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One event loop for a module's engines: an engine's requests stay on the loop that it began with."""
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture
def kept_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal keeps the answers of finished problems, for a test that counts them."""
    keep_calls(monkeypatch.setattr)


@pytest.fixture(scope="session")
def random_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of the four random-weight models, by name: r1, qwq, phi4, prover."""
    from cord_distill.worlds.random_models import build_models

    return build_models(tmp_path_factory.mktemp("random_models"))


@pytest.fixture(scope="session")
def weightless_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The four of `random_models` without their weights, which no script needs: a second instead of many."""
    from cord_distill.worlds.random_models import FAMILIES, build_tokenizer

    made = {name: tmp_path_factory.mktemp("weightless") / name for name in FAMILIES}
    for name, folder in made.items():
        build_tokenizer(FAMILIES[name], name).save_pretrained(folder)
        (folder / "config.json").write_text(f'{{"model_type": "{FAMILIES[name].architecture}"}}')
    return made


@pytest.fixture(scope="module")
def logits(random_models: dict[str, Path]) -> Callable[[list[int]], Any]:
    """Rows of a plain float32 forward pass of the random `qwq`, in double."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(random_models["qwq"], dtype=torch.float32).eval()

    def rows(ids: list[int]) -> Any:
        with torch.no_grad():
            return model(torch.tensor([ids])).logits[0].double()

    return rows


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """`shared/data` beside the clone: LIMO questions, AIME problems. Tests that need it are skipped elsewhere."""
    folder = Path(os.environ.get("CORD_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs real problems in {folder} (or CORD_SHARED_DATA)")
    return folder


@pytest.fixture(autouse=True)
def _autograd_on() -> None:
    """vLLM and lighteval turn autograd off for their whole process; later tests of training must not inherit that."""
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "set_grad_enabled"):
        torch.set_grad_enabled(True)


@pytest.fixture
def within_minutes() -> Iterator[None]:
    """A test that hangs fails after three minutes, also inside a regular expression."""

    def hangs(*_: object) -> None:
        raise TimeoutError("nothing came of it within three minutes")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(180)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
