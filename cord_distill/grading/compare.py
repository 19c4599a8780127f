"""Whether two written answers are the same answer: structure first, mathematics at the leaves.

An answer is taken apart into lists, tuples, intervals, sets, relations and finally expressions. Each kind has one sound
rule; what no rule covers is different. So `[0,9)` is never `(0,9)`, a list is never its first element, and there is
no tolerance: a decimal equals an exact number only when it is that number, or its rounding at six or more decimals.
The mathematics (sympy) is handed in, so that this file needs the standard library alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial

from cord_distill.grading.latex import Written, in_radians, quantities, split_top, squeezed, written
from cord_distill.grading.relations import bracketed, relation, signs, tuple_of, value_of
from cord_distill.grading.sets import NumberSet, number_set
from cord_distill.grading.texts import around_texts, same_formula, same_words
from cord_distill.grading.units import conversion
from cord_distill.grading.vectors import column, of_unit_vectors

NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
CHOICE = re.compile(r"(?:\(([A-J])\)|([A-J])[.:)。]|([A-J])(?=$|\s|[\u3040-\u9fff]))\s*")
CALLED = re.compile(r"(?i)^(?:option|choice|answer)s?:?\s+(?=\(?[A-J]\b)")
BEHIND_BARE_LETTER = re.compile(r"[A-ZÀ-Þ][A-Za-zÀ-ÿ]|[\u3040-\u9fff]")
# Another letter with its text: "C) 5, D) 6" is no answer C.
SECOND_CHOICE = re.compile(r"(?:^|[\s,;])\(?[A-J][.:)]\s")
NO_CHOICE = re.compile(r"[-=<>+*/^,({\[]|\\(?!frac|sqrt|pi|text)|[A-J]\b|(?:and|or|to|then)\b")
WORD_JOIN = re.compile(r"(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])")
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d{1,2}")
BASED = re.compile(r"(\d[\dA-F]*)_\{?(\d+)\}?")
FUNCTION = re.compile(r"(\\?[A-Za-z]+'*(?:\^\{?-1\}?)?)\s*\(\s*([A-Za-z])\s*\)")
CONSTANT = re.compile(r"\+\s*([cCkK])\s*$")
# No other capital: B + C is a sum of variables.
GOLD_CONSTANT = re.compile(r"(?=.*[a-z\d])(?:[^A-Z]|\\[A-Z])*\+\s*C\s*")
CLOCK = re.compile(r"\d{1,2}:\d\d")
PLAIN_LOG = re.compile(r"\\log(?![A-Za-z])(?!\s*_)")


@dataclass(frozen=True, slots=True)
class Rules:
    """strict: variable names matter. set_for_relation: -2 <= x <= 7 answers [-2, 7] (the other way is always right).

    decimals: also accept numbers that agree when both are rounded to this many decimals (only where a row asks for it).
    """

    strict: bool = True
    set_for_relation: bool = True
    decimals: int | None = None


@dataclass(frozen=True, slots=True)
class Mathematics:
    """What compares two formulas in the common spelling, by `rules` (leaves.py); a formula that it cannot read equals
    none.

    same_equation: of two equations, each as its two sides; the last argument says that they are inequalities.
    """

    same_number: Callable[[str, str, Rules], bool]
    same_equation: Callable[[tuple[str, str], tuple[str, str], bool], bool]
    rules: Rules = Rules()

    def equal(self, a: str, b: str) -> bool:
        return self.same_number(a, b, self.rules)


Same = Callable[[str, str], bool]


def equivalent(gold: str, prediction: str, maths: Mathematics) -> bool:
    """Whether `prediction` gives the answer `gold`. Both as extracted: formulas, with or without $."""
    one, other = quantities(gold), quantities(prediction)
    if one and other and any(item.unit for item in (*one, *other)):
        return _same_quantities(one, other, maths)
    return _same_written(written(gold), written(prediction), maths)


def _in_order(a: Sequence[str], b: Sequence[str], same: Same) -> bool:
    return len(a) == len(b) and all(map(same, a, b))


def _in_any_order(a: Sequence[str], b: Sequence[str], same: Same) -> bool:
    """Whether each member of `a` has one of `b` to itself, and none of `b` is left."""
    if len(a) != len(b):
        return False
    left = list(b)
    for one in a:
        match = next((other for other in left if same(one, other)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _same_written(a: Written, b: Written, maths: Mathematics) -> bool:
    if not a.core or not b.core or (a.condition and b.condition and a.condition != b.condition):
        return False
    if squeezed(a.core) == squeezed(b.core) and a.percent == b.percent and _units_agree(a.unit, b.unit):
        return True
    b = replace(b, core=_rebound(a, b))
    a_choice, b_choice = _choice(a.core), _choice(b.core)
    if a_choice and b_choice:
        return _same_choice(a_choice, b_choice, maths)
    if "deg" in (a.unit, b.unit) and a.unit != b.unit and (r"\pi" in a.core + b.core or "radian" in (a.unit, b.unit)):
        a, b = in_radians(a), in_radians(b)
    if not _units_agree(a.unit, b.unit):
        return _same_converted(a, b, maths)
    # 1,5 is a decimal of the prediction; in a gold it is a list, unless two digits stand behind the comma.
    comma, point = (b.core, a.core) if DECIMAL_COMMA.fullmatch(b.core) else (a.core, b.core)
    if DECIMAL_COMMA.fullmatch(comma) and NUMBER.fullmatch(point) and "." in point:
        return (comma is b.core or comma[-3] == ",") and Decimal(point) == Decimal(comma.replace(",", "."))
    if a.percent != b.percent:
        # The sign may be left out (28 for 28%) or written out (0.28 for 28%); nothing else becomes equal by it.
        bare, signed = (b.core, a.core) if a.percent else (a.core, b.core)
        return _same(bare, signed, maths) or _same(bare, f"\\frac{{{signed}}}{{100}}", maths)
    return _same(a.core, b.core, maths)


def _units_agree(a: str, b: str) -> bool:
    """A unit may be left out; a plain degree stands for one of temperature."""
    return not a or not b or a == b or ("deg" in (a, b) and {a, b} <= {"deg", "celsius", "fahrenheit"})


def _same_converted(a: Written, b: Written, maths: Mathematics) -> bool:
    """100 cm and 1 m, 5 N m and 5 J, 9 (mod 7) and 2 (mod 7): one quantity in two units of exact proportion."""
    factor = conversion(a.unit, b.unit)
    if factor is None or a.percent or b.percent:
        return False
    return _same(f"\\frac{{{factor.numerator}}}{{{factor.denominator}}}*({a.core})", b.core, maths)


def _same_quantities(a: list[Written], b: list[Written], maths: Mathematics) -> bool:
    """12 ducks and 9 goats: in any order where both sides say what each number counts, else in the same one."""
    if len(a) != len(b):
        return False
    if all(item.unit for item in (*a, *b)):
        a, b = (sorted(side, key=lambda item: item.unit) for side in (a, b))
    return all(_same_written(x, y, maths) for x, y in zip(a, b, strict=True))


def _same_choice(a: tuple[str, str], b: tuple[str, str], maths: Mathematics) -> bool:
    """The letters decide where one side is the letter alone; where both say what is behind it, that has to agree."""
    if a[0] != b[0] or not a[1] or not b[1]:
        return a[0] == b[0]
    return _same(a[1], b[1], maths)


def _choice(core: str) -> tuple[str, str] | None:
    """(letter, what stands behind it) of a multiple-choice answer: C, (C), C. text, (C) 17, "C Cecile".

    None for "A = 5", "A, B", "B and C", "C major" and "A point": words that begin with a letter are a text.
    """
    core = CALLED.sub("", re.sub("[‹›]", " ", core).strip())
    core = core.upper() if re.fullmatch(r"\([a-j]\)", core) else core
    match = CHOICE.match(core)
    if not match:
        return None
    rest, letter = core[match.end() :].strip(), match[1] or match[2] or match[3]
    if match[3] and rest and not BEHIND_BARE_LETTER.match(rest):
        return None
    if match[3] and letter in "AI" and rest[:1].islower():
        return None
    return None if NO_CHOICE.match(rest) or SECOND_CHOICE.search(rest) else (letter, rest)


def _same(a: str, b: str, maths: Mathematics) -> bool:
    if squeezed(a) == squeezed(b):
        return True
    a_set, b_set = number_set(a), number_set(b)
    if a_set and b_set and (a_set.spelled or b_set.spelled):
        return _same_sets(a_set, b_set, b, maths)
    a, b = _member_by_member(a, b), _member_by_member(b, a)
    a_items, b_items = _items(a), _items(b)
    if len(a_items) > 1 or len(b_items) > 1 or _is_set(a) or _is_set(b):
        return _same_lists(a_items, b_items, a, b, maths)
    return _same_single(a_items[0], b_items[0], maths)


def _same_sets(a: NumberSet, b: NumberSet, prediction: str, maths: Mathematics) -> bool:
    """The same intervals in any order, and the same name where both name one."""
    if a.name and b.name and a.name != b.name:
        return False
    if b.name and not a.name and r"\in" not in prediction and not maths.rules.set_for_relation:
        return False
    return _in_any_order(a.pieces, b.pieces, partial(_same_interval, maths=maths))


def _same_interval(a: str, b: str, maths: Mathematics) -> bool:
    one, other = bracketed(a), bracketed(b)
    if not one or not other:
        return not one and not other and _same(a, b, maths)
    return one[0] == other[0] and _in_order(one[1], other[1], partial(_same, maths=maths))


def _member_by_member(core: str, other: str) -> str:
    """(x,y)=(2,3) as x=2, y=3 where the other side names its members one by one."""
    found = relation(core)
    if found and signs(found) == [r"\in"] and len([one for one in _items(other) if "=" in one]) > 1:
        return value_of(core)
    if not found or signs(found) != ["="] or len([one for one in _items(other) if "=" in one]) < 2:
        return core
    left, right = tuple_of(found[0]), tuple_of(found[2])
    return ",".join(map("{}={}".format, left, right)) if left and right and len(left) == len(right) else core


def _items(core: str) -> list[str]:
    """The members of a list or set answer; one member for everything else. `p \\pm q` is two members."""
    core = _unbraced(core.strip())
    joined = WORD_JOIN.sub(",", core)
    groups = [piece for piece in split_top(joined, ";") if piece]
    if len(groups) > 1 and any(len(split_top(group, ",")) > 1 for group in groups):
        return [f"({','.join(value_of(x) for x in split_top(g, ','))})" if "=" in g else g for g in groups]
    pieces = [piece for group in groups for piece in split_top(group, ",") if piece]
    return [value for piece in pieces for value in _plus_minus(piece)] or [core]


def _unbraced(core: str) -> str:
    for left, right in ((r"\{", r"\}"), ("{", "}")):
        inner = core[len(left) : -len(right)]
        if core.startswith(left) and core.endswith(right) and left not in inner and inner.strip() != r"\emptyset":
            return inner
    return core


def _plus_minus(piece: str) -> list[str]:
    if piece.count(r"\pm") != 1:
        return [piece]
    return [re.sub(r"\\pm\s*", "+", piece).removeprefix("+"), re.sub(r"\\pm\s*", "-", piece)]


def _same_lists(a_items: list[str], b_items: list[str], a: str, b: str, maths: Mathematics) -> bool:
    same = partial(_same_single, maths=maths)
    ordered = None
    if len(a_items) != len(b_items):
        ordered = a if len(a_items) == 1 else b if len(b_items) == 1 else None
    if ordered is not None and (parts := tuple_of(ordered)):
        # One side is a tuple (1,2), the other the bare list 1, 2: the same when the order is.
        other, items = (b, b_items) if ordered is a else (a, a_items)
        return not _is_set(other) and _in_order(parts, items, same)
    a_items, b_items = (_distinct_tuples(_strip_first_name(items)) for items in (a_items, b_items))
    a_items, b_items = (
        _distinct(items, maths) if _is_set(core) else items for items, core in ((a_items, a), (b_items, b))
    )
    return _in_any_order(a_items, b_items, same)


def _strip_first_name(items: list[str]) -> list[str]:
    """n=1,2,3 is the list 1,2,3; p=1, q=2 keeps its names."""
    named = ["=" in item for item in items]
    return [value_of(items[0]), *items[1:]] if named[0] and not any(named[1:]) else items


def _distinct_tuples(items: list[str]) -> list[str]:
    return list(dict.fromkeys(map(squeezed, items))) if all(item[:1] == "(" for item in items) else items


def _distinct(items: list[str], maths: Mathematics) -> list[str]:
    """The members of a set: one that is written twice is one."""
    found: list[str] = []
    for item in items:
        if not any(_same_single(item, other, maths) for other in found):
            found.append(item)
    return found


def _is_set(core: str) -> bool:
    return core.lstrip().startswith((r"\{", "{")) and core.rstrip().endswith("}")


def _same_single(a: str, b: str, maths: Mathematics) -> bool:
    b = _renamed(a, _with_constant(a, b))
    if squeezed(a) == squeezed(b):
        return True
    if relation(a) or relation(b):
        return _same_relations(a, b, maths)
    same = partial(_same, maths=maths)
    a_union, b_union = (split_top(re.sub(r"\\cup(?![A-Za-z])", "∪", side), "∪") for side in (a, b))
    if len(a_union) > 1 or len(b_union) > 1:
        return len(a_union) == len(b_union) and _same_lists(a_union, b_union, "", "", maths)
    vectors = _coordinates(a, b)
    if vectors is not None:
        return _in_order(*vectors, same)
    a_pair, b_pair = bracketed(a), bracketed(b)
    if a_pair and b_pair:
        return a_pair[0] == b_pair[0] and _in_order(a_pair[1], b_pair[1], same)
    if a_pair or b_pair:
        return False
    if _is_set(a) and _is_set(b):
        return (a, b) != (_unbraced(a), _unbraced(b)) and same(_unbraced(a), _unbraced(b))
    a_ratio, b_ratio = split_top(a, ":"), split_top(b, ":")
    if len(a_ratio) > 1 or len(b_ratio) > 1:
        return _same_ratio(a_ratio, b_ratio, maths)
    return _same_leaf(a, b, maths)


def _same_ratio(a: list[str], b: list[str], maths: Mathematics) -> bool:
    """3:4 is 6:8 and 3/4; not where it could be a time of day (1:15 is no 2:30), or where a part is 0."""
    if _in_order(a, b, partial(_same_single, maths=maths)):
        return True
    if any(CLOCK.fullmatch(":".join(side)) or maths.equal(x, "0") for side in (a, b) for x in side):
        return False
    if len(a) == len(b):
        return all(maths.equal(f"({x})*({b[0]})", f"({y})*({a[0]})") for x, y in zip(a[1:], b[1:], strict=True))
    one, other = sorted((a, b), key=len)
    if len(one) != 1 or len(other) != 2 or "/" not in one[0].replace(r"\frac", "/"):
        return False
    return maths.equal(one[0], f"\\frac{{{other[0]}}}{{{other[1]}}}")


def _coordinates(a: str, b: str) -> tuple[list[str], list[str]] | None:
    """Of a vector in two spellings (a column against a tuple); None where both are matrices, or one is no vector."""
    columns = column(a), column(b)
    if columns[0] and columns[1]:
        return None
    sides = [entries or tuple_of(core) for entries, core in zip(columns, (a, b), strict=True)]
    length = max((len(side) for side in sides if side), default=3)
    marked = any(side or r"\hat{" in core for side, core in zip(sides, (a, b), strict=True))
    units = [of_unit_vectors(core, length) if marked else None for core in (a, b)]
    if not any(columns) and not any(units):
        return None
    x, y = (side or unit for side, unit in zip(sides, units, strict=True))
    return (x, y) if x and y else None


def _with_constant(a: str, b: str) -> str:
    """x^2 + c as x^2 + C where the gold ends so: the constant of integration may have any of its letters."""
    end = CONSTANT.search(b)
    if end is None or not GOLD_CONSTANT.fullmatch(a) or end[1] in re.sub(r"\\[A-Za-z]+", "", b[: end.start()]):
        return b
    return f"{b[: end.start(1)]}C"


def _renamed(a: str, b: str) -> str:
    """f(t)=2t+1 with the variable of f(x)=2x+1: a name that an equation binds may be any other that is not taken."""
    one, other = FUNCTION.match(a), FUNCTION.match(b)
    if not one or not other or one[1] != other[1] or one[2] == other[2] or "=" not in a or "=" not in b:
        return b
    letters = re.sub(r"\\[A-Za-z]+", " ", b)
    if re.search(one[2], letters.replace(one[1], "")) or re.search(r"‹|[A-Za-z]{4,}", letters):
        return b
    return _with_letter(b, other[2], one[2])


def _rebound(a: Written, b: Written) -> str:
    """k\\pi for integers k with the letter of n\\pi: a letter that a condition binds may be any that is not taken."""
    letters = [set(re.findall("[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", side.core))) for side in (a, b)]
    new, old = letters[0] - letters[1], letters[1] - letters[0]
    if len(new) != 1 or len(old) != 1:
        return b.core
    if (a.bound, b.bound) == ("", "") and not (new | old <= set("kmn") and r"\pi" in a.core and r"\pi" in b.core):
        return b.core
    if {a.bound} - {""} <= new and {b.bound} - {""} <= old:
        return _with_letter(b.core, old.pop(), new.pop())
    return b.core


def _with_letter(core: str, old: str, new: str) -> str:
    return re.sub(r"\\[A-Za-z]+|[A-Za-z]", lambda m: new if m[0] == old else m[0], core)


def _same_leaf(a: str, b: str, maths: Mathematics) -> bool:
    if NUMBER.fullmatch(a) and NUMBER.fullmatch(b) and maths.rules.decimals is None and "." not in a + b:
        return int(a) == int(b)
    words = same_words(a, b)
    if words is not None:
        return words
    if same_formula(a, b):
        return True
    a_based, b_based = BASED.fullmatch(a), BASED.fullmatch(b)
    if a_based or b_based:
        # The base may be left out, as a unit: the question asks in it. A base that the gold has not is a claim.
        return a_based is not None and not b_based and b == a_based[1]
    (a_words, a_rest), (b_words, b_rest) = around_texts(a), around_texts(b)
    if a_words or b_words:
        return a_words == b_words and _in_order(
            a_rest, b_rest, lambda x, y: x == y or (bool(x and y) and _same(x, y, maths))
        )
    if maths.equal(a, b):
        return True
    # \log without a base is natural where the gold says \ln; where the gold says \log it may be another.
    if r"\ln" in a and r"\log" not in a and PLAIN_LOG.search(b):
        return maths.equal(a, PLAIN_LOG.sub(r"\\ln", b))
    return False


def _same_relations(a: str, b: str, maths: Mathematics) -> bool:
    a_rel, b_rel = relation(a), relation(b)
    same = partial(_same, maths=maths)
    if a_rel and b_rel and signs(a_rel) == signs(b_rel):
        if len(a_rel) != 3 or a_rel[1] not in ("=", "<", r"\le", r"\ne"):
            return _in_order(a_rel[::2], b_rel[::2], same)
        if _is_graph(a_rel[0], b_rel[0]) or _is_graph(b_rel[0], a_rel[0]):
            return same(a_rel[2], b_rel[2])
        directed = a_rel[1] in ("<", r"\le")
        return _in_order(a_rel[::2], b_rel[::2], same) or maths.same_equation(
            (a_rel[0], a_rel[2]), (b_rel[0], b_rel[2]), directed
        )
    a_value, b_value = value_of(a), value_of(b)
    if (a_value, b_value) != (a, b) and same(a_value, b_value):
        return True
    return not (a_rel and b_rel) and _same_chain(a, b, maths)


def _is_graph(one: str, other: str) -> bool:
    """f(x) against y: the same equation of a graph."""
    function = FUNCTION.fullmatch(one)
    return function is not None and function[2] == "x" and other == "y"


def _same_chain(a: str, b: str, maths: Mathematics) -> bool:
    """\\sqrt{51} \\approx 7.14 against \\sqrt{51}, or 6/4 = 3/2 against 3/2: every exact member has to be the answer.

    One of the two is a relation. A rounding counts for a gold that is this rounding, where it is the right one of the
    exact member in front of it.
    """
    of_gold = relation(a)
    chain, other = (_chain(of_gold), b) if of_gold else (_chain(relation(b)), a)
    if chain is None:
        return False
    exact, rounded = chain
    if exact and all(_same(*((x, other) if of_gold else (other, x)), maths) for x in exact):
        return True
    if len(rounded) != 1 or not NUMBER.fullmatch(rounded[0]) or squeezed(rounded[0]) != squeezed(other):
        return False
    places = len(rounded[0].partition(".")[2])
    return not exact or maths.same_number(exact[-1], rounded[0], Rules(decimals=places))


def _chain(found: list[str] | None) -> tuple[list[str], list[str]] | None:
    """(exact members, those behind \\approx) of a chain of = and \\approx without unknowns on its left."""
    if not found or not set(signs(found)) <= {"=", r"\approx"}:
        return None
    if re.search(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", found[0])):
        return None
    first = next((i for i, op in enumerate(signs(found)) if op == r"\approx"), len(signs(found)))
    members = found[::2]
    return [x for x in members[: first + 1] if x], members[first + 1 :]
