"""The mathematics of two formulas: equal exactly, equal equations. sympy; loaded in the worker process only.

Formulas are read by the LaTeX reader of math-verify (latex2sympy2_extended). Constants are compared exactly, or by 60
digits where sympy cannot decide; formulas with variables by `simplify`, then at random rational points with 40 digits.
"""

from __future__ import annotations

import random
import re
from functools import lru_cache
from typing import Any

from sympy import Basic, MatrixBase, MatrixExpr, Rational, expand, nan, oo, preorder_traversal, simplify, zoo
from sympy.core.function import AppliedUndef

from cord_distill.grading.compare import Rules

DECIMAL = re.compile(r"\d*\.\d+")
MIXED = re.compile(r"(?<![\w.}^_])(\d+)\s*\\frac\{(\d+)\}\{(\d+)\}")
OPAQUE = {"Sum", "Integral", "Product", "Limit", "Derivative"}
POINTS, DIGITS = 4, 40
LONG_DECIMAL = 6


@lru_cache(maxsize=512)
def read(formula: str) -> Any:
    """The sympy expression of a formula, decimals as exact rationals; None when it cannot be read."""
    from latex2sympy2_extended import latex2sympy

    text = MIXED.sub(r"(\1+\\frac{\2}{\3})", formula)
    text = DECIMAL.sub(lambda m: _fraction(m.group()), text)
    text = re.sub(r"(?<=\d)\s*/\s*(?=[A-Za-z\\(\d])", "/", text.replace("**", "^")).replace("*", r" \cdot ")
    text = re.sub(r"‹|›", "", text)
    if text.count("{") != text.count("}") or text.count("(") != text.count(")"):
        return None
    try:
        value = latex2sympy(text)
    except Exception:  # the reader raises bare Exceptions of many kinds on what it cannot read
        return None
    if isinstance(value, MatrixExpr):
        value = value.doit()
    if isinstance(value, MatrixBase):
        return value
    return value if isinstance(value, Basic) and value not in (nan, zoo) and not hasattr(value, "as_set_") else None


def equal(a: str, b: str, rules: Rules) -> bool | None:
    """Whether two formulas are the same number, expression or matrix. None when one of them cannot be read."""
    x, y = read(a), read(b)
    if x is None or y is None:
        return None
    if isinstance(x, MatrixBase) or isinstance(y, MatrixBase):
        if not (isinstance(x, MatrixBase) and isinstance(y, MatrixBase)) or x.shape != y.shape:
            return False
        return all(_same_expression(p, q) for p, q in zip(x, y, strict=True))
    if not getattr(x, "is_Relational", False) and not getattr(y, "is_Relational", False):
        if _same_expression(x, y):
            return True
        if not x.free_symbols and not y.free_symbols:
            return _rounding_of(a, b, x, y, rules.decimals)
    if not rules.strict:
        names = [sorted(side.free_symbols, key=str) for side in (x, y)]
        if len(names[0]) == len(names[1]) > 0:
            return _same_expression(x, y.xreplace(dict(zip(names[1], names[0], strict=True))))
    return False


def same_equation(a: tuple[str, str], b: tuple[str, str], directed: bool) -> bool | None:
    """Whether lhs - rhs of the two differ by a constant factor (a positive one for inequalities)."""
    sides = [read(side) for side in (*a, *b)]
    if any(side is None or isinstance(side, MatrixBase) or not hasattr(side, "free_symbols") for side in sides):
        return None
    try:
        p, q = expand(sides[0] - sides[1]), expand(sides[2] - sides[3])
        if p == 0 or q == 0 or p.free_symbols != q.free_symbols or not p.free_symbols or p.atoms(AppliedUndef):
            return False
        ratio = simplify(p / q)
    except (TypeError, ValueError, AttributeError):
        return None
    return bool(ratio.is_number and ratio.is_finite and ratio != 0 and (not directed or ratio.is_positive))


def _same_expression(x: Any, y: Any) -> bool:
    if x == y:
        return True
    if x.has(oo, -oo) or y.has(oo, -oo) or _unsafe(x) or _unsafe(y):
        return False
    try:
        difference = expand(x - y)
        if difference == 0:
            return True
        if not difference.free_symbols:
            return _is_zero(difference, x)
        return (x.free_symbols == y.free_symbols and _vanishes(difference)) or simplify(difference) == 0
    except (TypeError, ValueError, AttributeError, NotImplementedError, ZeroDivisionError):
        return False


def _unsafe(x: Any) -> bool:
    """Sums, integrals and unknown functions: equal as written (checked before) or not at all."""
    return any(isinstance(node, AppliedUndef) or type(node).__name__ in OPAQUE for node in preorder_traversal(x))


def _is_zero(value: Any, scale: Any) -> bool:
    if value.is_Rational:
        return value == 0
    digits = value.evalf(DIGITS + 20, maxn=400)
    size = abs(scale.evalf(20)) + 1
    return bool(digits.is_number and abs(digits) < size * Rational(1, 10**DIGITS))


def _vanishes(difference: Any) -> bool:
    """Zero at random rational points to DIGITS digits. The points are always the same."""
    stream = random.Random(0)
    names = sorted(difference.free_symbols, key=str)
    for _ in range(POINTS):
        at = {name: Rational(stream.randint(101, 997), stream.randint(101, 499)) for name in names}
        value = difference.subs(at)
        if not value.is_number or not _is_zero(value, Rational(1)):
            return False
    return True


def _rounding_of(a: str, b: str, x: Any, y: Any, decimals: int | None) -> bool:
    """A decimal written to six or more places is the rounding of the other number at its last place."""
    for text, value, other in ((a, x, y), (b, y, x)):
        places = _places(text)
        if places is not None and value.is_Rational and other.is_real and places >= LONG_DECIMAL:
            return bool(abs(value - other).evalf(DIGITS) <= Rational(1, 2 * 10**places))
    if decimals is not None and decimals < LONG_DECIMAL and x.is_real and y.is_real:
        return x.evalf(DIGITS).round(decimals) == y.evalf(DIGITS).round(decimals)
    return False


def _places(text: str) -> int | None:
    match = re.fullmatch(r"[+-]?\s*\d*\.(\d+)", text.strip())
    return len(match.group(1)) if match else None


def _fraction(decimal: str) -> str:
    whole, _, part = decimal.partition(".")
    return f"\\frac{{{int((whole or '0') + part)}}}{{{10 ** len(part)}}}"
