"""Answers in words, and words inside of formulas: text is compared as text, never as a product of its letters."""

from __future__ import annotations

import re

WORDS = re.compile(r"\(?[A-Za-z][A-Za-z .,'-]+\)?")
# `a-b` is a difference, and no other spelling of `ab`; `x-axis` and `well-known` are words.
_DIFFERENCE = re.compile(r"\(?[A-Za-z]{1,3}(?:\s*-\s*[A-Za-z]{1,3})+\)?")
_PRIMED = re.compile(r"(?<![A-Za-z])[A-Za-z]'+(?![A-Za-z])")
_TEXT = re.compile(r"(?<![_^{])‹([^‹›]*)›|(?:(?<=[\s\d])|^)(?<!\\)([A-Za-z]{3,})(?=[\s\d]|$)")
_FUNCTIONS = set("sin cos tan cot sec csc log exp sqrt mod gcd lcm min max lim".split())
_FORMULA = re.compile(r"\d*(?:[A-Z][a-z]?(?:_?\d+)?|\((?:[A-Z][a-z]?(?:_?\d+)?)+\)(?:_?\d+)?)+(?:\^?\d*[+-])?")
ARROW = re.compile(r"(\\to(?![a-z])|\\rightleftharpoons)")
_HYBRID = re.compile(r"sp\d?(?:d\d?)?")
_STATE = re.compile(r"\s*\((?:s|l|g|aq)\)")
_ARTICLE = re.compile(r"^(?:an?|the)\s+(?=[A-Za-z]{3})", re.IGNORECASE)
# Of three letters: ABC and abc are products of other letters.
_SHOUTED = ("yes", "dne", "odd", "all")
_SAME = {
    "nosolutions": "nosolution",
    "thereisnosolution": "nosolution",
    "therearenosolutions": "nosolution",
    "nosolutionexists": "nosolution",
    "emptyset": "nosolution",
    "theemptyset": "nosolution",
    "doesnotexist": "dne",
    "limitdoesnotexist": "dne",
}


def same_words(a: str, b: str) -> bool | None:
    """Whether two answers in words are the same; None where one of them is not in words. Case counts in two letters
    (Co, CO) but not in `No`."""
    if not all(WORDS.fullmatch(side) or side.startswith("\\emptyset") for side in (a, b)):
        return None
    if any(_PRIMED.search(side) or _DIFFERENCE.fullmatch(side) for side in (a, b)):
        return None
    letters = [re.sub(r"[^A-Za-z]", "", side) for side in (a, b)]
    if letters[0] == letters[1]:
        return True
    letters = [re.sub(r"^[^A-Za-z]*", "", side) for side in (a, b)]
    letters = [re.sub(r"[^A-Za-z]", "", _ARTICLE.sub("", side)) for side in letters]
    keys = [_SAME.get(side.casefold(), side.casefold()) for side in letters]
    longest = max(map(len, letters))
    if longest <= 2:
        return True if keys[0] == keys[1] == "no" else None
    if longest == 3:
        return keys[0] == keys[1] and (letters[0][1:] == letters[1][1:] or keys[0] in _SHOUTED)
    return keys[0] == keys[1]


def around_texts(core: str) -> tuple[list[str], list[str]]:
    """Takes an answer apart at the words in it: (the words, the formulas around them, which are one more). Scripts
    (x_{max}) and names of functions belong to the formulas."""
    words: list[str] = []
    pieces: list[str] = []
    start = 0
    for found in _TEXT.finditer(core):
        word = found[1] if found[1] is not None else found[2]
        if word.strip() in _FUNCTIONS:
            continue
        words.append(" ".join(word.casefold().split()))
        pieces.append(core[start : found.start()].strip(" ,"))
        start = found.end()
    return words, [*pieces, core[start:].strip(" ,")]


def same_formula(a: str, b: str) -> bool:
    """Whether two chemical formulas or reactions are the same: H_2O and H2O, Fe^{3+} and Fe3+. The order within a side
    of a reaction is free."""
    parts = [ARROW.split(core) for core in (a, b)]
    if len(parts[0]) > 1 or len(parts[1]) > 1:
        sides = [[sorted(_terms(part)) for part in core[::2]] for core in parts]
        return parts[0][1::2] == parts[1][1::2] and all(
            len(x) == len(y) and all(map(_same_species, x, y)) for x, y in zip(*sides, strict=True)
        )
    one, other = (_bare(core) for core in (a, b))
    orbitals = [side.replace("^", "") for side in (one, other)]
    return _same_species(one, other) or (orbitals[0] == orbitals[1] and _HYBRID.fullmatch(orbitals[0]) is not None)


def _terms(side: str) -> list[str]:
    return [_bare(term) for term in re.split(r"\s\+\s|\+(?=\d*[A-Z(])", side)]


def _bare(species: str) -> str:
    return re.sub(r"[{}‹›\s]", "", _STATE.sub("", species))


def _same_species(a: str, b: str) -> bool:
    if not (_FORMULA.fullmatch(a) and _FORMULA.fullmatch(b)):
        return False
    one, other = (side.replace("_", "") for side in (a, b))
    # Without ^ a charge runs into the number in front of it: Fe3+.
    loose = any(side[-1] in "+-" and "^" not in side for side in (one, other))
    return one == other or (loose and one.replace("^", "") == other.replace("^", ""))
