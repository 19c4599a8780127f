"""The tiny model: Qwen3's architecture, written out on one flat float32 vector.

The flat vector makes the optimizer and the exchange of gradients one operation each, and does without importing
transformers in the training processes. A saved folder is an ordinary `Qwen3ForCausalLM`; a test compares the logits.
Axes: B batch, T position, N head, D head_dim, H hidden.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from cord_distill.worlds.ledger.tokenizer import END, MAX_LENGTH, PAD, VOCABULARY, WITH_TAILS, save_tokenizer

HIDDEN, LAYERS, FORWARD, HEADS, HEAD_DIM, EPS, THETA = 64, 3, 192, 2, 32, 1e-6, 10000.0
REWARD_LAYERS = 5
INIT_STD, HEAD_STD = 0.05, 0.2

_SQUARE = [f"self_attn.{x}_proj" for x in "qkvo"]
_LAYER_NORMS = {"self_attn.q_norm": HEAD_DIM, "self_attn.k_norm": HEAD_DIM, "input_layernorm": HIDDEN}
_LAYER_NORMS["post_attention_layernorm"] = HIDDEN


def _shapes(count: int, words: int = len(VOCABULARY)) -> dict[str, tuple[int, ...]]:
    """Name -> shape in the flat order: matrices of one shape lie together, so that Muon sees them as one batch."""
    layers = [f"model.layers.{i}." for i in range(count)]
    shapes: dict[str, tuple[int, ...]] = {f"{x}{m}.weight": (HIDDEN, HIDDEN) for x in layers for m in _SQUARE}
    shapes |= {f"{x}mlp.{m}_proj.weight": (FORWARD, HIDDEN) for x in layers for m in ("gate", "up")}
    shapes |= {f"{x}mlp.down_proj.weight": (HIDDEN, FORWARD) for x in layers}
    shapes |= {"model.embed_tokens.weight": (words, HIDDEN), "model.norm.weight": (HIDDEN,)}
    return shapes | {f"{x}{norm}.weight": (size,) for x in layers for norm, size in _LAYER_NORMS.items()}


SHAPES, SHAPES_WITH_TAILS = _shapes(LAYERS), _shapes(LAYERS, len(WITH_TAILS))
HEAD = "score.weight"
REWARD_SHAPES = {**_shapes(REWARD_LAYERS), HEAD: (1, HIDDEN)}


def _length(shapes: Mapping[str, tuple[int, ...]]) -> int:
    return sum(map(math.prod, shapes.values()))


def shapes_of(flat: Tensor) -> dict[str, tuple[int, ...]]:
    """Those of a language model of either world or of a reward model: the vector's length tells which it is."""
    return next(shapes for shapes in (SHAPES, SHAPES_WITH_TAILS, REWARD_SHAPES) if flat.numel() == _length(shapes))


def views(flat: Tensor) -> dict[str, Tensor]:
    """The named parameters (HF names) as views of the flat vector."""
    shapes = shapes_of(flat)
    parts = flat.split([math.prod(shape) for shape in shapes.values()])
    return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def initial(seed: int, shapes: Mapping[str, tuple[int, ...]] = SHAPES) -> Tensor:
    """A fresh flat vector: normal with std 0.05, norms 1."""
    flat = torch.empty(_length(shapes)).normal_(0.0, INIT_STD, generator=torch.Generator().manual_seed(seed))
    for name, part in views(flat).items():
        if "norm" in name:
            part.fill_(1.0)
    return flat


def _rope_tables() -> tuple[Tensor, Tensor]:
    inverse = 1.0 / THETA ** (torch.arange(0, HEAD_DIM, 2).float() / HEAD_DIM)
    angles = torch.outer(torch.arange(MAX_LENGTH).float(), inverse)
    angles = torch.cat([angles, angles], -1)[:, None]
    return angles.cos(), angles.sin()


_COS, _SIN = _rope_tables()


def _rotate(x_BTND: Tensor) -> Tensor:
    length = x_BTND.shape[1]
    a, b = x_BTND.chunk(2, -1)
    return x_BTND * _COS[:length] + torch.cat([-b, a], -1) * _SIN[:length]


def logits(flat: Tensor, ids_BT: Tensor) -> Tensor:
    """Next-token logits, (B, T, vocabulary). Rows may be padded on the right: attention is causal."""
    p = views(flat)
    return F.linear(_normed(p, _stream(p, ids_BT)), p["model.embed_tokens.weight"])


def rewards(flat: Tensor, ids_BT: Tensor) -> Tensor:
    """The reward head's output at every token, (B, T): log-odds of "this step is right". flat: of `with_head`.

    Only the layers above the language model's, and the head, have gradients.
    """
    p = views(flat)
    with torch.no_grad():
        h = _stream(p, ids_BT)
    for i in range(LAYERS, REWARD_LAYERS):
        h = _layer(p, i, h)
    return F.linear(_normed(p, h), p[HEAD]).squeeze(-1)


