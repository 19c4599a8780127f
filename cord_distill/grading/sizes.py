"""Whether a formula holds a number too large to write out: `9^{9^{9^9}}`, `((5!)!)!`. One pass, nothing is computed.

The reader computes powers and factorials while it reads, for hours where they are large; such a formula is not read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

MOST_DIGITS = 200_000
DEEPEST = 60
_TOKEN = re.compile(r"\d+(?:\.\d+)?|\\[A-Za-z]+|\S")
_OPEN, _CLOSE = "{([", "})]"
_NEW_TERM = set("+-=<>,&") | {r"\le", r"\ge"}
_EXPONENTIAL = (r"\exp", r"\binom")
# What stands for a letter: large enough that x^{10^{10}} is not expanded.
_LETTER = math.log10(3)


class _TooLarge(Exception):
    pass


def too_large(formula: str) -> bool:
    """Whether a power, factorial, binomial or number in it has more than MOST_DIGITS digits, or brackets nest too deep.

    Sizes are decimal logarithms and estimated upwards: a sum has the size of its largest product, a negative power that
    of its denominator.
    """
    try:
        _sum(iter(_TOKEN.findall(formula)), 0)
    except _TooLarge:
        return True
    return False


def _sum(tokens: Iterator[str], depth: int) -> float:
    """The size of what stands up to the closing bracket."""
    if depth > DEEPEST:
        raise _TooLarge
    largest = product = last = 0.0
    base: float | None = None
    command = ""
    for token in tokens:
        if token in _CLOSE:
            break
        if token == "^":
            base = last
        elif token == "!":
            product, last = _checked(product - last + _factorial(last)), _factorial(last)
        elif token in _NEW_TERM:
            # The sign of an exponent without braces begins no term.
            if base is None:
                largest, product, last = max(largest, product), 0.0, 0.0
        elif token[0] == "\\" and token != r"\pi":
            command = token
        else:
            size = _sum(tokens, depth + 1) if token in _OPEN else _size(token)
            if base is not None:
                size, product, base = _checked(base * 10 ** min(size, 300.0)), product - last, None
            elif command in _EXPONENTIAL:
                size = _checked(10 ** min(size, 300.0) * _LETTER)
            command = command if command == r"\binom" else ""
            product, last = _checked(product + size), size
    return max(largest, product)


def _size(token: str) -> float:
    if not token[0].isdigit():
        return _LETTER if token.isalpha() or token == r"\pi" else 0.0
    whole = token.partition(".")[0].lstrip("0")
    return _checked(len(whole) + math.log10(float(f"0.{whole[:15]}"))) if whole else 0.0


def _factorial(size: float) -> float:
    return math.lgamma(10**size + 1) / math.log(10) if size < 15 else math.inf


def _checked(size: float) -> float:
    if size > MOST_DIGITS:
        raise _TooLarge
    return size
