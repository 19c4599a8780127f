"""vLLM's engine core and its workers end with the process that started them, however that ends.

vLLM watches its children, not its parent: after a `kill -9` its core would live on and hold the GPU that the next start
needs. vLLM calls `register` in each of its processes (entry point `vllm.general_plugins` in pyproject.toml).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys

from cord_distill.common.die_with_parent import signal_at_parents_end

OWNER = "CORD_ENGINE_OWNER"


def own_engines() -> None:
    """Marks this process as the one whose engines end with it; called before an engine is started."""
    os.environ[OWNER] = str(os.getpid())


def register() -> None:
    """Asks Linux for SIGKILL at the parent's end. Does nothing in the owner itself, nor in other people's vLLM."""
    owner = os.environ.get(OWNER)
    parent = multiprocessing.parent_process()
    if owner in (None, str(os.getpid())) or parent is None or not sys.platform.startswith("linux"):
        return
    signal_at_parents_end(signal.SIGKILL)
    if os.getppid() != parent.pid:
        os._exit(1)  # the parent was gone before we asked
