"""Reads the files of the pages that we write (the report, the view page), and names their scripts by hash."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path


def content_hash(text: str) -> str:
    """Of a script or style in the page, as its Content-Security-Policy names it (without quotes)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def asset(name: str, folder: Path) -> str:
    """Returns the text of a page's file: its frame, its style or one of its scripts."""
    return (folder / name).read_text(encoding="utf-8")
