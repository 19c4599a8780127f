"""Checks a local model folder without torch or transformers: its weights, tokenizer, heads and positions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.jsonl import read_object
from cord_distill.common.weights_file import weights_fault
from cord_distill.model_files.context import context_of, language_model

WEIGHTS = ("*.safetensors", "*.bin")
TOKENIZER = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")


@dataclass(frozen=True, slots=True)
class FolderFacts:
    """The attention heads and positions of a folder's config.json; None where it does not say."""

    heads: int | None
    positions: int | None


def folder_facts(folder: Path, key: str) -> FolderFacts:
    """Raises CordError when config.json is no JSON object. key: of the recipe, for the error."""
    config = read_object(folder / "config.json")
    if config is None:
        raise CordError(f"{key}: {folder / 'config.json'} cannot be read as a JSON object; copy the model again")
    return FolderFacts(_whole(language_model(config).get("num_attention_heads")), context_of(config).positions)


def folder_faults(folder: Path, key: str, *, weights: bool) -> list[str]:
    """What a model folder lacks, one sentence each. weights: False for a model of which only the tokenizer is used."""
    found = _tokenizer_faults(folder, key)
    if not any((folder / name).is_file() for name in TOKENIZER):
        found.append(f"{key}: {folder} holds no tokenizer (tokenizer.json); copy the model's tokenizer files there")
    if weights and not any(True for pattern in WEIGHTS for _ in folder.glob(pattern)):
        found.append(f"{key}: {folder} holds no weights (*.safetensors); copy them there, or name another folder")
    if weights:
        found += _missing_shards(folder, key)
        odd = next(filter(None, map(weights_fault, sorted(folder.glob("*.safetensors")))), None)
        found += [f"{key}: {folder}: {odd}; copy it again"] if odd else []
    return found


def _tokenizer_faults(folder: Path, key: str) -> list[str]:
    """A tokenizer.json that is not whole, or of another model: its ids would have no row in the embedding.

    A large one has 30 MB, so only its ends and its added tokens, which have the highest ids, are looked at.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        return []
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        return [f"{key}: {path} cannot be read ({error}); copy it again"]
    if not (text.startswith("{") and text.endswith("}")):
        return [f"{key}: {path} is damaged (half copied, or a pointer of git-lfs); copy it again"]
    highest, rows = _highest_added_id(text), vocabulary_size(read_object(folder / "config.json") or {})
    if rows is None or highest < rows:
        return []
    return [
        f"{key}: {folder}: the tokenizer has ids up to {highest}, the model's embedding {rows} rows (vocab_size): they "
        "are of two models; copy the model's own tokenizer files there"
    ]


def _highest_added_id(text: str) -> int:
    """Of a tokenizer.json; -1 where it names no added tokens in the usual form."""
    at = text.find('"added_tokens"')
    try:
        added, _ = json.JSONDecoder().raw_decode(text, text.index("[", at))
        return max((int(token["id"]) for token in added), default=-1) if at >= 0 else -1
    except (ValueError, KeyError, TypeError, RecursionError):
        return -1


def vocabulary_size(config: dict[str, Any]) -> int | None:
    """Rows of the embedding, by config.json; None where it does not say."""
    parts = (language_model(config), config)
    return next((_whole(one["vocab_size"]) for one in parts if "vocab_size" in one), None)


def _missing_shards(folder: Path, key: str) -> list[str]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return []
    files = (read_object(index) or {}).get("weight_map")
    if not isinstance(files, dict):
        return [f"{key}: {index} is no index of weights; copy the model again"]
    named = set(map(str, files.values()))
    gone = sorted(name for name in named if not (folder / name).is_file())
    return [f"{key}: {folder} lacks {gone[0]} ({len(gone)} of {len(named)} files); copy it again"] if gone else []


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
