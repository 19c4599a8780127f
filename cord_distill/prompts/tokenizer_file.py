"""Reads tokenizer.json up to its vocabulary, without any library: added tokens and how text is prepared.

The file of a large vocabulary has 30 MB, of which these are the first 1 %; `cord check` reads it for each model.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

KEY = re.compile(r'[\s,{]*"(\w+)"\s*:\s*')
VOCABULARY = "model"


def tokenizer_head(folder: Path) -> dict[str, Any]:
    """The keys of tokenizer.json up to its vocabulary; {} where the folder has none, or one that cannot be read."""
    try:
        text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return {}
    decoder, found, at = json.JSONDecoder(), {}, 0
    while (match := KEY.match(text, at)) and match[1] != VOCABULARY:
        try:
            found[match[1]], at = decoder.raw_decode(text, match.end())
        except (ValueError, RecursionError):
            break
    return found


def added_tokens(head: dict[str, Any]) -> dict[str, int]:
    """Each added token with its id."""
    found = head.get("added_tokens") or []
    return {str(token["content"]): int(token["id"]) for token in found if isinstance(token, dict) and "id" in token}


def changes_text(head: dict[str, Any]) -> str | None:
    """How the tokenizer changes text for good, None where it does not (composing accents alone is let pass)."""
    kinds = [part.get("type") for part in _parts(head.get("normalizer"))]
    lossy = {
        "Lowercase": "lower-cases it",
        "StripAccents": "strips accents",
        "BertNormalizer": "cleans it as BERT does",
        "Precompiled": "normalises it as T5's does",
        "Strip": "strips blanks",
        "NFKC": "replaces signs by compatible ones",
        "NFKD": "replaces signs by compatible ones",
    }
    split = [part.get("type") for part in _parts(head.get("pre_tokenizer"))]
    drops = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"} & set(map(str, split))
    changes = [lossy[str(kind)] for kind in kinds if kind in lossy] + (
        ["drops line breaks and blanks"] if drops else []
    )
    return " and ".join(dict.fromkeys(changes)) or None


def _parts(component: Any) -> list[dict[str, Any]]:
    """A component and the members of a sequence."""
    if not isinstance(component, dict):
        return []
    members = [part for key in ("normalizers", "pretokenizers") for part in component.get(key) or []]
    return [component, *(part for member in members for part in _parts(member))]
