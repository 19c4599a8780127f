"""What a problem must be, wherever it comes from (a file, the hub, a plug-in): every reader refuses the same."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.jsonl import fault, refuse_duplicates
from cord_distill.common.plugins import load_plugin, plugin_call, takes
from cord_distill.common.terminal import one_line
from cord_distill.types import Problem

DEEPEST_META = 50
LONGEST_ID = 500
# A plug-in that gives more has forgotten to end.
MOST_BUILT = 2_000_000


def problem_id(value: Any, where: str, column: str) -> str:
    """The id of a row. Raises CordError on what names nothing: null (it would be the text "None"), a list, an empty
    text, a whole document."""
    named = isinstance(value, (str, int, float)) and not isinstance(value, bool)
    if not named or not 0 < len(str(value).strip()) <= LONGEST_ID:
        raise CordError(
            f"{where}: the id ({column}) is {one_line(repr(value), 60)}; give a text or a number of at most "
            f"{LONGEST_ID} characters, or name another column"
        )
    return str(value)


def meta_fault(meta: Any) -> str | None:
    """What is wrong with the `meta` of a problem, None where nothing is: it has to be written as JSON."""
    if _nested_deeper(meta, DEEPEST_META):
        return f"is nested deeper than {DEEPEST_META} levels"
    try:
        json.dumps(meta)
    except (TypeError, ValueError) as error:
        return f"is no JSON ({error})"
    odd = fault(meta)
    return f"holds {odd}" if odd else None


def built_problems(spec: str, args: dict[str, Any], limit: int | None, key: str) -> list[Problem]:
    """The problems that a user's function gives, the first `limit` of them. key: of the recipe, for errors.

    Raises CordError when it fails, gives none, or gives what is no Problem with texts in it.
    """
    function = load_plugin(spec, key)
    takes(function, 0, args, key, spec, f"{key.rpartition('.')[0]}.args")
    said = f"{key}: {spec!r}"
    found: list[Problem] = []
    with plugin_call(said):
        given = function(**args)
        if not isinstance(given, Iterable):
            raise CordError(f"{said} gave a {type(given).__name__}; give a list of Problems")
        for made in itertools.islice(given, limit or MOST_BUILT + 1):
            odd = _odd_problem(made)
            if odd:
                raise CordError(f"{said}, problem {len(found)}: {odd}")
            found.append(made)
    if not found:
        raise CordError(f"{said} gave no problems")
    if limit is None and len(found) > MOST_BUILT:
        raise CordError(f"{said} gives more than {MOST_BUILT:,} problems; set problems.limit")
    refuse_duplicates((problem.id for problem in found), spec, "problem id")
    return found


def _odd_problem(made: Any) -> str | None:
    if not isinstance(made, Problem):
        return f"a {type(made).__name__}; give cord_distill.types.Problem(id, question, answer, meta)"
    for name in ("id", "question", "answer"):
        text = getattr(made, name)
        if not isinstance(text, str) or (name != "answer" and not text.strip()):
            return f"{name} is {one_line(repr(text), 60)}; give a text"
        if fault(text):
            return f"{name} holds {fault(text)}"
    meta: Any = made.meta
    if not isinstance(meta, dict):
        return f"meta is a {type(meta).__name__}; give a dict"
    odd = meta_fault(meta) if meta else None
    return f"meta {odd}" if odd else None


def _nested_deeper(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(_nested_deeper(one, levels - 1) for one in inner)
