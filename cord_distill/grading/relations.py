"""How equations, inequalities and bracketed answers are taken apart: text only, nothing here compares."""

from __future__ import annotations

import re

from cord_distill.grading.latex import split_top

NAME = re.compile(
    r"(?:\\(?!frac|sqrt|sum|int|lim|ln|log|sin|cos|tan)[A-Za-z]+|[A-Za-z])"
    r"(?:_\w|_\{[^{}]*\}|'|\^\{?-1\}?(?=\()|\([^()=<>]*\)|[A-Za-z]| (?=[A-Z]))*"
    r"|\\frac\{(?:[A-Z]+|d[a-z])\}\{(?:[A-Z]+|d[a-z])\}|m?\\angle ?[A-Z]+|\|[A-Z]{2}\||‹[^‹›]*›(?:\([^()=<>]*\))?"
)
BINARY = re.compile(r"\\(?:le|ge|ne|approx|in|equiv|sim)(?![A-Za-z])|[=<>]")
FLIP = {">": "<", r"\ge": r"\le"}
OPEN, CLOSE = "([{", ")]}"


def relation(core: str) -> list[str] | None:
    """[lhs, op, rhs, op, ...] at top level, all `>` turned to `<`; None when there is no relation sign."""
    pieces: list[str] = []
    start = place = depth = 0
    for found in BINARY.finditer(core):
        between = core[place : found.start()]
        depth += sum((char in OPEN) - (char in CLOSE) for char in between)
        place = found.end()
        if depth == 0:
            pieces += [core[start : found.start()].strip(), found.group()]
            start = found.end()
    if not pieces:
        return None
    pieces.append(core[start:].strip())
    if all(op in FLIP for op in pieces[1::2]):
        pieces = [FLIP.get(piece, piece) for piece in reversed(pieces)]
    return pieces


def signs(of: list[str]) -> list[str]:
    return of[1::2]


def value_of(core: str) -> str:
    """The value of `name = value` (of `name = a = b \\approx c` it is b, of `name \\approx c` c), else all of it."""
    found = relation(core)
    if not found or any(op in ("<", r"\le", r"\ne") for op in signs(found)):
        return core
    if not all(NAME.fullmatch(name) for name in names(found[0])):
        return core
    exact = [rhs for op, rhs in zip(found[1::2], found[2::2], strict=True) if op != r"\approx"]
    return exact[-1] if exact else found[-1]


def names(left: str) -> list[str]:
    """x of x = 3, S and T of S:T = 1:2, x and y of (x,y) = (3,2)."""
    if left.lstrip().startswith("\\"):
        return [left.strip()]
    left = left.replace(" ", "")
    return split_top(left[1:-1], ",") if tuple_of(left) else left.split(":")


def tuple_of(core: str) -> list[str] | None:
    core = core.strip()
    if core[:1] != "(" or core[-1:] != ")" or len(split_top(core, ",;")) != 1 or closes_early(core):
        return None
    parts = split_top(core[1:-1], ",;")
    return parts if len(parts) > 1 else None


def bracketed(core: str) -> tuple[str, list[str]] | None:
    """("(]", [start, end]) of a tuple or interval; None for a parenthesised expression."""
    core = core.strip()
    if core[:1] not in ("(", "[") or core[-1:] not in (")", "]") or closes_early(core):
        return None
    parts = split_top(core[1:-1], ",;")
    return (core[0] + core[-1], parts) if len(parts) > 1 or core[0] == "[" else None


def closes_early(core: str) -> bool:
    depth = 0
    for i, char in enumerate(core):
        depth += (char in OPEN) - (char in CLOSE)
        if depth == 0 and i < len(core) - 1:
            return True
    return False
