"""What the stages after SFT hold besides the student: a reference or a teacher, and the samples that are being written.

The student's own states and activations are those of predict.py. Bytes are those of tensors of the pinned TRL; nothing
of this was measured on a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cord_distill.recipe.recipe import Recipe
from cord_distill.recipe.training_stages import section_of
from cord_distill.training.memory.predict import CONTEXT, GIB, TILE_TOKENS, TILE_WORDS, predict
from cord_distill.training.memory.setup import Setup, setup_of
from cord_distill.training.memory.shapes import Shape


@dataclass(frozen=True, slots=True)
class StageMemory:
    """Bytes per GPU. training: while the student is updated; sampling: while it writes, {} where it does not."""

    training: Mapping[str, int]
    sampling: Mapping[str, int]

    @property
    def gpu(self) -> int:
        return max(sum(self.training.values()), sum(self.sampling.values()))


def stage_memory(recipe: Recipe, student: Shape, teacher: Shape | None, gpus: int, per_node: int = 8) -> StageMemory:
    """What one GPU holds in `stage=dpo` or `stage=distil`. teacher: of the latter. Raises CordError as `setup_of`."""
    section = section_of(recipe)
    setup = setup_of(recipe, student, gpus, per_node)
    if recipe.stage == "dpo":
        # A pair is two rows, padded to one length.
        memory = predict(student, replace(setup, rows=2 * setup.rows, masked=True))
        alone = setup.lora is not None or bool(section.get("precompute_ref_log_probs"))
        reference = 0 if alone else _frozen(student, setup)
        return StageMemory({"student": memory.gpu, "reference": reference}, {})
    assert teacher is not None
    memory = predict(student, replace(setup, masked=True))
    held = _frozen(teacher, setup)
    # The teacher's side of the loss's tile, in float32 (trl/kernels/chunked_divergence.py); the student's is predict's.
    chunk = 4 * min(setup.tokens, TILE_TOKENS) * min(teacher.vocab, TILE_WORDS)
    hidden = setup.computed * setup.tokens * teacher.hidden
    training = {"student": memory.gpu, "teacher": held, "teacher's hidden states and logits": hidden + chunk}
    rows = setup.rows * _accumulation(section, setup)
    cache = 2 * student.layers * student.kv * setup.computed * rows * setup.length
    gathered = 0
    if setup.zero.stage == 3 and section.get("ds3_gather_for_generation", True):
        gathered = student.parameters * setup.width
    states = sum(memory.parts[name] for name in ("weights", "gradients", "optimizer"))
    sampling = {
        "student": states, "teacher": held, f"keys and values of {rows} samples": cache, "gathered weights": gathered,
    }  # fmt: skip
    return StageMemory(training, sampling)


def stage_page(
    recipe: Recipe, student: Shape, teacher: Shape | None, gpus: int, gpu_memory: float | None, per_node: int = 8
) -> tuple[str, list[str]]:
    """(lines to print, faults) of a later stage. gpu_memory: GiB of one GPU, None = not asked."""
    memory = stage_memory(recipe, student, teacher, gpus, per_node)
    lines = [f"memory of {recipe.stage}, predicted (not verified on a GPU):"]
    for when, parts in (("training", memory.training), ("sampling", memory.sampling)):
        if parts:
            told = ", ".join(f"{name} {size / GIB:.1f}" for name, size in parts.items())
            lines.append(f"  {when}: {sum(parts.values()) / GIB:.1f} GiB per GPU ({told})")
    faults = []
    if gpu_memory is not None and memory.gpu + CONTEXT > gpu_memory * GIB:
        needs = f"{(memory.gpu + CONTEXT) / GIB:.1f} GiB per GPU and there are {gpu_memory:g}"
        faults.append(f"{recipe.stage} needs {needs}: {_advice(recipe, memory)}")
    return "\n".join(lines), faults


def _advice(recipe: Recipe, memory: StageMemory) -> str:
    if recipe.stage == "dpo":
        return "dpo.precompute_ref_log_probs=true lets the reference go, ZeRO-3 shares it out, LoRA needs none"
    if sum(memory.sampling.values()) > sum(memory.training.values()):
        return "lower distil.max_length or distil.global_batch_size (every sample of an update is written at once)"
    return "take a smaller teacher, ZeRO-3 (launch.accelerate_config=zero3), or a lower distil.max_length"


def _frozen(shape: Shape, setup: Setup) -> int:
    """Weights of a model that is only asked; DeepSpeed shares them out under ZeRO-3 alone."""
    whole = shape.parameters * setup.computed
    return -(-whole // setup.gpus) if setup.zero.stage == 3 else whole


def _accumulation(section: Mapping[str, object], setup: Setup) -> int:
    batch = section.get("global_batch_size")
    if isinstance(batch, int):
        return max(1, batch // (setup.rows * setup.gpus))
    given = section.get("gradient_accumulation_steps", 1)
    return given if isinstance(given, int) else 1
