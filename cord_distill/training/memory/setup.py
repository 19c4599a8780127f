"""What the memory of a training depends on, read off a recipe and its launcher's files. Loads nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.recipe.recipe import Recipe
from cord_distill.recipe.training_stages import section_of
from cord_distill.training.arguments import DEFAULTS
from cord_distill.training.deepspeed import zero_optimization
from cord_distill.training.launch import launcher_file
from cord_distill.training.memory.shapes import Shape

# What TRL and peft take when the recipe says nothing (trl/trainer/model_config.py, peft's mapping for llama and qwen).
LORA_RANK, LORA_DROPOUT, LORA_TARGETS = 16, 0.05, ("q_proj", "v_proj")


@dataclass(frozen=True, slots=True)
class Lora:
    rank: int
    targets: tuple[str, ...]
    dropout: float = 0.05


@dataclass(frozen=True, slots=True)
class Zero:
    """What DeepSpeed was told; sizes are numbers of elements. stage 0 = no DeepSpeed."""

    stage: int = 0
    offload_optimizer: bool = False
    offload_weights: bool = False
    reduce_bucket: int = 500_000_000
    overlap: bool = False
    max_live: int = 1_000_000_000
    sub_group: int = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Setup:
    """One training. gpus: processes; sp: ranks that share one row; rows x length: the micro-batch of one group.

    masked: attention gets a mask (rows of a micro-batch padded to one length, or packed under sdpa) instead of a flag.
    half: bfloat16 (on a GPU); False: float32 throughout, as on CPU.
    """

    gpus: int = 8
    per_node: int = 8
    zero: Zero = field(default_factory=Zero)
    sp: int = 1
    rows: int = 1
    length: int = 20480
    checkpointing: bool = True
    masked: bool = False
    lora: Lora | None = None
    half: bool = True

    @property
    def autocast(self) -> bool:
        """float32 weights under bf16 autocast: what trains where DeepSpeed keeps no float32 masters."""
        return self.half and not self.zero.stage and self.lora is None

    @property
    def tokens(self) -> int:
        """Tokens that one rank holds."""
        return self.rows * -(-self.length // self.sp)

    @property
    def width(self) -> int:
        """Bytes of a stored weight."""
        return 4 if self.autocast else self.computed

    @property
    def computed(self) -> int:
        """Bytes of a number in the precision of the computation."""
        return 2 if self.half else 4


def setup_of(recipe: Recipe, shape: Shape, gpus: int, per_node: int = 8) -> Setup:
    """The training of `recipe` on `gpus` GPUs in bfloat16. Raises CordError when a file that it names is damaged."""
    # A null says nothing: what is refused is said by the check of the section itself.
    train = DEFAULTS | {key: value for key, value in section_of(recipe).items() if value is not None}
    launcher = launcher_file(recipe)
    sp = int((launcher.get("parallelism_config") or {}).get("parallelism_config_sp_size", 1))
    rows = int(train["per_device_train_batch_size"])
    # One row alone needs no mask; the attention of sequence parallelism takes none.
    masked = sp == 1 and (rows > 1 or bool(train.get("packing")) or bool(train.get("pad_to_multiple_of")))
    return Setup(
        gpus=gpus,
        per_node=per_node,
        zero=_zero(train, launcher, shape),
        sp=sp,
        rows=rows,
        length=int(train["max_length"]),
        checkpointing=bool(train.get("gradient_checkpointing", True)),
        masked=masked,
        lora=_lora(train, shape),
    )


def _lora(train: dict[str, Any], shape: Shape) -> Lora | None:
    if not train.get("use_peft"):
        return None
    targets = train.get("lora_target_modules") or LORA_TARGETS
    if targets in ("all-linear", ["all-linear"]):
        targets = tuple(shape.linears)
    unknown = [name for name in targets if name not in shape.linears]
    if unknown:
        raise CordError(
            f"train.lora_target_modules: memory is not predicted for {unknown[0]!r}; known: {', '.join(shape.linears)}"
        )
    return Lora(int(train.get("lora_r", LORA_RANK)), tuple(targets), float(train.get("lora_dropout", LORA_DROPOUT)))


def _zero(train: dict[str, Any], launcher: dict[str, Any], shape: Shape) -> Zero:
    """The launcher's DeepSpeed counts before the recipe's, as in training."""
    said = launcher.get("deepspeed_config") or {}
    if launcher.get("distributed_type") == "DEEPSPEED" and "deepspeed_config_file" not in said:
        zero: dict[str, Any] = {"stage": said.get("zero_stage", 2)}
        zero["offload_optimizer"] = {"device": said.get("offload_optimizer_device")}
        zero["offload_param"] = {"device": said.get("offload_param_device")}
    else:
        file = said.get("deepspeed_config_file") or train.get("deepspeed")
        if not file:
            return Zero()
        zero = zero_optimization(str(file), "DeepSpeed")
    stage = int(zero.get("stage", 0))

    def size(key: str, auto: int, default: float) -> int:
        value = zero.get(key, default)
        return auto if value == "auto" else int(value)

    try:
        return Zero(
            stage=stage,
            offload_optimizer=_device(zero, "offload_optimizer"),
            offload_weights=_device(zero, "offload_param"),
            reduce_bucket=size("reduce_bucket_size", shape.hidden**2, 5e8),
            overlap=bool(zero.get("overlap_comm", stage == 3)),
            max_live=size("stage3_max_live_parameters", 10**9, 1e9),
            sub_group=size("sub_group_size", 10**9, 1e9),
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise CordError(f"DeepSpeed: zero_optimization holds a value of another type ({error}); mend it") from None


def _device(zero: dict[str, Any], key: str) -> bool:
    return (zero.get(key) or {}).get("device") in ("cpu", "nvme")
