"""Sizes of a decoder-only transformer and how many parameters they make; read from config.json or shapes.yaml."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cord_distill.common.errors import CordError
from cord_distill.model_files.context import context_of

KNOWN = Path(__file__).with_suffix(".yaml")
# Dense decoders whose layers are q, k, v, o, gate, up, down and two RMSNorms. qwen2 writes biases on q, k and v
# without a key of its own; qwen3 normalises queries and keys per head.
MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3")


@dataclass(frozen=True, slots=True)
class Shape:
    """hidden, intermediate, vocab: widths; heads, kv_heads, head_dim: attention; positions: the longest context."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    positions: int
    qkv_bias: bool
    qk_norm: bool
    tied: bool

    @property
    def q(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv(self) -> int:
        return self.kv_heads * self.head_dim

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of the seven linear maps of one layer."""
        h, f = self.hidden, self.intermediate
        return {
            "q_proj": (h, self.q),
            "k_proj": (h, self.kv),
            "v_proj": (h, self.kv),
            "o_proj": (self.q, h),
            "gate_proj": (h, f),
            "up_proj": (h, f),
            "down_proj": (f, h),
        }

    @property
    def layer_parameters(self) -> int:
        biases = self.q + 2 * self.kv if self.qkv_bias else 0
        norms = 2 * self.hidden + (2 * self.head_dim if self.qk_norm else 0)
        return sum(a * b for a, b in self.linears.values()) + biases + norms

    @property
    def embedding(self) -> int:
        """Parameters of the embedding; those of the head are as many."""
        return self.vocab * self.hidden

    @property
    def parameters(self) -> int:
        return self.layers * self.layer_parameters + (1 if self.tied else 2) * self.embedding + self.hidden

    def lora_parameters(self, rank: int, targets: Sequence[str]) -> int:
        return self.layers * rank * sum(sum(self.linears[name]) for name in targets)


def shape_of(model: str) -> Shape:
    """The sizes of a local folder's model (its config.json), or of a known hub id. Raises CordError for any other."""
    folder = Path(model).expanduser()
    if (folder / "config.json").is_file():
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except ValueError as error:
            raise CordError(f"{folder / 'config.json'} cannot be read ({error}); copy the model again") from None
        return _from_config(config, str(folder))
    known = yaml.safe_load(KNOWN.read_text(encoding="utf-8"))
    if model in known:
        return Shape(**known[model])
    raise CordError(f"the sizes of {model} are not known here: download it and give its folder as ./{folder.name}")


SIZES = ("hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size", "vocab_size")


def _from_config(config: dict[str, Any], name: str) -> Shape:
    kind = config.get("model_type")
    if kind not in MODEL_TYPES:
        raise CordError(f"{name}: model_type {kind!r} is none whose memory is predicted ({', '.join(MODEL_TYPES)})")
    lacking = [key for key in SIZES if not isinstance(config.get(key), int)]
    if lacking:
        raise CordError(f"{name}: its config.json names no {lacking[0]}; copy the model again")
    hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    return Shape(
        hidden=hidden,
        layers=int(config["num_hidden_layers"]),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        head_dim=int(config.get("head_dim") or hidden // heads),
        intermediate=int(config["intermediate_size"]),
        vocab=int(config["vocab_size"]),
        positions=context_of(config).positions or 0,
        qkv_bias=kind == "qwen2" or bool(config.get("attention_bias")),
        qk_norm=kind == "qwen3",
        tied=bool(config.get("tie_word_embeddings", False)),
    )
