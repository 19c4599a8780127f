"""The mathematics of two formulas: equal exactly, equal equations. sympy; loaded in the worker process only.

Formulas are read by the LaTeX reader of math-verify (latex2sympy2_extended). Constants are compared exactly; where
sympy cannot decide, by 60 digits more than the sizes of their parts are apart; formulas with variables by `simplify`,
then at random rational points.
"""

from __future__ import annotations

import random
import re
from functools import lru_cache
from typing import Any

from sympy import Add, Basic, I, MatrixBase, MatrixExpr, Rational, expand, nan, oo, preorder_traversal, simplify, zoo
from sympy.core.function import AppliedUndef

from cord_distill.grading.compare import Rules
from cord_distill.grading.sizes import too_large

DECIMAL = re.compile(r"\d*\.\d+")
MIXED = re.compile(r"(?<![\w.}^_])(\d+)\s*\\frac\{(\d+)\}\{(\d+)\}")
PRIMED = re.compile(r"([A-Za-z])((?:'|\^\{?\\prime\}?)+)")
# Of a name, which the reader takes for a number: its transpose would be the number again.
TRANSPOSED = re.compile(r"(?<![A-Za-z\\])([A-Za-z])\^(?:T|\{T\}|\{?\\(?:top|intercal)(?![A-Za-z])\}?)")
# C(5,2), {}_5C_2, ^5C_2, 5C2.
CHOOSE = re.compile(r"(?<![A-Za-z\\])C\((\d+),(\d+)\)|(?:\{\})?(?:[_^]\{?|(?<![\d.]))(\d+)\}?\s*C_?\{?(\d+)\}?")
TWO_NUMBERS = re.compile(r"(?<![_^\d.])\d+\s+\d")
OPAQUE = {"Sum", "Integral", "Product", "Limit", "Derivative"}
POINTS, DIGITS = 4, 40
LONG_DECIMAL = 6
SHOWN_DIGITS, FLOAT_DIGITS = 5, 15
MOST_DIGITS = 20_000
LOG2 = 0.30103


@lru_cache(maxsize=512)
def read(formula: str) -> Any:
    """The sympy expression of a formula, decimals as exact rationals; None when it cannot be read."""
    from latex2sympy2_extended import latex2sympy

    if too_large(formula):
        return None
    text = MIXED.sub(r"(\1+\\frac{\2}{\3})", formula)
    text = DECIMAL.sub(lambda m: _fraction(m.group()), text)
    text = re.sub(r"(?<=\d)\s*/\s*(?=[A-Za-z\\(\d])", "/", text.replace("**", "^")).replace("*", r" \cdot ")
    text = TRANSPOSED.sub(r"\1_{T}", PRIMED.sub(_primed, re.sub(r"‹|›", "", text)))
    text = CHOOSE.sub(lambda m: f"\\binom{{{m[1] or m[3]}}}{{{m[2] or m[4]}}}", text)
    if text.count("{") != text.count("}") or text.count("(") != text.count(")") or TWO_NUMBERS.search(text):
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


def same_number(a: str, b: str, rules: Rules) -> bool:
    """Whether two formulas are the same number, expression or matrix; False where one of them cannot be read."""
    x, y = read(a), read(b)
    if x is None or y is None:
        return False
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


def same_equation(a: tuple[str, str], b: tuple[str, str], directed: bool) -> bool:
    """Whether lhs - rhs of the two differ by a constant factor (a positive one for inequalities)."""
    sides = [read(side) for side in (*a, *b)]
    if any(side is None or isinstance(side, MatrixBase) or not hasattr(side, "free_symbols") for side in sides):
        return False
    try:
        p, q = expand(sides[0] - sides[1]), expand(sides[2] - sides[3])
        if p == 0 or q == 0 or p.free_symbols != q.free_symbols or not p.free_symbols or p.atoms(AppliedUndef):
            return False
        ratio = simplify(p / q)
    except (TypeError, ValueError, AttributeError):
        return False
    return bool(ratio.is_number and ratio.is_finite and ratio != 0 and (not directed or ratio.is_positive))


def _primed(match: re.Match[str]) -> str:
    """x' as x_{p}: the reader drops the prime, and x' is not x."""
    return f"{match[1]}_{{{'p' * (match[2].count(chr(39)) + match[2].count('prime'))}}}"


def _real_roots(x: Any) -> Any:
    """Odd roots of negative numbers as the real ones, as at school: the cube root of -8 is -2."""
    return x.replace(
        lambda n: n.is_Pow and n.base.is_Rational and n.base < 0 and n.exp.is_Rational and n.exp.q % 2 and n.exp.q > 1,
        lambda n: (-1) ** n.exp.p * (-n.base) ** n.exp,
    )


