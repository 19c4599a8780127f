"""`cord check --gpus 8 --gpu-memory 80`: the prediction as a table, and the smallest change that would fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

from cord_distill.common.errors import CordError
from cord_distill.recipe.recipe import Recipe
from cord_distill.training.arguments import derive_accumulation
from cord_distill.training.memory.predict import CONTEXT, GIB, PARTS, Memory, predict
from cord_distill.training.memory.setup import Lora, Setup, setup_of
from cord_distill.training.memory.shapes import Shape, shape_of

NEEDS = "needs"
MOMENTS = {"loss": "the loss", "layer": "the backward pass of a layer", "step": "the optimizer step"}


class MemoryLimits(NamedTuple):
    """GiB of one GPU and of one host; None = not asked. batch: `train.global_batch_size`."""

    gpu: float | None
    host: float | None
    batch: int | None


class MemorySaving(NamedTuple):
    """A change that needs less memory. kind: two of one kind exclude each other. text: as it is advised. changes: the
    fields of Setup that it sets."""

    kind: str
    text: str
    changes: dict[str, Any]


def memory_page(
    recipe: Recipe, model: str, gpus: int, gpu_memory: float | None, host_memory: float | None = None, per_node: int = 8
) -> tuple[str, list[str]]:
    """(table, faults) of the training of `recipe`. model: hub id or folder of the student; memory in GiB.

    A fault is one sentence that ends with the smallest change that fits. Raises CordError where nothing can be said.
    """
    shape = shape_of(model)
    setup = setup_of(recipe, shape, gpus, per_node)
    batch = recipe.train.get("global_batch_size")
    limits = MemoryLimits(gpu_memory, host_memory, int(batch) if batch else None)
    memory = predict(shape, setup)
    page, wrong = memory_table(shape, setup, memory), what_is_wrong(shape, setup, limits)
    if wrong is None or not wrong.startswith(NEEDS):
        return page, [wrong] if wrong else []
    change = smallest_change(shape, setup, limits)
    return page, [f"{wrong}; it would fit with {change}" if change else f"{wrong}; no change known here makes it fit"]


def what_is_wrong(shape: Shape, setup: Setup, limits: MemoryLimits) -> str | None:
    """The first thing that keeps this training from running, or None."""
    if shape.heads % setup.sp:
        return f"sequence parallelism over {setup.sp} ranks does not divide the {shape.heads} query heads"
    if shape.positions and setup.length > shape.positions:
        return f"train.max_length {setup.length} is more than the {shape.positions} positions that the student knows"
    if limits.batch:
        try:
            derive_accumulation(limits.batch, world_size=setup.gpus, sp_size=setup.sp, per_device=setup.rows)
        except CordError as error:
            return str(error)
    memory = predict(shape, setup)
    if limits.gpu is not None and memory.gpu + CONTEXT > limits.gpu * GIB:
        return f"{NEEDS} {_gib(memory.gpu + CONTEXT)} GiB per GPU and there are {limits.gpu:g}"
    if limits.host is not None and memory.host_total > limits.host * GIB:
        return f"{NEEDS} {_gib(memory.host_total)} GiB of host memory and there are {limits.host:g}"
    return None


def smallest_change(shape: Shape, setup: Setup, limits: MemoryLimits) -> str | None:
    """The fewest changes that fit; among as many, the one that costs least time. What changes the result comes last."""
    harmless = list(_harmless(shape, setup))
    for count in (1, 2, 3):
        for chosen in combinations(harmless, count):
            changes = {key: value for saving in chosen for key, value in saving.changes.items()}
            apart = len({saving.kind for saving in chosen}) == count
            if apart and what_is_wrong(shape, replace(setup, **changes), limits) is None:
                return " and ".join(saving.text for saving in chosen)
    for length in range(setup.length // 1024 * 1024, 1023, -1024):
        if what_is_wrong(shape, replace(setup, length=length), limits) is None:
            return f"train.max_length={length}"
    lora = replace(setup, lora=Lora(16, tuple(shape.linears)))
    if setup.lora is None and what_is_wrong(shape, lora, limits) is None:
        return "LoRA (train.use_peft=true, train.lora_target_modules=[all-linear])"
    return None


def _harmless(shape: Shape, setup: Setup) -> Iterator[MemorySaving]:
    """Changes that leave the trained weights as they would be, cheapest first. Where two set one field, the later one
    holds what the earlier one sets too."""
    zero3 = replace(setup.zero, stage=3)
    if not setup.checkpointing:
        yield MemorySaving("checkpointing", "train.gradient_checkpointing=true", {"checkpointing": True})
    if setup.rows > 1:
        yield MemorySaving("rows", "train.per_device_train_batch_size=1", {"rows": 1, "masked": False})
    if setup.zero.stage < 3:
        yield MemorySaving("zero", "ZeRO-3 (launch.accelerate_config=zero3)", {"zero": zero3})
    for sp in (2, 4, 8):
        if sp > setup.sp and shape.heads % sp == 0 and setup.gpus % sp == 0:
            text = f"sequence parallelism over {sp} ranks (accelerate_configs/zero3_sp.yaml, sp_size {sp})"
            yield MemorySaving("sp", text, {"sp": sp, "zero": zero3, "masked": False})
    if not setup.zero.offload_optimizer:
        text = "the optimizer on the host (launch.accelerate_config=zero3_offload)"
        yield MemorySaving("offload", text, {"zero": replace(zero3, offload_optimizer=True)})
    for times in (2, 4, 8):
        gpus = setup.gpus * times
        yield MemorySaving("gpus", f"--gpus {gpus} (accelerate_configs/multi_node.yaml)", {"gpus": gpus})


def memory_table(shape: Shape, setup: Setup, memory: Memory) -> str:
    """What is printed: GiB per GPU by part, the moment of the peak, the host."""
    lines = [
        f"memory, predicted: {shape.parameters / 1e9:.2f} billion parameters, {described(setup)}",
        f"  peak per GPU, at {MOMENTS[memory.moment]}:",
        *(f"    {name:12s} {_gib(memory.parts[name]):>7s} GiB" for name in PARTS),
        f"    {'in all':12s} {_gib(memory.gpu):>7s} GiB, and about {_gib(CONTEXT)} for CUDA and NCCL themselves",
    ]
    host = ", ".join(f"{name} {_gib(size)}" for name, size in memory.host.items())
    return "\n".join([*lines, f"  per host: {_gib(memory.host_total)} GiB ({host})"])


def described(setup: Setup) -> str:
    zero = setup.zero
    parts = [f"{setup.gpus} GPUs", f"ZeRO-{zero.stage}" if zero.stage else "no ZeRO"]
    parts += ["optimizer on the host"] if zero.offload_optimizer else []
    parts += ["weights on the host"] if zero.offload_weights else []
    parts += [f"sequence parallel {setup.sp}"] if setup.sp > 1 else []
    parts += [f"LoRA rank {setup.lora.rank}"] if setup.lora else []
    parts += [f"{setup.rows} x {setup.length} tokens", "checkpointing" if setup.checkpointing else "no checkpointing"]
    return ", ".join(parts)


def _gib(size: float) -> str:
    return f"{size / GIB:.1f}"
