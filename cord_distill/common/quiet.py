"""Sets environment variables before a heavy library is imported: telemetry off, noise down. Each process of the package
calls it; what the user has set stays as it is."""

from __future__ import annotations

import logging
import os
import sys
import warnings

from cord_distill.common.verbosity import is_verbose

PRIVATE = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "WANDB_ERROR_REPORTING": "false",
}
QUIET = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CONFIGURE_LOGGING": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "WANDB_SILENT": "true",
    "PYTHONWARNINGS": "ignore::FutureWarning,ignore::DeprecationWarning,ignore::UserWarning",
}
# One engine on CPU runs in this process: starts in seconds, answers the same whatever runs beside it.
CPU_ENGINE = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "TORCHDYNAMO_DISABLE": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "DS_ACCELERATOR": "cpu",
}


def keep_private() -> None:
    """Turns the telemetry of third parties off for this process and its children, unless the user decided otherwise."""
    for name, value in PRIVATE.items():
        os.environ.setdefault(name, value)


def prepare_environment() -> None:
    """Sets each variable unless the user did. Call before torch, vllm or transformers is imported."""
    for name, value in {**PRIVATE, **QUIET, **({} if has_gpu() else CPU_ENGINE)}.items():
        os.environ.setdefault(name, value)
    if not sys.warnoptions and not is_verbose():
        for category in (FutureWarning, DeprecationWarning, UserWarning):
            warnings.simplefilter("ignore", category)
    # vLLM says things while it is imported, before it reads its own logging level.
    if os.environ["VLLM_LOGGING_LEVEL"] == QUIET["VLLM_LOGGING_LEVEL"]:
        logging.getLogger("vllm").setLevel(logging.ERROR)


def quiet_environment() -> dict[str, str]:
    """This process's environment, completed for a child process."""
    return {**PRIVATE, **QUIET, **os.environ}


def slots(max_num_seqs: int | None, on_gpu: bool) -> int:
    """Sequences that an engine decodes at once: what the recipe says, else 64 on a CPU and 256 on a GPU."""
    return max_num_seqs or (256 if on_gpu else 64)


def has_gpu() -> bool:
    """True when an NVIDIA driver shows a device; asks the file system, not torch, so that it costs nothing."""
    from pathlib import Path

    if os.environ.get("CUDA_VISIBLE_DEVICES", "unset") in ("", "-1"):
        return False
    return Path("/proc/driver/nvidia/version").exists() or any(Path("/dev").glob("nvidia[0-9]*"))