def _same_expression(x: Any, y: Any) -> bool:
    if x == y:
        return True
    if _unsafe(x) or _unsafe(y):
        return bool(_in_order(x) == _in_order(y))
    if x.has(oo, -oo) or y.has(oo, -oo):
        return False
    try:
        x, y = _real_roots(x), _real_roots(y)
        difference = expand(x - y)
        if difference == 0:
            return True
        imaginary = next((name for name in difference.free_symbols if str(name) == "i"), None)
        if imaginary is not None and _agree(x.xreplace({imaginary: I}), y.xreplace({imaginary: I})):
            return True
        if not difference.free_symbols:
            return _is_zero(difference)
        return (x.free_symbols == y.free_symbols and _agree(x, y)) or simplify(difference) == 0
    except (TypeError, ValueError, AttributeError, NotImplementedError, ZeroDivisionError):
        return False


def _unsafe(x: Any) -> bool:
    """Sums, integrals and unknown functions: equal as written, in any order of terms and factors, or not at all."""
    return any(isinstance(node, AppliedUndef) or type(node).__name__ in OPAQUE for node in preorder_traversal(x))


def _in_order(node: Any) -> Any:
    """The tree with its sums and products in sympy's own order: the reader keeps the order of the text."""
    if not node.args:
        return node
    return node.func(*(_in_order(arg) for arg in node.args))


def _is_zero(value: Any) -> bool:
    """Zero exactly where the number is rational, else to more digits than its parts are apart in size.

    So e^-100 is not 0, and 2^2024 - 1 is not 2^2024: there is no fixed precision that a small number could fall under.
    """
    value = value.doit()
    if value.is_Rational:
        return bool(value == 0)
    sizes = [size for node in preorder_traversal(value) if (size := _magnitude(node)) is not None]
    digits = DIGITS + 20 + max(sizes, default=0) - min(sizes, default=0)
    if digits > MOST_DIGITS:
        return False
    found = value.evalf(DIGITS, maxn=digits)
    if not found.is_number:
        return False
    terms = [_magnitude(term) for term in Add.make_args(value)]
    largest = max((size for size in terms if size is not None), default=0)
    return bool(abs(found) < Rational(10) ** (largest + DIGITS - digits))


def _magnitude(node: Any) -> int | None:
    """The decimal exponent of a number, None for what is no number or 0."""
    if not getattr(node, "is_number", False) or node.is_zero:
        return None
    if node.is_Rational:
        return int((abs(node.p).bit_length() - node.q.bit_length()) * LOG2)
    parts = [part for part in node.evalf(5, maxn=200).as_real_imag() if part.is_Float and part != 0]
    return max((int((part._mpf_[2] + part._mpf_[3]) * LOG2) for part in parts), default=None)


def _agree(x: Any, y: Any) -> bool:
    """The same to DIGITS digits at random rational points, always the same ones.

    Some have a negative coordinate: |x| is not x. There only values count that are real on both sides, as
    2 \\ln x = \\ln x^2 is meant where both sides are.
    """
    stream = random.Random(0)
    names = sorted(x.free_symbols | y.free_symbols, key=str)
    for negative in [None] * POINTS + names:
        at = {name: Rational(stream.randint(101, 997), stream.randint(101, 499)) for name in names}
        if negative is not None:
            at[negative] = -at[negative]
        one, other = x.subs(at), y.subs(at)
        if negative is not None and not (_is_real(one) and _is_real(other)):
            continue
        difference = one - other
        if not difference.is_number or not _is_zero(difference):
            return False
    return True


def _is_real(value: Any) -> bool:
    return bool(value.is_number and abs(value.evalf(DIGITS).as_real_imag()[1]) < Rational(1, 10 ** (DIGITS // 2)))


def _rounding_of(a: str, b: str, x: Any, y: Any, decimals: int | None) -> bool:
    """A decimal written to six or more places is the rounding of the other number at its last place.

    It has to show five of the number's own digits: 0.000000 says nothing about e^-100. A decimal of 15 digits or more
    is what `str(float)` writes: its last digits are those of a binary number, so that 14 have to agree.
    """
    for text, value, other_text, other in ((a, x, b, y), (b, y, a, x)):
        places = _places(text)
        if places is not None and value.is_Rational and other.is_real and places >= LONG_DECIMAL:
            shown = len(re.sub(r"\D", "", text).lstrip("0"))
            if shown < SHOWN_DIGITS:
                return False
            if shown > FLOAT_DIGITS or (shown == FLOAT_DIGITS and _places(other_text) is None and not other.is_Integer):
                return bool(abs(value - other).evalf(DIGITS) <= abs(value) * Rational(1, 10**14))
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
