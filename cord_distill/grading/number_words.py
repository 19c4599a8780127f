"""Numbers in words as digits: `twelve`, `two hundred and five`, `three-fourths`, `one million`, `five and a half`.

Only at the beginning of an answer and as far as the words are a number; what stands behind them (a unit) stays.
"""

from __future__ import annotations

import re
from fractions import Fraction

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_VALUES = {word: i for i, word in enumerate(_SMALL)} | {word: 10 * i for i, word in enumerate(_TENS, start=2)}
_LARGE = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {"half": 2, "halve": 2, "third": 3, "quarter": 4} | {
    word: i for i, word in enumerate("fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split(), start=4)
}
_WORD = "|".join([*_VALUES, *_LARGE, "hundred"])
_NUMBER = re.compile(
    rf"(?:(minus|negative)\s+)?((?:{_WORD})(?:(?:\s+and\s+|\s*-\s*|\s+)(?:{_WORD}))*)(?![A-Za-z])", re.IGNORECASE
)
_PART = re.compile(rf"\s*-?\s*({'|'.join(sorted(_PARTS, key=len, reverse=True))})s?(?![A-Za-z])", re.IGNORECASE)
_A = re.compile(r"an?\s+(?=(?:hundred|thousand|million|billion|half|third|quarter|dozen)(?![A-Za-z]))", re.IGNORECASE)
_AND_A_HALF = re.compile(r"\s+and\s+(?:a|one)\s+half(?![A-Za-z])", re.IGNORECASE)
# "one of them", "two or three", "one-to-one": what follows makes another thing of it.
_BEHIND = re.compile(r"\s*›?\s*$|[.,;:!?](?:\s|$)|[\s‹]+(?!(?:to|or|and|in|out|by|more|less)(?![A-Za-z]))[A-Za-z]")
_DIGITS = re.compile(r"-?\d+(?![\d.])")


def in_digits(text: str) -> str:
    """`text` with the number in words that it begins with in digits, as it stands where it begins with none."""
    text = "one " + text[article.end() :] if (article := _A.match(text)) else text
    found = _NUMBER.match(text)
    value = _value(found[2].lower()) if found else None
    if found is not None and value is not None:
        sign, end = "-" if found[1] else "", found.end()
    elif (digits := _DIGITS.match(text)) and _AND_A_HALF.match(text, digits.end()):
        value, sign, end = abs(int(digits[0])), "-" if digits[0][0] == "-" else "", digits.end()
    else:
        return text
    number = Fraction(value)
    if half := _AND_A_HALF.match(text, end):
        number, end = number + Fraction(1, 2), half.end()
    elif part := _PART.match(text, end):
        number, end = number / _PARTS[part[1].lower()], part.end()
    if number.denominator == 1 and (not _BEHIND.match(text, end) or (number == 1 and text[end:].startswith(" of "))):
        return text
    return sign + in_latex(number) + text[end:]


def in_latex(number: Fraction) -> str:
    """A whole number in digits, every other one as \\frac{1}{2}."""
    return str(number) if number.denominator == 1 else f"\\frac{{{number.numerator}}}{{{number.denominator}}}"


def anywhere(text: str) -> str:
    """`text` with the numbers in words that stand in it in digits, but for `one`, which is mostly a pronoun."""
    place, pieces = 0, []
    for found in _NUMBER.finditer(text):
        if found.start() >= place and not text[found.start() - 1 : found.start()].isalpha():
            rest = text[found.start() :]
            digits = in_digits(rest)
            if digits != rest and not re.match(r"1(?![\d/])", digits):
                behind = next(n for n in range(len(rest) + 1) if digits.endswith(rest[n:]))
                pieces += [text[place : found.start()], digits[: len(digits) - len(rest) + behind]]
                place = found.start() + behind
    return "".join([*pieces, text[place:]])


def _value(words: str) -> int | None:
    """The integer that the words are; None for `five six` and other rows of numbers."""
    total, group, last = 0, 0, None
    for word in (word for word in re.findall(r"[a-z]+", words) if word != "and"):
        if word == "hundred":
            if not 0 < group < 100 or last == 100:
                return None
            group, last = group * 100, 100
        elif word in _LARGE:
            if not group or (total and _LARGE[word] >= total):
                return None
            total, group, last = total + group * _LARGE[word], 0, _LARGE[word]
        else:
            value = _VALUES[word]
            if last is not None and not (last >= 100 or (20 <= last < 100 and 0 < value < 10)):
                return None
            group, last = group + value, value
    return total + group
