"""`-v` and `-q`: how much a command and the libraries below it say on stderr. Results and errors are always said."""

from __future__ import annotations

import os
import sys

# Read by this package alone, here and in child processes.
VERBOSITY = "CORD_VERBOSITY"
# By -v and -vv: what libraries read when they are imported.
LOUDER = {
    1: {"VLLM_LOGGING_LEVEL": "INFO", "TRANSFORMERS_VERBOSITY": "info", "WANDB_SILENT": "false"},
    2: {"VLLM_LOGGING_LEVEL": "DEBUG", "TRANSFORMERS_VERBOSITY": "debug", "WANDB_SILENT": "false"},
}


def set_verbosity(verbose: int, quiet: bool) -> None:
    """Of this process and its children; neither flag leaves what the shell said. Before any library is imported."""
    if verbose:
        os.environ.update({VERBOSITY: str(min(verbose, 2)), **LOUDER[min(verbose, 2)]})
        for name in ("PYTHONWARNINGS", "TRANSFORMERS_NO_ADVISORY_WARNINGS"):
            os.environ.setdefault(name, "")
    elif quiet:
        os.environ[VERBOSITY] = "-1"


def is_quiet() -> bool:
    return os.environ.get(VERBOSITY) == "-1"


def is_verbose() -> bool:
    return os.environ.get(VERBOSITY, "0") in ("1", "2")


def note(line: str) -> None:
    """Prints a line about how work goes on to stderr; nothing under -q."""
    if not is_quiet():
        print(line, file=sys.stderr, flush=True)
