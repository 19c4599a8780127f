"""Warnings of third parties held down for as long as lighteval runs."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Lets only errors through: no warning, no log line below an error, no progress bar of lighteval's."""
    os.environ.setdefault("LIGHTEVAL_DISABLE_TQDM", "1")
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
