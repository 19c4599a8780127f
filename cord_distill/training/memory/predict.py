"""Peak memory of one training, part by part, by arithmetic alone: no torch, nothing measured, no fitted factor.

Every term is a tensor that the pinned versions of transformers, TRL, DeepSpeed and torch really hold; docs/training.md
names them, tests/training/test_memory.py counts them in living runs. Units: bytes. Three moments are compared, since
their peaks do not add up: the loss (`loss`), the backward pass of one layer (`layer`), the optimizer step (`step`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cord_distill.training.memory.setup import Lora, Setup
from cord_distill.training.memory.shapes import Shape

GIB = 2**30
# Outside torch's allocator on each GPU: the CUDA context and NCCL's channels. A round figure, not measured here.
CONTEXT = 1 * GIB
# TRL's fused head projects tiles of 4,096 tokens x 32,768 words (trl/kernels/chunked_logprob.py, trainer/utils.py).
TILE_TOKENS, TILE_WORDS = 4096, 32768
INPUT_OF = {
    "q_proj": "norm 1", "k_proj": "norm 1", "v_proj": "norm 1", "gate_proj": "norm 2", "up_proj": "norm 2",
    "down_proj": "product",
}  # fmt: skip
PARTS = ("weights", "gradients", "optimizer", "activations", "logits", "buffers")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes per GPU by part at the moment of the peak, the other moments' sums, and bytes per host by part."""

    parts: Mapping[str, int]
    moment: Literal["loss", "layer", "step"]
    peaks: Mapping[str, int]
    host: Mapping[str, int]

    @property
    def gpu(self) -> int:
        return sum(self.parts.values())

    @property
    def host_total(self) -> int:
        return sum(self.host.values())


def predict(shape: Shape, setup: Setup) -> Memory:
    """Peak per GPU and per host. Exact for states and saved activations; buffers are their upper bounds."""
    states = model_states(shape, setup)
    moments = {"loss": _at_loss(shape, setup), "layer": _at_layer(shape, setup), "step": _at_step(shape, setup)}
    peaks = {name: sum(states.values()) + sum(parts.values()) for name, parts in moments.items()}
    moment = max(peaks, key=lambda name: peaks[name])
    parts = {**dict.fromkeys(PARTS, 0), **states, **moments[moment]}
    return Memory(parts, moment, peaks, _host(shape, setup))  # type: ignore[arg-type]


def trainable(shape: Shape, setup: Setup) -> int:
    return shape.lora_parameters(setup.lora.rank, setup.lora.targets) if setup.lora else shape.parameters


def model_states(shape: Shape, setup: Setup) -> dict[str, int]:
    """Weights, gradients and optimizer states of one GPU.

    ZeRO-2 shares out gradients and optimizer states, ZeRO-3 the weights too. AdamW: two float32 values per trained
    weight, and under DeepSpeed a float32 master besides. It makes one even of float32 weights: ZeRO-3 would share them,
    but compares a device with its name (stage3.py, `.device == self.device`), which are never equal.
    """
    zero, s, n = setup.zero, setup.width, setup.gpus
    t = trainable(shape, setup)
    adapters = (t * (s if zero.stage else 4)) if setup.lora else 0
    weights = shape.parameters * s + adapters
    gradients = t * (s if zero.stage else 4)
    optimizer = t * (12 if zero.stage else 8)
    if zero.stage >= 3:
        weights = 0 if zero.offload_weights else _share(weights, n)
    if zero.stage >= 2:
        gradients = _share(gradients, n)
    if zero.stage >= 1:
        optimizer = _share(optimizer, n)
    if zero.offload_optimizer:  # the gradients go where the optimizer is
        gradients = optimizer = 0
    return {"weights": weights, "gradients": gradients, "optimizer": optimizer}


def layer_activations(shape: Shape, setup: Setup) -> int:
    """Bytes that autograd saves in one layer, per token, when it keeps them all.

    Two RMSNorms: input in float32, normalised, output; rotated q, k, v, attention's output and log-sum-exp; gate,
    silu(gate), up, their product. Under autocast the norms stay in float32 and each linear map keeps a cast of its own.
    """
    h, q, kv, f = shape.hidden, shape.q, shape.kv, shape.intermediate
    s = setup.computed
    norms = 26 * h if setup.autocast else 8 * h + 4 * s * h
    attention = s * (2 * q + 2 * kv) + 4 * shape.heads
    if shape.qk_norm:
        attention += (4 + s) * (q + kv) + 4 * (shape.heads + shape.kv_heads)
    mlp = 4 * s * f
    if setup.lora:
        # Frozen maps and norms need no inputs: what the adapters save comes in their place.
        norms, mlp = 8 * h, 3 * s * f + _adapters(shape, setup.lora, s)
    kept = norms + 2 * 4 + attention + mlp
    if setup.masked and shape.heads != shape.kv_heads:  # under a mask sdpa repeats keys and values per query head
        kept += s * 2 * (q - kv)
    return kept


