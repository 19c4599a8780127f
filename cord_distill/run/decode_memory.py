"""What decoding holds, for `cord check`: weights and KV cache of every engine that runs here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from cord_distill.common.errors import CordError
from cord_distill.common.quiet import has_gpu
from cord_distill.decode.check import budget_tokens
from cord_distill.decode.devices import vllm_engines
from cord_distill.decode.engine_pool import decoding_sections
from cord_distill.engines.vllm.engine import CPU_KV_GIB
from cord_distill.model_files.locate import model_path, yet_to_build
from cord_distill.model_files.tensors import stored_parameters
from cord_distill.recipe.models import ModelConfig
from cord_distill.recipe.recipe import Recipe
from cord_distill.training.memory.predict import GIB
from cord_distill.training.memory.shapes import Shape, shape_of

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# Beside weights and cache, in GiB. GPU: CUDA context, graphs, activations; a round figure, not measured here. CPU:
# torch and vLLM, and what each engine adds: one held 2.4 to 2.8, two in one process 3.1, three 4.4 (one of them Gemma,
# whose vocabulary of 262 thousand fills tables and tokenizer).
GPU_BESIDE = 1.5
CPU_BESIDE = 2.0
CPU_ENGINE = 0.8
MOST_PARTS = 64


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """What one engine holds of each GPU that it uses, in GiB. weights None: the model's sizes are not known here.

    cache None: what `gpu_memory_utilization` leaves. key: its dotted name in the recipe. one_text: the cache of one
    text of the longest context, 0 where the model's sizes are not known. parts: GPUs that share one copy; more_parts:
    other numbers that the model's heads allow.
    """

    name: str
    key: str
    weights: float | None
    cache: float | None
    utilization: float
    gpus: tuple[int, ...]
    one_text: float = 0.0
    parts: int = 1
    more_parts: tuple[int, ...] = ()

    def on(self, gpu_memory: float | None) -> float | None:
        """All that it takes of a GPU; None where that cannot be said."""
        if self.cache is None:
            return None if gpu_memory is None else self.utilization * gpu_memory
        return None if self.weights is None else self.weights + self.cache + GPU_BESIDE


def decode_memory(recipe: Recipe, gpu_memory: float | None, *, on_gpu: bool | None = None) -> tuple[str, list[str]]:
    """(lines, faults) of the engines that decode and score in process; ("", []) where there are none.

    gpu_memory: GiB of one GPU, None = not asked. on_gpu None: as on this machine.
    """
    on_gpu = (gpu_memory is not None or has_gpu()) if on_gpu is None else on_gpu
    engines = _engines(recipe, on_gpu)
    if not engines:
        return "", []
    said = [_said(engine) for engine in engines]
    if not on_gpu:
        known = [engine.weights + (engine.cache or 0.0) for engine in engines if engine.weights is not None]
        more = " and the others" if len(known) < len(engines) else ""
        beside = CPU_BESIDE + CPU_ENGINE * len(engines)
        total = f"{sum(known) + beside:.1f} GiB{more}, about {beside:.1f} of them for torch and vLLM themselves"
        return "\n".join(["decoding, predicted, in one process:", *said, f"  in all {total}"]), []
    alone = [fault for engine in engines if gpu_memory is not None for fault in _too_large(engine, gpu_memory)]
    faults = alone or [
        fault
        for gpu in sorted({gpu for e in engines for gpu in e.gpus})
        for fault in _crowded(engines, gpu, gpu_memory)
    ]
    return "\n".join([f"decoding, predicted, and {GPU_BESIDE} GiB beside for each engine itself:", *said]), faults


def _engines(recipe: Recipe, on_gpu: bool) -> list[EngineMemory]:
    there = {key: one for key, one in decoding_sections(recipe).items() if not yet_to_build(recipe, one.model)}
    return [_engine(recipe, section, key, on_gpu) for key, section in vllm_engines(there).items()]


def _engine(recipe: Recipe, section: ModelConfig, key: str, on_gpu: bool) -> EngineMemory:
    dtype = section.dtype if section.dtype != "auto" else "bfloat16" if on_gpu else "float32"
    share = section.tensor_parallel_size if on_gpu else 1
    parameters, shape = _sizes(recipe, section, key)
    weights = None if parameters is None else parameters * BYTES[dtype] / share / GIB
    cache = section.kv_cache_gib or (None if on_gpu else CPU_KV_GIB)
    gpus = tuple(section.devices or range(share)) if on_gpu else ()
    one_text, more = 0.0, tuple(n for n in (2**i for i in range(1, 7)) if n > share)
    if shape is not None:
        width = 1 if section.kv_cache_dtype.startswith("fp8") else BYTES[dtype]
        tokens = section.max_model_len or budget_tokens(recipe, key)
        one_text = 2 * shape.layers * shape.kv * width * tokens / min(share, shape.kv_heads) / GIB
        more = tuple(n for n in range(share + 1, MOST_PARTS + 1) if shape.heads % n == 0)
    return EngineMemory(section.label, key, weights, cache, section.gpu_memory_utilization, gpus, one_text, share, more)


def _sizes(recipe: Recipe, section: ModelConfig, key: str) -> tuple[int | None, Shape | None]:
    try:
        path = model_path(recipe, section.model, f"{key}.model")
    except CordError:
        return None, None
    try:
        shape = shape_of(path)
        return shape.parameters, shape
    except CordError:  # of another architecture, or not here
        return stored_parameters(Path(path)), None


def _said(engine: EngineMemory) -> str:
    weights = "weights of unknown size" if engine.weights is None else f"{engine.weights:.1f} GiB of weights"
    cache = "what it may use of the GPU as cache" if engine.cache is None else f"{engine.cache:.1f} GiB of cache"
    where = f" on GPU {', '.join(map(str, engine.gpus))}" if engine.gpus else ""
    return f"  {engine.name}: {weights}, {cache}{where}"


def _too_large(engine: EngineMemory, gpu_memory: float) -> list[str]:
    """An engine that an empty GPU of this size would not hold with the cache of a single text."""
    if engine.weights is None or not engine.gpus:
        return []
    split = engine.weights + (engine.one_text if engine.cache is None else engine.cache)
    may = gpu_memory if engine.cache is not None else engine.utilization * gpu_memory
    need = split + GPU_BESIDE
    if need <= may:
        return []
    cache = "the cache of one text" if engine.cache is None else f"{engine.key}.kv_cache_gib"
    # The size of a cache that the recipe gives is of each GPU, however many there are.
    fixed = GPU_BESIDE + (engine.cache or 0.0)
    fits = next((n for n in engine.more_parts if fixed + (need - fixed) * engine.parts / n <= may), None)
    whole = math.ceil(need if engine.cache is not None else need / engine.utilization)
    parts = f"set {engine.key}.tensor_parallel_size={fits} and as many devices, or " if fits else ""
    return [
        f"{engine.key}: {engine.name} needs {need:.1f} GiB of each GPU ({engine.weights:.1f} of weights, "
        f"{need - engine.weights - GPU_BESIDE:.1f} for {cache}, {GPU_BESIDE} beside), and may use {may:.1f} of "
        f"{gpu_memory:g}: {parts}take GPUs of at least {whole} GiB"
    ]


def _crowded(engines: list[EngineMemory], gpu: int, gpu_memory: float | None) -> list[str]:
    """The first engine that does not find its place beside those before it: they start in the recipe's order."""
    taken = 0.0
    for engine in engines:
        need = engine.on(gpu_memory)
        if gpu not in engine.gpus:
            continue
        if gpu_memory is None or need is None:
            return []
        # vLLM starts a model only where the share that it may use is free.
        wanted = max(need, engine.utilization * gpu_memory)
        if taken + wanted > gpu_memory:
            free = max(0.0, gpu_memory - taken)
            fix = (
                f"set {engine.key}.kv_cache_gib, and {engine.key}.gpu_memory_utilization below {free / gpu_memory:.2f}"
            )
            return [
                f"{engine.key}: {engine.name} wants {wanted:.1f} GiB of GPU {gpu}, where the engines before it leave "
                f"{free:.1f}; {fix}, or give it another GPU (devices)"
            ]
        taken += need
    return []
