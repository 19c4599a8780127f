"""Whether two written answers are the same answer: structure first, mathematics at the leaves.

An answer is taken apart into lists, tuples, intervals, sets, relations and finally expressions. Each kind has one sound
rule; what no rule covers is different. So `[0,9)` is never `(0,9)`, a list is never its first element, and there is
no tolerance: a decimal equals an exact number only when it is that number, or its rounding at six or more decimals.
The leaf comparison (sympy) is handed in, so that this file needs the standard library alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from cord_distill.grading.latex import in_radians, split_top, squeezed, written

NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
WORDS = re.compile(r"\(?[A-Za-z][A-Za-z .'-]+\)?")
NAME = re.compile(
    r"(?:\\(?!frac|sqrt|sum|int)[A-Za-z]+|[A-Za-z])(?:_\w|_\{[^{}]*\}|'|\([^()=<>]*\)|[A-Za-z])*"
    r"|\\frac\{[A-Z]+\}\{[A-Z]+\}"
)
CHOICE = re.compile(r"(?:\(([A-J])\)|([A-J])[.:)。]|([A-J])(?=$|\s|[\u3040-\u9fff]))\s*")
BEHIND_BARE_LETTER = re.compile(r"[A-ZÀ-Þ][A-Za-zÀ-ÿ]|[\u3040-\u9fff]")
NO_CHOICE = re.compile(r"[-=<>+*/^,({\[]|\\(?!frac|sqrt|pi|text)|[A-J]\b|(?:and|or|to|then)\b")
BINARY = re.compile(r"\\(?:le|ge|ne|approx|in|equiv|sim)(?![A-Za-z])|[=<>]")
WORD_JOIN = re.compile(r"(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])")
FLIP = {">": "<", r"\ge": r"\le"}
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d{1,2}")
OPEN, CLOSE = "([{", ")]}"


@dataclass(frozen=True, slots=True)
class Rules:
    """strict: variable names matter. set_for_relation: -2 <= x <= 7 answers [-2, 7] (the other way is always right).

    decimals: also accept numbers that agree when both are rounded to this many decimals (only where a row asks for it).
    """

    strict: bool = True
    set_for_relation: bool = False
    decimals: int | None = None


@dataclass(frozen=True, slots=True)
class Leaves:
    """The mathematics: each takes two formulas in the common spelling; None = one of them is not understood."""

    equal: Callable[[str, str, Rules], bool | None]
    same_equation: Callable[[tuple[str, str], tuple[str, str], bool], bool | None]


def equivalent(gold: str, prediction: str, leaves: Leaves, rules: Rules | None = None) -> bool:
    """Whether `prediction` gives the answer `gold`. Both as extracted: formulas, with or without $."""
    rules = rules or Rules()
    a, b = written(gold), written(prediction)
    if not a.core or not b.core:
        return False
    if squeezed(a.core) == squeezed(b.core) and a.percent == b.percent and _units_agree(a.unit, b.unit):
        return True
    a_choice, b_choice = _choice(a.core), _choice(b.core)
    if a_choice and b_choice:
        return _same_choice(a_choice, b_choice, leaves, rules)
    if "deg" in (a.unit, b.unit) and a.unit != b.unit and r"\pi" in a.core + b.core:
        a, b = in_radians(a), in_radians(b)
    if not _units_agree(a.unit, b.unit):
        return False
    if any(DECIMAL_COMMA.fullmatch(x) and NUMBER.fullmatch(y) for x, y in ((a.core, b.core), (b.core, a.core))):
        return Decimal(a.core.replace(",", ".")) == Decimal(b.core.replace(",", "."))
    if a.percent != b.percent:
        # The sign may be left out (28 for 28%) or written out (0.28 for 28%); nothing else becomes equal by it.
        bare, signed = (b.core, a.core) if a.percent else (a.core, b.core)
        return _same(bare, signed, leaves, rules) or _same(bare, f"\\frac{{{signed}}}{{100}}", leaves, rules)
    return _same(a.core, b.core, leaves, rules)


def _units_agree(a: str, b: str) -> bool:
    return not a or not b or a == b


def _same_choice(a: tuple[str, str], b: tuple[str, str], leaves: Leaves, rules: Rules) -> bool:
    """The letters decide where one side is the letter alone; where both say what is behind it, that has to agree."""
    if a[0] != b[0] or not a[1] or not b[1]:
        return a[0] == b[0]
    return _same(a[1], b[1], leaves, rules)


def _choice(core: str) -> tuple[str, str] | None:
    """(letter, what stands behind it) of a multiple-choice answer: C, (C), C. text, (C) 17, "C Cecile".

    None for "A = 5", "A, B", "B and C", "C major" and "A point": words that begin with a letter are a text.
    """
    match = CHOICE.match(core)
    if not match:
        return None
    rest, letter = core[match.end() :].strip(), match[1] or match[2] or match[3]
    if match[3] and rest and not BEHIND_BARE_LETTER.match(rest):
        return None
    if match[3] and letter in "AI" and rest[:1].islower():
        return None
    return None if NO_CHOICE.match(rest) else (letter, rest)


def _same(a: str, b: str, leaves: Leaves, rules: Rules) -> bool:
    if squeezed(a) == squeezed(b):
        return True
    a_items, b_items = _items(a), _items(b)
    if len(a_items) > 1 or len(b_items) > 1:
        return _same_lists(a_items, b_items, a, b, leaves, rules)
    return _same_single(a_items[0], b_items[0], leaves, rules)


def _items(core: str) -> list[str]:
    """The members of a list or set answer; one member for everything else. `p \\pm q` is two members."""
    core = _unbraced(core.strip())
    joined = WORD_JOIN.sub(",", core)
    groups = [piece for piece in split_top(joined, ";") if piece]
    if len(groups) > 1 and any(len(split_top(group, ",")) > 1 for group in groups):
        return [f"({','.join(_value_of(x) for x in split_top(g, ','))})" if "=" in g else g for g in groups]
    pieces = [piece for group in groups for piece in split_top(group, ",") if piece]
    return [value for piece in pieces for value in _plus_minus(piece)] or [core]


def _unbraced(core: str) -> str:
    for left, right in ((r"\{", r"\}"), ("{", "}")):
        inner = core[len(left) : -len(right)]
        if core.startswith(left) and core.endswith(right) and left not in inner:
            return inner
    return core


def _plus_minus(piece: str) -> list[str]:
    if piece.count(r"\pm") != 1:
        return [piece]
    return [re.sub(r"\\pm\s*", "+", piece).removeprefix("+"), re.sub(r"\\pm\s*", "-", piece)]


def _same_lists(a_items: list[str], b_items: list[str], a: str, b: str, leaves: Leaves, rules: Rules) -> bool:
    ordered = a if len(a_items) == 1 else b if len(b_items) == 1 else None
    if ordered is not None:
        # One side is a tuple (1,2), the other the bare list 1, 2: the same when the order is.
        parts, items = _tuple(ordered), b_items if ordered is a else a_items
        bare = not _is_set(b if ordered is a else a)
        return bool(parts and bare and len(parts) == len(items)) and all(
            _same_single(x, y, leaves, rules) for x, y in zip(parts or [], items, strict=False)
        )
    a_items, b_items = (_distinct_tuples(_strip_first_name(items)) for items in (a_items, b_items))
    if len(a_items) != len(b_items):
        return False
    left = list(b_items)
    for item in a_items:
        match = next((other for other in left if _same_single(item, other, leaves, rules)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _strip_first_name(items: list[str]) -> list[str]:
    """n=1,2,3 is the list 1,2,3; p=1, q=2 keeps its names."""
    named = ["=" in item for item in items]
    return [_value_of(items[0]), *items[1:]] if named[0] and not any(named[1:]) else items


def _distinct_tuples(items: list[str]) -> list[str]:
    return list(dict.fromkeys(map(squeezed, items))) if all(item[:1] == "(" for item in items) else items


def _is_set(core: str) -> bool:
    return core.lstrip().startswith((r"\{", "{"))


def _tuple(core: str) -> list[str] | None:
    core = core.strip()
    if core[:1] != "(" or core[-1:] != ")" or len(split_top(core, ",;")) != 1 or _closes_early(core):
        return None
    parts = split_top(core[1:-1], ",;")
    return parts if len(parts) > 1 else None


def _closes_early(core: str) -> bool:
    depth = 0
    for i, char in enumerate(core):
        depth += (char in OPEN) - (char in CLOSE)
        if depth == 0 and i < len(core) - 1:
            return True
    return False


def _same_single(a: str, b: str, leaves: Leaves, rules: Rules) -> bool:
    if squeezed(a) == squeezed(b):
        return True
    a_rel, b_rel = _relation(a), _relation(b)
    if a_rel or b_rel:
        return _same_relations(a, b, a_rel, b_rel, leaves, rules)
    unions = [split_top(re.sub(r"\\cup(?![A-Za-z])", "∪", side), "∪") for side in (a, b)]
    if len(unions[0]) > 1 or len(unions[1]) > 1:
        return len(unions[0]) == len(unions[1]) and _same_lists(unions[0], unions[1], "", "", leaves, rules)
    a_pair, b_pair = _bracketed(a), _bracketed(b)
    if a_pair or b_pair:
        if not (a_pair and b_pair) or a_pair[0] != b_pair[0] or len(a_pair[1]) != len(b_pair[1]):
            return False
        return all(_same(x, y, leaves, rules) for x, y in zip(a_pair[1], b_pair[1], strict=True))
    if _is_set(a) and _is_set(b):
        return _same(_unbraced(a), _unbraced(b), leaves, rules) if (a, b) != (_unbraced(a), _unbraced(b)) else False
    ratio = [split_top(side, ":") for side in (a, b)]
    if len(ratio[0]) > 1 or len(ratio[1]) > 1:
        return len(ratio[0]) == len(ratio[1]) and all(
            _same_single(x, y, leaves, rules) for x, y in zip(*ratio, strict=True)
        )
    return _same_leaf(a, b, leaves, rules)


def _same_leaf(a: str, b: str, leaves: Leaves, rules: Rules) -> bool:
    if NUMBER.fullmatch(a) and NUMBER.fullmatch(b) and rules.decimals is None and "." not in a + b:
        return int(a) == int(b)
    if WORDS.fullmatch(a) and WORDS.fullmatch(b):
        words = [re.sub(r"[^A-Za-z]", "", side).casefold() for side in (a, b)]
        if words[0] == words[1] or len(max(words, key=len)) > 2:
            return words[0] == words[1]
    based = [re.fullmatch(r"(\w+)_\{?(\d+)\}?", side) for side in (a, b)]
    if any(match and match[1][0].isdigit() for match in based):
        return False
    return bool(leaves.equal(a, b, rules))


def _bracketed(core: str) -> tuple[str, list[str]] | None:
    """("(]", [start, end]) of a tuple or interval; None for a parenthesised expression."""
    core = core.strip()
    if core[:1] not in ("(", "[") or core[-1:] not in (")", "]") or _closes_early(core):
        return None
    parts = split_top(core[1:-1], ",;")
    return (core[0] + core[-1], parts) if len(parts) > 1 or core[0] == "[" else None


def _relation(core: str) -> list[str] | None:
    """[lhs, op, rhs, op, ...] at top level, all `>` turned to `<`; None when there is no relation sign."""
    marked = BINARY.sub(lambda m: f"\x00{m.group()}\x00", core)
    pieces = split_top(marked, "\x00")
    if len(pieces) < 3 or any("\x00" in piece for piece in pieces):
        return None
    if all(op in FLIP for op in pieces[1::2]):
        pieces = [FLIP.get(piece, piece) for piece in reversed(pieces)]
    return pieces


def _value_of(core: str) -> str:
    """The value of `name = value` (of `name = a = b \\approx c` it is b, of `name \\approx c` c), else all of it."""
    relation = _relation(core)
    if not relation or any(op in ("<", r"\le", r"\ne") for op in _signs(relation)):
        return core
    if not all(NAME.fullmatch(name) for name in _names(relation[0])):
        return core
    exact = [rhs for op, rhs in zip(relation[1::2], relation[2::2], strict=True) if op != r"\approx"]
    return exact[-1] if exact else relation[-1]


def _names(left: str) -> list[str]:
    """x of x = 3, S and T of S:T = 1:2, x and y of (x,y) = (3,2)."""
    left = left.replace(" ", "")
    return split_top(left[1:-1], ",") if _tuple(left) else left.split(":")


def _same_relations(
    a: str, b: str, a_rel: list[str] | None, b_rel: list[str] | None, leaves: Leaves, rules: Rules
) -> bool:
    if a_rel and b_rel and _signs(a_rel) == _signs(b_rel):
        if len(a_rel) == 3 and a_rel[1] in ("=", "<", r"\le", r"\ne"):
            directed = a_rel[1] in ("<", r"\le")
            sides = _same(a_rel[0], b_rel[0], leaves, rules) and _same(a_rel[2], b_rel[2], leaves, rules)
            return sides or bool(leaves.same_equation((a_rel[0], a_rel[2]), (b_rel[0], b_rel[2]), directed))
        return all(_same(x, y, leaves, rules) for x, y in zip(a_rel[::2], b_rel[::2], strict=True))
    a_interval, b_interval = _as_interval(a_rel), _as_interval(b_rel)
    if a_interval and not b_rel:
        return _same(a_interval, b, leaves, rules)
    if b_interval and not a_rel:
        return rules.set_for_relation and _same(a, b_interval, leaves, rules)
    if a_interval and b_rel and r"\in" in b_rel:
        return _same(a_interval, _value_of(b), leaves, rules)
    if b_interval and a_rel and r"\in" in a_rel:
        return rules.set_for_relation and _same(_value_of(a), b_interval, leaves, rules)
    a_value, b_value = _value_of(a), _value_of(b)
    return (a_value, b_value) != (a, b) and _same(a_value, b_value, leaves, rules)


def _signs(relation: list[str]) -> list[str]:
    return relation[1::2]


def _as_interval(relation: list[str] | None) -> str | None:
    """low < x <= high as (low,high]; x < high as (-oo,high)."""
    if not relation or any(op not in ("<", r"\le") for op in _signs(relation)):
        return None
    if len(relation) == 5 and NAME.fullmatch(relation[2].replace(" ", "")):
        return f"{'(['[relation[1] != '<']}{relation[0]},{relation[4]}{')]'[relation[3] != '<']}"
    if len(relation) == 3 and NAME.fullmatch(relation[0]):
        return f"(-\\infty,{relation[2]}{')]'[relation[1] != '<']}"
    if len(relation) == 3 and NAME.fullmatch(relation[2]):
        return f"{'(['[relation[1] != '<']}{relation[0]},\\infty)"
    return None