def _adapters(shape: Shape, lora: Lora, s: int) -> int:
    """Inputs and inner outputs of one layer's adapters per token; without dropout maps of one input share it."""
    inner = s * lora.rank * len(lora.targets)
    if lora.dropout:  # a copy, and the mask that made it
        return inner + sum((s + 1) * shape.linears[name][0] for name in lora.targets)
    read = {INPUT_OF[name]: shape.linears[name][0] for name in lora.targets if name != "o_proj"}
    return inner + s * sum(read.values())  # o_proj reads the attention's output, which is kept anyway


def saved_activations(shape: Shape, setup: Setup) -> int:
    """Bytes that the forward pass of one rank leaves for the backward pass (weights not counted)."""
    s, h = setup.width, shape.hidden
    stream = 4 if setup.autocast else s
    # Final norm (input in float32, normalised), the head's input, ids and labels, log-probabilities and their mask; a
    # frozen embedding and norm keep neither ids nor what was normalised.
    ends = 4 * h + (1 if setup.lora else 2) * stream * h + 4 + (1 if setup.lora else 2) * 8 + 4 + 1
    layer = stream * h if setup.checkpointing else layer_activations(shape, setup)
    rotary = 0 if setup.checkpointing else 2 * shape.head_dim * stream
    return setup.tokens * (shape.layers * layer + ends + rotary) + _mask(setup)


def _mask(setup: Setup) -> int:
    """A boolean mask of the micro-batch, and sdpa's copy of it in the computing precision."""
    length = -(-setup.length // setup.sp)
    return setup.rows * length * length * 3 if setup.masked else 0


def _at_loss(shape: Shape, setup: Setup) -> dict[str, int]:
    """The fused head's backward pass: a tile of logits, gradients of hidden states and head in float32 and cast."""
    s, n = setup.computed, setup.tokens
    tile = min(n, TILE_TOKENS) * min(shape.vocab, TILE_WORDS) * s
    hidden = n * shape.hidden * (4 + s)
    head = 0 if setup.lora else shape.embedding * (4 + (s if setup.width < 4 else 0))
    gathered = shape.embedding * setup.width if setup.zero.stage == 3 else 0
    return {
        "activations": saved_activations(shape, setup),
        "logits": tile + hidden + head,
        "buffers": _buffers(shape, setup) + gathered + _casts(shape, setup, shape.layers),
    }


def _at_layer(shape: Shape, setup: Setup) -> dict[str, int]:
    """The backward pass of the last layer: its activations (computed again under checkpointing) and their gradients."""
    s = setup.computed
    again = layer_activations(shape, setup) if setup.checkpointing else 0
    gradients = s * (2 * shape.intermediate + 2 * shape.hidden)  # of silu(gate) and up, of the stream and its branch
    if setup.sp > 1:  # Ulysses: q, k, v and the output stand twice while they change from rows to heads
        gradients += s * (2 * shape.q + 2 * shape.kv)
    casts = 1 if setup.checkpointing else shape.layers
    return {
        "activations": saved_activations(shape, setup) + setup.tokens * (again + gradients),
        "buffers": _buffers(shape, setup) + _casts(shape, setup, casts),
    }


def _at_step(shape: Shape, setup: Setup) -> dict[str, int]:
    """The update: DeepSpeed casts the gradients of one sub-group (ZeRO-3) or of its whole share to float32."""
    zero, t = setup.zero, trainable(shape, setup)
    if not zero.stage or zero.offload_optimizer:
        return {"buffers": _buffers(shape, setup)}
    share = _share(t, setup.gpus)
    cast = 4 * min(share, zero.sub_group) if zero.stage == 3 else share * (4 + setup.width)
    return {"buffers": _buffers(shape, setup) + (cast if setup.width < 4 or zero.stage < 3 else 0)}


def _buffers(shape: Shape, setup: Setup) -> int:
    """What communication holds all the time; bucket sizes are those of the DeepSpeed file."""
    zero, t = setup.zero, trainable(shape, setup)
    if not zero.stage:
        return 4 * t if setup.gpus > 1 else 0  # DDP: a bucket copy of every gradient
    if zero.stage == 3:
        # Weights gathered for the layers at work, ahead of them and not yet let go: at most max_live.
        return setup.width * (min(shape.parameters, zero.max_live) + zero.reduce_bucket)
    return setup.width * min(zero.reduce_bucket, t) * (2 if zero.overlap else 1)


def _casts(shape: Shape, setup: Setup, layers: int) -> int:
    """Autocast's bf16 copies of the linear maps' weights."""
    return 2 * layers * sum(a * b for a, b in shape.linears.values()) if setup.autocast else 0


def _host(shape: Shape, setup: Setup) -> dict[str, int]:
    """Per host: offloaded states of its ranks (pinned), and one whole copy of the weights while they are saved."""
    zero, t, local = setup.zero, trainable(shape, setup), min(setup.gpus, setup.per_node)
    parts = {"weights while saving": shape.parameters * setup.width}
    if zero.offload_optimizer:
        parts["optimizer"] = _share(12 * t, setup.gpus) * local
        # DeepSpeed keeps them twice: as they come (weights' precision) and in float32 for the update.
        parts["gradients"] = _share((4 + setup.width) * t, setup.gpus) * local
    if zero.offload_weights:
        parts["weights"] = _share(shape.parameters * setup.width, setup.gpus) * local
    return parts


def _share(total: int, ranks: int) -> int:
    return -(-total // ranks)
