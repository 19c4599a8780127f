"""JSON made small for a page: deflated, then base64, so that no text of it can mean anything to HTML."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any


def packed(value: Any) -> str:
    """What `DecompressionStream("deflate")` and JSON.parse turn back into `value`, lone surrogates included."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode("ascii"), 6)).decode("ascii")


def unpacked(text: str) -> Any:
    """Inverse of `packed`."""
    return json.loads(zlib.decompress(base64.b64decode(text)))
