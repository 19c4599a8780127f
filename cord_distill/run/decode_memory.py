"""What decoding holds, for `cord check`: weights and KV cache of every engine that runs here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cord_distill.common.errors import CordError
from cord_distill.common.quiet import has_gpu
from cord_distill.decode.engine_pool import PER_REQUEST, decoding_sections
from cord_distill.engines.vllm.engine import CPU_KV_GIB
from cord_distill.model_files.locate import PREFIX, model_path
from cord_distill.model_files.parameters import stored_parameters
from cord_distill.recipe.models import ModelConfig
from cord_distill.recipe.recipe import Recipe
from cord_distill.training.memory.predict import GIB
from cord_distill.training.memory.shapes import shape_of

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# Beside weights and cache, in GiB. GPU: CUDA context, graphs, activations; a round figure, not measured here. CPU:
# torch and vLLM, and what each engine adds: one held 2.4 to 2.8, two in one process 3.1, three 4.4 (one of them Gemma,
# whose vocabulary of 262 thousand fills tables and tokenizer).
GPU_BESIDE = 1.5
CPU_BESIDE = 2.0
CPU_ENGINE = 0.8


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """Of one engine, in GiB and per GPU that it uses. weights None: the model's sizes are not known here.

    cache None: what `gpu_memory_utilization` leaves. key: its dotted name in the recipe.
    """

    name: str
    key: str
    weights: float | None
    cache: float | None
    utilization: float
    gpus: tuple[int, ...]

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
    faults = [
        fault
        for gpu in sorted({gpu for e in engines for gpu in e.gpus})
        for fault in _crowded(engines, gpu, gpu_memory)
    ]
    return "\n".join([f"decoding, predicted, and {GPU_BESIDE} GiB beside for each engine itself:", *said]), faults


def _engines(recipe: Recipe, on_gpu: bool) -> list[EngineMemory]:
    found: dict[str, EngineMemory] = {}
    for key, section in decoding_sections(recipe).items():
        if section.engine == "vllm" and not section.model.startswith(PREFIX):
            settings = section.model_dump_json(exclude=PER_REQUEST)
            found.setdefault(settings, _engine(recipe, section, key, on_gpu))
    return list(found.values())


def _engine(recipe: Recipe, section: ModelConfig, key: str, on_gpu: bool) -> EngineMemory:
    dtype = section.dtype if section.dtype != "auto" else "bfloat16" if on_gpu else "float32"
    share = section.tensor_parallel_size if on_gpu else 1
    parameters = _parameters(recipe, section, key)
    weights = None if parameters is None else parameters * BYTES[dtype] / share / GIB
    cache = section.kv_cache_gib or (None if on_gpu else CPU_KV_GIB)
    gpus = tuple(section.devices or range(share)) if on_gpu else ()
    return EngineMemory(section.label, key, weights, cache, section.gpu_memory_utilization, gpus)


def _parameters(recipe: Recipe, section: ModelConfig, key: str) -> int | None:
    try:
        path = model_path(recipe, section.model, f"{key}.model")
    except CordError:
        return None
    try:
        return shape_of(path).parameters
    except CordError:  # of another architecture, or not here
        return stored_parameters(Path(path))


def _said(engine: EngineMemory) -> str:
    weights = "weights of unknown size" if engine.weights is None else f"{engine.weights:.1f} GiB of weights"
    cache = "what it may use of the GPU as cache" if engine.cache is None else f"{engine.cache:.1f} GiB of cache"
    where = f" on GPU {', '.join(map(str, engine.gpus))}" if engine.gpus else ""
    return f"  {engine.name}: {weights}, {cache}{where}"


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
