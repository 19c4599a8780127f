"""Third-party loggers and warnings held down for as long as lighteval runs; errors still come through."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

NOISY = ("lighteval", "datasets", "vllm", "httpx", "inspect_ai", "openai", "nltk", "git", "transformers", "asyncio")


@contextmanager
def quiet() -> Iterator[None]:
    os.environ.setdefault("LIGHTEVAL_DISABLE_TQDM", "1")
    before = {name: logging.getLogger(name).level for name in NOISY}
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
