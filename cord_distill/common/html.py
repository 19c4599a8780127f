"""TODO docstring of cord_distill.common.html."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from cord_distill.report.page import HERE


def content_hash(text: str) -> str:
    """Of a script or style in the page, as its Content-Security-Policy names it (without quotes)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def asset(name: str, folder: Path = HERE) -> str:
    """A file of a page, of the report's own by default: its frame, its style, its scripts."""
    return (folder / name).read_text(encoding="utf-8")
