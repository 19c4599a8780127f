"""Which engine stands on which GPU, and whether that can be: numbers, tensor parallelism, shares of memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from cord_distill.decode.engine_pool import PER_REQUEST
from cord_distill.recipe.models import ModelConfig


def vllm_engines(sections: Mapping[str, ModelConfig]) -> dict[str, ModelConfig]:
    """The engines that vLLM starts, each under the first of the keys that share it."""
    engines: dict[str, tuple[str, ModelConfig]] = {}
    for key, section in sections.items():
        if section.engine == "vllm":
            settings = section.model_dump_json(exclude=PER_REQUEST, include=set(ModelConfig.model_fields))
            engines.setdefault(settings, (key, section))
    return dict(engines.values())


def gpus_of(section: ModelConfig) -> list[int]:
    """The GPUs that vLLM puts an engine on: those named, else the first ones."""
    return section.devices or list(range(section.tensor_parallel_size))


def device_faults(sections: Mapping[str, ModelConfig], gpus: int | None) -> list[str]:
    """Returns one sentence per engine that cannot be placed. gpus: of the machine; None = unknown, nothing is
    counted."""
    found = []
    shares: defaultdict[int, list[tuple[str, float]]] = defaultdict(list)
    for key, section in vllm_engines(sections).items():
        parts, devices = section.tensor_parallel_size, section.devices
        if devices is not None and (len(set(devices)) < len(devices) or min(devices, default=-1) < 0):
            found.append(f"{key}.devices {devices}: name each GPU once, by its number from 0 on, or remove the key")
        elif devices is not None and parts > len(devices):
            found.append(
                f"{key}.tensor_parallel_size {parts} needs {parts} GPUs and devices names {len(devices)}: {devices}"
            )
        elif gpus == 0 and (devices or parts > 1):
            what = f"devices {devices}" if devices else f"tensor_parallel_size {parts}"
            found.append(f"{key}.{what}: this machine has no GPU; remove the key to decode on the CPU")
        elif gpus and max(gpus_of(section)) >= gpus:
            what = f"devices {devices}" if devices else f"tensor_parallel_size {parts}"
            found.append(f"{key}.{what}: there are {gpus} GPUs, numbered from 0 on")
        elif (devices or gpus) and section.kv_cache_gib is None:  # with a size of its own the share is left aside
            for gpu in gpus_of(section)[: max(parts, 1)]:
                shares[gpu].append((key, section.gpu_memory_utilization))
    for gpu, who in sorted(shares.items()):
        total = sum(share for _, share in who)
        if total > 1 + 1e-9:
            said = " + ".join(f"{share:g} ({key})" for key, share in who)
            found.append(
                f"gpu_memory_utilization: on GPU {gpu} {said} = {total:g} of its memory: give them other devices, or "
                f"{_round_down(1 / len(who)):g} each"
            )
    return found


def _round_down(share: float) -> float:
    return int(share * 100 - 3) / 100