@torch.no_grad()
def with_head(flat: Tensor, ids_BT: Tensor, seed: int) -> Tensor:
    """A language model, and above it fresh layers, which add nothing yet, and a fresh reward head.

    A token's reward compares it with what the language model expected one place before: hence the layers. Training
    leaves its residual stream with entries of about 80, against which what a fresh layer adds would be lost; it is
    brought to a root mean square of 1 over the texts `ids_BT`. The norms make up for that.
    """
    p = views(flat)
    size = _stream(p, ids_BT).square().mean().sqrt()
    made = initial(seed, REWARD_SHAPES)
    for name, part in views(made).items():
        feeds_stream = any(x in name for x in ("embed_tokens", "o_proj", "down_proj"))
        if name in p and name != "model.norm.weight":
            part.copy_(p[name] / size if feeds_stream else p[name])
        elif feeds_stream:
            part.zero_()
        elif name == HEAD:
            part.mul_(HEAD_STD / INIT_STD)
    return made


def _stream(p: Mapping[str, Tensor], ids_BT: Tensor) -> Tensor:
    """The residual stream behind a language model's layers, (B, T, hidden)."""
    h = F.embedding(ids_BT, p["model.embed_tokens.weight"])
    for i in range(LAYERS):
        h = _layer(p, i, h)
    return h


def _normed(p: Mapping[str, Tensor], h: Tensor) -> Tensor:
    return F.rms_norm(h, (HIDDEN,), p["model.norm.weight"], EPS)


def _layer(p: Mapping[str, Tensor], i: int, h: Tensor) -> Tensor:
    """(B, T, hidden) behind layer i."""
    batch, length, _ = h.shape
    heads = (batch, length, HEADS, HEAD_DIM)
    w = {name: p[f"model.layers.{i}.{name}.weight"] for name in (*_SQUARE, *_LAYER_NORMS)}
    gate, up, down = (p[f"model.layers.{i}.mlp.{x}_proj.weight"] for x in ("gate", "up", "down"))
    x = F.rms_norm(h, (HIDDEN,), w["input_layernorm"], EPS)
    q, k, v = (F.linear(x, w[f"self_attn.{name}_proj"]).view(heads) for name in "qkv")
    q = _rotate(F.rms_norm(q, (HEAD_DIM,), w["self_attn.q_norm"], EPS))
    k = _rotate(F.rms_norm(k, (HEAD_DIM,), w["self_attn.k_norm"], EPS))
    q, k, v = (z.transpose(1, 2) for z in (q, k, v))
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    h = h + F.linear(mixed.transpose(1, 2).reshape(batch, length, HIDDEN), w["self_attn.o_proj"])
    x = F.rms_norm(h, (HIDDEN,), w["post_attention_layernorm"], EPS)
    return h + F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)


def save(flat: Tensor, folder: Path) -> None:
    """Write weights, tokenizer and configs: a folder that AutoModelForCausalLM, AutoTokenizer and vLLM load.

    A reward model's is one for AutoModelForSequenceClassification, with one output.
    """
    from safetensors.torch import save_file

    tensors = {name: part.detach().clone() for name, part in views(flat).items()}
    rewards = HEAD in tensors
    words = len(tensors["model.embed_tokens.weight"])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    ids = {"eos_token_id": VOCABULARY[END], "pad_token_id": VOCABULARY[PAD]}
    config = {
        "architectures": ["Qwen3ForSequenceClassification" if rewards else "Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "dtype": "float32",
        "vocab_size": words,
        "hidden_size": HIDDEN,
        "intermediate_size": FORWARD,
        "num_hidden_layers": REWARD_LAYERS if rewards else LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "head_dim": HEAD_DIM,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_sliding_window": False,
        "rms_norm_eps": EPS,
        "rope_parameters": {"rope_type": "default", "rope_theta": THETA},
        "max_position_embeddings": MAX_LENGTH,
        "initializer_range": INIT_STD,
        "tie_word_embeddings": True,
        "use_cache": True,
        "bos_token_id": None,
        **ids,
        **({"id2label": {"0": "right"}, "label2id": {"right": 0}} if rewards else {}),
    }
    generation = {"do_sample": True, "temperature": 0.6, "top_p": 1.0, **ids}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    save_tokenizer(folder, tails=words > len(VOCABULARY))


def load(folder: Path) -> Tensor:
    """The flat vector of a folder that `save` wrote."""
    from safetensors.torch import load_file

    tensors = load_file(folder / "model.safetensors")
    return torch.cat([tensors[name].flatten() for name in (REWARD_SHAPES if HEAD in tensors else SHAPES)])
