"""Writes names and texts of others into our Markdown so that they stay text, whatever they hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from cord_distill.common.terminal import plain

# A bracket opens nothing unless a target follows it, and intervals are full of them.
_SPECIAL = re.compile(r"[\\`*|]|\](?=[(\[:])")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def inline(text: object) -> str:
    """A text for a line, a list item or a table's cell: no markup, no HTML, no line end of its own is left in it."""
    line = _SPECIAL.sub(lambda found: "\\" + found[0], " ".join(plain(text).split()))
    return re.sub("[&<]|^>", lambda found: _HTML[found[0]], line)


def code(text: object) -> str:
    """A text as a code span, which holds no backtick and, inside a table, no bar."""
    line = " ".join(plain(text).split()).replace("`", "'").replace("|", "¦")
    return f"`{line}`" if line else ""


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain cells; bars and line ends in a name cannot break it."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(map(inline, cells)) + " |"

    return "\n".join([line(head), "|---|" + "---:|" * (len(head) - 1), *map(line, rows)])


def without_places(text: str) -> str:
    """Absolute paths become names, and addresses of servers lose their host: what is published says nothing of where
    files and servers of this machine are."""
    text = re.sub(r"\b(https?://)[^\s'\"<>)\]]+", _public, text)
    return re.sub(r"(?<![\w./:~-])(?:~|[A-Za-z]:)?/(?:[^\s'\"/`|,;:)\]]+/)+", "", text)


# Hosts whose pages are public anyway.
_PUBLIC = re.compile(r"https?://(?:[\w-]+\.)*(?:huggingface\.co|hf\.co|github\.com|arxiv\.org|wandb\.ai)(?:[/?#]|$)")


def _public(found: re.Match[str]) -> str:
    return found[0] if _PUBLIC.match(found[0]) else f"{found[1]}SERVER"
