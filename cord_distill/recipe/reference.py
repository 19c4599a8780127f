"""docs/recipe.md, written from the typed recipe: a table of keys per section, each with the text that stands below it.

`python -m cord_distill.recipe.reference` writes the page anew (a test compares).
"""

from __future__ import annotations

import inspect
import json
import re
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from cord_distill.recipe.base import Section
from cord_distill.recipe.recipe import Recipe

FILE = Path(__file__).resolve().parents[2] / "docs" / "recipe.md"
HEAD = """# Recipe reference

One YAML is one experiment. Every key is optional unless its default says *required*. A key that does not exist is an
error with its line and a suggestion. `extends: base.yaml` takes another recipe's keys (paths in it are relative to it);
`key.sub=value` on the command line overrides one. `cord check RECIPE` prints what a recipe comes to.

This page is written from `cord_distill/recipe/` by `python -m cord_distill.recipe.reference`.
"""
WORDS = {str: "text", bool: "true or false", int: "whole number", float: "number"}


def reference() -> str:
    """The page as Markdown: `Recipe` first, then each section once, in the order in which keys lead to it."""
    sections: list[type[Section]] = [Recipe]
    for section in sections:
        for field in section.model_fields.values():
            sections += [kind for kind in _sections_in(field.annotation) if kind not in sections]
    return HEAD + "".join(f"\n{_page_of(section)}" for section in sections)


def _title(section: type[Section]) -> str:
    """The section's name as a heading: `DecodeConfig` is `Decode`."""
    return section.__name__.removesuffix("Config")


def _page_of(section: type[Section]) -> str:
    whole = "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(section.__doc__ or "").split("\n\n"))
    base = next((kind for kind in section.__bases__ if kind is not Section and issubclass(kind, Section)), None)
    inherited = base.model_fields if base else {}
    rows = [
        f"| `{name}` | {shown_kind(field.annotation)} | {shown_default(field)} | {_cell(field.description or '')} |\n"
        for name, field in section.model_fields.items()
        if name not in inherited or name in section.__annotations__
    ]
    also = f"Every key of [{_title(base)}](#{_title(base).lower()}), and:\n" if base else ""
    table = "| key | takes | default | what it does |\n|---|---|---|---|\n" + "".join(rows)
    return "\n".join(filter(None, [f"## {_title(section)}", _plain(whole) and f"{_plain(whole)}\n", also, table]))


def shown_kind(kind: Any) -> str:
    """A type in words: `Annotated[int, Field(gt=0)] | None` is `whole number or null`."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return shown_kind(args[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in args)
    if origin in (Union, types.UnionType):
        return " or ".join("null" if arg is type(None) else shown_kind(arg) for arg in args)
    if origin in (list, tuple):
        return f"list of {shown_kind(args[0])}".replace("whole number", "whole numbers")
    if origin is dict:
        return "mapping" if args[1] is Any else f"mapping to {shown_kind(args[1])}"
    if isinstance(kind, type) and issubclass(kind, Section):
        return f"[{_title(kind)}](#{_title(kind).lower()})"
    return WORDS.get(kind, "anything")


def shown_default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Section):
        return "its defaults"
    text = json.dumps(value, ensure_ascii=False).replace("|", "\\|")
    return f"`{text if len(text) <= 80 else text[:60] + ' …'}`"


def _sections_in(kind: Any) -> list[type[Section]]:
    """The sections that a key's type names, each behind the one whose keys it shares."""
    if isinstance(kind, type) and issubclass(kind, Section):
        return [base for base in reversed(kind.__mro__) if issubclass(base, Section) and base is not Section]
    return [x for arg in get_args(kind) for x in _sections_in(arg)]


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    """Tags outside of code would be HTML."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in parts)


if __name__ == "__main__":
    FILE.write_text(reference(), encoding="utf-8")
