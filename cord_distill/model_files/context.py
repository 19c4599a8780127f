"""Reads the longest context that a model's config.json allows: for decoding, evaluation, training and `cord check`.

YaRN is where readers differ: the model cards of Qwen and others say `factor: 4` and leave `max_position_embeddings` at
the length before scaling. transformers computes such positions as they are; vLLM holds the model to the short length
until it is told the longer one (`longer_than_stated`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

from cord_distill.common.errors import CordError
from cord_distill.common.terminal import first_line

# Where architectures write their length; the smallest counts, as in vLLM.
LENGTHS = (
    *("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length"),
    *("max_target_positions", "max_sequence_length", "max_seq_length", "seq_len"),
)
# Configs of several parts keep the language model's in one of these.
NESTED = ("text_config", "language_config", "llm_config")
YARN = ("yarn", "deepseek_yarn")
# Kinds of scaling whose configs state the length after scaling.
SCALED_ALREADY = ("default", "su", "longrope", "llama3", "deepseek_llama_scaling", "mrope", *YARN)


@dataclass(frozen=True, slots=True)
class Context:
    """The lengths that a config names. positions: the longest context, None where it names none. stated: what it writes
    without YaRN's factor. part: the key of the language model's config, None where the config is it.
    """

    positions: int | None
    stated: int | None
    part: str | None


def context_of(config: dict[str, Any]) -> Context:
    """Reads a config as a mapping (config.json, or `to_dict()` of transformers')."""
    part = _language_key(config)
    text = language_model(config)
    lengths = [int(text[key]) for key in LENGTHS if _number(text.get(key)) and text[key] > 0]
    if not lengths:
        return Context(None, None, part)
    stated = longest = min(lengths)
    # Gemma 3 states the length after scaling.
    if "gemma3" not in str(config.get("model_type")) and "gemma3" not in str(text.get("model_type")):
        for rope in _ropes(text):
            kind, factor = rope.get("rope_type") or rope.get("type") or "default", rope.get("factor")
            if not _number(factor) or factor <= 1:
                continue
            if kind in YARN:
                named = rope.get("original_max_position_embeddings")
                original = named if _number(named) and named else stated
                longest = max(longest, int(original * factor))
            elif kind not in SCALED_ALREADY:
                stated = longest = int(min(lengths) * factor)
    return Context(longest, stated, part)


def language_model(config: dict[str, Any]) -> dict[str, Any]:
    """The language model's part of a config: of several parts (text and images) that one, else the config itself."""
    part = _language_key(config)
    return config[part] if part else config


def _language_key(config: dict[str, Any]) -> str | None:
    return next((name for name in NESTED if isinstance(config.get(name), dict)), None)


def longer_than_stated(config: dict[str, Any], length: int) -> dict[str, Any]:
    """The change to its config (`hf_overrides`) that lets vLLM hold `length`; {} where it does so by itself."""
    found = context_of(config)
    if found.positions is None or found.stated is None or found.stated >= min(length, found.positions):
        return {}
    change = {"max_position_embeddings": min(length, found.positions)}
    return {found.part: change} if found.part else change


def read_config(path: str, *, revision: str | None = None, trust_remote_code: bool = False) -> dict[str, Any]:
    """The config of a folder or hub id with its architecture's defaults filled in (loads transformers).

    Raises CordError with the first line of what transformers says, for example of a `model_type` that it does not know.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=trust_remote_code).to_dict()
    except Exception as error:  # whatever a config of somebody else's code makes the library raise
        raise CordError(
            f"{path}: transformers cannot read its config.json ({first_line(error)}); mend the file, or take a model "
            "whose architecture it knows"
        ) from error


def _number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _ropes(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rope settings: one for all layers, or one per kind of layer."""
    for key in ("rope_scaling", "rope_parameters"):
        rope = config.get(key)
        if isinstance(rope, dict):
            yield rope
            yield from (one for one in rope.values() if isinstance(one, dict))
