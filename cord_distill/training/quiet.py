"""Third-party chatter of a training process, turned down. Errors stay; the user's own settings win."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings

# What is said here is either checked by us (lengths, masks, tokens, batch) or of no use to a person who trains.
CHATTY = ("accelerate", "datasets", "filelock", "torch.distributed", "trl", "peft")


def quiet() -> None:
    """Call after the environment is set and before the trainer is built."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"(torch|accelerate|deepspeed|transformers|trl)\b")
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that W&B is offline
        import transformers.integrations.integration_utils  # noqa: F401
    from transformers.utils import logging as transformers_logging

    # Its bars are for loading and writing shards of weights; ours is for the steps.
    transformers_logging.disable_progress_bar()
    if "TRANSFORMERS_VERBOSITY" not in os.environ:
        transformers_logging.set_verbosity_error()
