"""What a trajectory row of another tool, or one edited by hand, must look like to be read: the first odd part is named.

A part that is missing is none; a part of another type would end in a traceback far from its file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cord_distill.types import Stop

NO_ROW = "no row with an id"
Check = Callable[[Any], str | None]


def _is(kind: type | tuple[type, ...], said: str, none: bool = True) -> Check:
    def check(value: Any) -> str | None:
        if (value is None and none) or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
            return None
        return said

    return check


def _number(value: Any) -> str | None:
    # NaN is a number that nobody knows; readers take it for none.
    fine = isinstance(value, (int, float)) and not isinstance(value, bool)
    return None if value is None or fine else "is no number"


def _stop(value: Any) -> str | None:
    return None if value is None or value in list(Stop) else f"is none of {', '.join(Stop)}"


def _list_of(item: Check) -> Check:
    def check(value: Any) -> str | None:
        if value is None:
            return None
        if not isinstance(value, list):
            return "is no list"
        return next((f"[{i}]{_joined(found)}" for i, one in enumerate(value) if (found := item(one))), None)

    return check


def _object(required: tuple[str, ...] = (), others: Check | None = None, /, **fields: Check) -> Check:
    def check(value: Any) -> str | None:
        if value is None and not required:
            return None
        if not isinstance(value, dict):
            return "is no object"
        lacking = next((key for key in required if key not in value or (value[key] is None and key != "score")), None)
        if lacking:
            return f"has no {lacking}"
        for key, one in value.items():
            wanted = fields.get(key, others)
            if wanted and (found := wanted(one)):
                return f".{key}{_joined(found)}"
        return None

    return check


def _joined(found: str) -> str:
    return found if found.startswith((".", "[")) else f" {found}"


_text, _whole = _is(str, "is no text"), _is(int, "is no whole number")
_yes_or_no = _is(bool, "is neither true nor false")
_step = _object(
    ("teacher", "text", "score"), teacher=_text, text=_text, n=_whole, num_tokens=_whole, score=_number, stop=_stop,
    category=_text, ids=_list_of(_is(int, "is no token id", none=False)),
)  # fmt: skip
_candidate = _object(
    ("teacher", "text", "parent", "sample", "kept", "stop", "score"), teacher=_text, text=_text, parent=_whole,
    sample=_whole, score=_number, stop=_stop, kept=_yes_or_no, error=_text,
)  # fmt: skip
_fields = _object(
    (), None,
    id=_is((str, int), "is no id", none=False), error=_text, steps=_list_of(_step),
    candidates=_list_of(_list_of(_candidate)), pipeline=_text, final_answer_text=_text, prediction=_text,
    correct=_yes_or_no, score=_number, stop=_stop, recipe_hash=_text, seed=_whole, answer_rule=_text,
    num_tokens=_object((), _number), problem=_object((), None, id=_is((str, int), "is no id"), question=_text,
                                                     answer=_text, meta=_object()),
    checks=_object((), None, steps_right=_list_of(_yes_or_no), all_right=_yes_or_no),
)  # fmt: skip


def odd_part(row: Any) -> str | None:
    """Where a row is not as it should be and what it should be there, e.g. `steps[0].text is no text`; else None."""
    if not isinstance(row, dict) or row.get("id") is None:
        return NO_ROW
    found = _fields(row)
    return found.removeprefix(".") if found else None
