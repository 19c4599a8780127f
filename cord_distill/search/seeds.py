"""Derives each sampling request's seed from its name, so that no answer depends on what ran before it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

SEED_BITS = 48


def keyed_seed(*parts: Any) -> int:
    """A 48-bit seed from (recipe seed, problem id, parent path, step, teacher, sample) or any JSON-able parts."""
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[: SEED_BITS // 8], "big")
