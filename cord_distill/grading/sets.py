"""Sets of numbers in their many spellings, as pieces: intervals, solved inequalities, set-builders, `\\mathbb{R}`.

Only a solved inequality is a set: one bare name against bounds that do not hold it. What a question asks to be solved
(`6-x-x^2 \\ge 0`) is none, so that repeating it answers nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cord_distill.grading.latex import split_top
from cord_distill.grading.relations import NAME, bracketed, relation, signs

_REALS = r"(?:\\mathbb\s*\{?\s*R\s*\}?|\\R(?![A-Za-z]))"
_BUILDER = re.compile(
    rf"\\\{{\s*([A-Za-z])\s*(?:\\in\s*{_REALS}\s*)?(?:\\mid|\||:|‹ ?such that ?›)\s*(.*?)\s*\\\}}", re.DOTALL
)
_WITHOUT = re.compile(
    rf"(?:{_REALS}|\(-\\infty\s?,\s?\+?\\infty\s?\))\s*(?:\\setminus|-)\s*\\\{{\s*([^{{}},]+?)\s*\\\}}"
)
_REVERSED = re.compile(r"([\[\]])\s*([^\[\]()]+?)\s*[,;]\s*([^\[\]()]+?)\s*([\[\]])")
_OR = re.compile(r"\s*(?:(?<![A-Za-z\\])or(?![A-Za-z])|\\lor(?![A-Za-z])|\\cup(?![A-Za-z]))\s*")
_AND = re.compile(r"\s*(?:(?<![A-Za-z\\])and(?![A-Za-z])|\\land(?![A-Za-z])|\\wedge(?![A-Za-z]))\s*")
# x > 0, x \\ne 1
_EXCEPT = re.compile(
    r"([^,]*[<>][^,]*|[^,]*\\[lg]e(?![a-z])[^,]*?)\s*(?:,|,?\s*(?<![A-Za-z])and(?![A-Za-z]))\s*([^,]*\\ne(?![a-z])[^,]*)"
)
_ABSOLUTE = re.compile(r"\|\s*([^|]+?)\s*\|")
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
_BOUNDS = ("<", r"\le")


@dataclass(frozen=True, slots=True)
class NumberSet:
    """pieces: intervals and finite sets, in the order written. name: of the variable where it was named.

    spelled: whether it is a set in words of its own (a relation, a set-builder, turned brackets): plain brackets are
    told from tuples only by what stands against them.
    """

    pieces: tuple[str, ...]
    name: str = ""
    spelled: bool = True


def number_set(core: str) -> NumberSet | None:
    """The set of numbers that an answer describes; None where it describes none."""
    core = core.strip()
    if len(core) > 500:
        return None
    builder = _BUILDER.fullmatch(core)
    if builder:
        inner = number_set(builder[2])
        return NumberSet(inner.pieces) if inner and inner.name == builder[1] else None
    found = relation(core)
    if without := _EXCEPT.fullmatch(core):
        return _except(without[1], without[2])
    if found and signs(found) == [r"\in"] and NAME.fullmatch(found[0]):
        inner = number_set(found[2])
        return NumberSet(inner.pieces, found[0]) if inner and not inner.name else None
    parts = [part for part in _OR.split(core) if part]
    if len(parts) > 1:
        sets = [number_set(part) for part in parts]
        known = [one for one in sets if one is not None]
        if len(known) < len(sets) or len({one.name for one in known}) > 1:
            return None
        pieces = tuple(piece for one in known for piece in one.pieces)
        return NumberSet(pieces, known[0].name, any(one.spelled for one in known))
    return _one(core, found)


def _one(core: str, found: list[str] | None) -> NumberSet | None:
    both = _AND.split(core)
    if len(both) == 2 or (both := _both_bounds(core)):
        return _between(*both)
    if found:
        return _inequality(found) if "‹" not in core else None
    if re.fullmatch(_REALS, core):
        return NumberSet(("(-\\infty,\\infty)",))
    if without := _WITHOUT.fullmatch(core):
        return _all_but(without[1])
    turned = _REVERSED.fullmatch(core)
    if turned and turned[1] + turned[4] != "[]":
        left, right = "(" if turned[1] == "]" else "[", ")" if turned[4] == "[" else "]"
        return NumberSet((f"{left}{turned[2]},{turned[3]}{right}",))
    pair = bracketed(core)
    if pair and len(pair[1]) == 2:
        return NumberSet((core,), spelled=False)
    if core.startswith(r"\{") and core.endswith(r"\}"):
        return NumberSet((core,), spelled=False)
    return None


def _inequality(found: list[str]) -> NumberSet | None:
    """low < x <= high, x < high, low < x, x \\ne a, |x| < a, a < |x|."""
    ops = signs(found)
    if len(found) == 3 and ops == [r"\ne"] and _bare(found[0], found[2]):
        every = _all_but(found[2])
        return NumberSet(every.pieces, found[0])
    if any(op not in _BOUNDS for op in ops):
        return None
    left, right = "(["[ops[0] != "<"], ")]"[ops[-1] != "<"]
    if len(found) == 5 and _bare(found[2], found[0] + found[4]):
        return NumberSet((f"{left}{found[0]},{found[4]}{right}",), found[2])
    if len(found) == 3 and (inside := _ABSOLUTE.fullmatch(found[0])) and _bare(inside[1], found[2]):
        return NumberSet((f"{'(['[ops[0] != '<']}-({found[2]}),{found[2]}{right}",), inside[1])
    if len(found) == 3 and (inside := _ABSOLUTE.fullmatch(found[2])) and _bare(inside[1], found[0]):
        outer = (f"(-\\infty,-({found[0]}){')]'[ops[0] != '<']}", f"{left}{found[0]},\\infty)")
        return NumberSet(outer, inside[1])
    if len(found) == 3 and _bare(found[0], found[2]):
        return NumberSet((f"(-\\infty,{found[2]}{right}",), found[0])
    if len(found) == 3 and _bare(found[2], found[0]):
        return NumberSet((f"{left}{found[0]},\\infty)",), found[2])
    return None


def _both_bounds(core: str) -> list[str]:
    """x > 1 and x < 4 of `x > 1, x < 4`; [] of `x < 1, x > 4`, where the comma means `or`."""
    parts = split_top(core, ",")
    found = [relation(part) for part in parts]
    if len(parts) != 2 or any(one is None or len(one) != 3 for one in found):
        return []
    numbers = [side for one in found if one for side in (one[0], one[2]) if _NUMBER.fullmatch(side)]
    lower = next((one[0] for one in found if one and _NUMBER.fullmatch(one[0])), None)
    upper = next((one[2] for one in found if one and _NUMBER.fullmatch(one[2])), None)
    return parts if len(numbers) == 2 and lower and upper and float(lower) < float(upper) else []


def _between(one: str, other: str) -> NumberSet | None:
    """x > 1 and x < 4."""
    relations = [relation(one), relation(other)]
    sets = [_inequality(found) if found and len(found) == 3 else None for found in relations]
    if not all(sets):
        return None
    a, b = (one for one in sets if one is not None)
    lower = next((s.pieces[0] for s in (a, b) if s.pieces[0].endswith("\\infty)")), None)
    upper = next((s.pieces[0] for s in (a, b) if s.pieces[0].startswith("(-\\infty,")), None)
    if a.name != b.name or len(a.pieces) + len(b.pieces) > 2 or lower is None or upper is None:
        return None
    return NumberSet((lower.removesuffix("\\infty)") + upper.removeprefix("(-\\infty,"),), a.name)


def _except(bounds: str, point: str) -> NumberSet | None:
    """An interval without a point in it; with a point elsewhere the pieces are no intervals and match nothing."""
    base, without = number_set(bounds), relation(point)
    pair = bracketed(base.pieces[0]) if base and len(base.pieces) == 1 else None
    if base is None or pair is None or not without or signs(without) != [r"\ne"] or without[0] != base.name:
        return None
    (low, high), at = pair[1], without[2]
    return NumberSet((f"{pair[0][0]}{low},{at})", f"({at},{high}{pair[0][1]}"), base.name)


def _all_but(point: str) -> NumberSet:
    return NumberSet((f"(-\\infty,{point})", f"({point},\\infty)"))


def _bare(name: str, bounds: str) -> bool:
    """A name whose letters stand in no bound: `x > 2x - 3` is not solved."""
    if not NAME.fullmatch(name.replace(" ", "")) or len(split_top(bounds, ",")) > 1:
        return False
    return re.search(rf"(?<![A-Za-z\\]){re.escape(name)}(?![A-Za-z])", bounds) is None
