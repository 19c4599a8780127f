"""One spelling for one formula: LaTeX and plain notation to a common string, and its pieces. Standard library.

Nothing here decides that two answers are equal beyond spelling; `compare.py` does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from cord_distill.grading.units import LETTERS, SHORT, SPELLINGS, unit_name

UNICODE = str.maketrans(
    {
        "−": "-", "–": "-", "—": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "π": r"\pi ",
        "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "±": r"\pm ", "∪": r"\cup ",
        "∩": r"\cap ", "∈": r"\in ", "°": r"^\circ ", "√": r"\sqrt ", "²": "^2", "³": "^3", "½": r"\frac{1}{2}",
        "（": "(", "）": ")", "，": ",", "：": ":", "；": ";", "\u00a0": " ", "\u2009": " ", "\u202f": " ",
        "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "φ": r"\varphi ", "∅": r"\emptyset ",
    }
)  # fmt: skip
WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
# Not behind another backslash: `\\\\ ` ends a row of a matrix.
SPACING = re.compile(r"(?<!\\)\\[,;:! ]|\\(?:quad|qquad|displaystyle|limits|nolimits|hspace\*?\{[^}]*\})(?![A-Za-z])|~")
SIZED = re.compile(r"\\(?:left|right|bigl?|bigr|Bigl?|Bigr|middle)(?![A-Za-z])\s*\.?")
SAME = {
    "nicefrac": "frac", "sfrac": "frac",
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "leq": "le", "geq": "ge", "leqslant": "le", "geqslant": "ge",
    "neq": "ne", "lt": "<", "gt": ">", "cdot": "*", "times": "*", "ast": "*", "div": "/", "lbrace": r"\{",
    "rbrace": r"\}", "lbrack": "[", "rbrack": "]", "colon": ":", "simeq": "approx", "phi": "varphi",
    "dbinom": "binom", "tbinom": "binom", "mid": "|", "vert": "|", "degree": r"^\circ",
    "varnothing": "emptyset", "operatorname*": "operatorname",
}  # fmt: skip
COMMAND = re.compile(r"\\([A-Za-z]+)")
TEXT = re.compile(r"\\(?:text(?:bf|it|rm|normal|sf|tt)?|math(?:rm|bf|it|sf)|mbox|hbox|operatorname)\s*\{([^{}]*)\}")
JOIN_WORDS = re.compile(r"^\s*,?\s*(and|or)\s*,?\s*$")
THOUSANDS = re.compile(r"(?<![\d.,(\[{])(\d{1,3})((?:(?:,|\{,\}| )\d{3})+)(?!\d)(?!,)")
# What str(float) writes: 1e-05, 6.02e23.
POWER_OF_TEN = re.compile(r"^\s*([+-]?\d+(?:\.\d+)?)[eE]([+-]?\d{1,3})\s*$")
REPEATING = re.compile(r"(\d+)\.(\d*)\\(?:overline|bar|dot)\s*\{?(\d+)\}?(?!\d)")
NAMED = re.compile(r"^[A-Za-z](?:_\w+|_\{\w+\})?=")
FRACTION = re.compile(r"([+-]?)(?:\\frac\{(\d+)\}\{(\d+)\}|(\d+(?:\.\d+)?)(?:/(\d+))?)")
MATRIX = re.compile(r"\\begin\{array\}\{[^}]*\}")
ESCAPED_TWICE = re.compile(
    r"\\\\(?=(?:frac|left|right|boxed|text|sqrt|le|ge|ne|pi|in|infty|cup|cdot|times|pm)(?![a-z]))"
)
UNIT = re.compile(r"(?P<core>.*[\d})\]])(?P<unit>(?:\s[A-Za-z]{4,}|\s?(?:cm|mm|km|kg|mph|min)\b)[A-Za-z ./^\d]*)")
# 5 ft, 5in, but not "1 in 4".
SHORT_UNIT = re.compile(rf"(?P<core>.*\d)\s?(?P<unit>{SHORT})\.?")
# m/s whose halves stand in two groups.
RATIO = re.compile(r"‹([^‹›]*)›\s*/\s*(?:‹([^‹›]*)›|([A-Za-z]+))")
PERCENT = re.compile(r"(?:\\?%|(?<![A-Za-z])(?:percent(?:age)?|pct))\s*$")
# 468 \\pmod{1000}, 468 (mod 1000).
RESIDUE = re.compile(r"\s*\(?\s*(?:\\(?:p|b)?mod|‹?\(?\s*mod\s*›?)\s*\{?(\d+)\}?\s*›?\s*\)?$")
# 30^\\circ 15' 20'', and 15' alone.
MINUTES = re.compile(r"(?:(\d+)\^\{?\\circ\}?)?\s*(\d+)\s*(?:'|\^\{?\\prime\}?)(?:\s*(\d+)\s*(?:''|\"))?")
DEGREES = re.compile(r"(\d+(?:\.\d+)?)\s*\^\{?\\circ\}?")
FUNCTION = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")


@dataclass(frozen=True, slots=True)
class Written:
    """An answer as written: `core` in the common spelling, the unit or words behind it, whether a percentage."""

    core: str
    unit: str
    percent: bool


def written(text: str) -> Written:
    """`text` (a formula, with or without $) in the common spelling, its unit and its percent sign set apart."""
    core = spelled(text)
    percent = bool(PERCENT.search(core))
    if percent:
        core = PERCENT.sub("", core).strip()
    unit = power = ""
    if (residue := RESIDUE.search(core)) and residue.start():
        return Written(core[: residue.start()].strip(), f"mod {residue[1]}", percent)
    if minutes := MINUTES.fullmatch(core):
        whole, minute, second = (value or "0" for value in minutes.groups())
        return Written(
            f"\\frac{{3600*{whole}+60*{minute}+{second}}}{{3600}}", "deg" if minutes[1] else "arcmin", percent
        )
    trailing = re.search(r"‹([^‹›]*)›(?:\^\{?(\d)\}?)?$", core)
    if trailing and re.search(r"\d", core[: trailing.start()]) and not JOIN_WORDS.match(trailing.group(1)):
        unit, core = trailing.group(1), core[: trailing.start()].strip()
        power = trailing.group(2) or ""
    elif "‹" not in core and (match := _plain_unit(core)):
        unit, core = match["unit"], match["core"].strip()
    if DEGREES.search(core) and (FUNCTION.search(core) or len(DEGREES.findall(core)) > 1):
        core = DEGREES.sub(lambda m: f"(\\frac{{{m[1]}\\pi}}{{180}})", core)
    elif core.endswith((r"^\circ", r"^{\circ}")):
        unit, core = "deg", re.sub(r"\^\{?\\circ\}?$", "", core).strip()
    if unit and unit.strip().lower() in ("percent", "pct", "percentage"):
        unit, percent = "", True
    core = re.sub(r"‹([^‹›]*)›", _inner_text, core)
    core = re.sub(r"\s+", " ", core).strip()
    name = unit_name(unit)
    return Written(core, "deg" if name == "degree" else name + power, percent)


def _plain_unit(core: str) -> re.Match[str] | None:
    """A number and a unit that stands in no \\text{}; `3 apples and 2 pears` are two answers, not one with a unit."""
    match = SHORT_UNIT.fullmatch(core) or UNIT.fullmatch(core)
    return None if match and re.search(r"\b(and|or)\b", match["unit"]) else match


def _kept_text(group: re.Match[str]) -> str:
    """What stood in \\text{}, marked as text; a letter alone is a formula's, unless it is the unit of a number."""
    text = group[1].replace("~", " ")
    before = group.string[: group.start()].rstrip(" ~")
    is_unit = text.strip() in LETTERS and before[-1:].isdigit()
    return f"‹{text}›" if len(text.strip()) > 1 or is_unit else text


def _inner_text(group: re.Match[str]) -> str:
    """Text inside an answer: `and`, `or` keep their blanks, the units of 3 h 20 min get their one name."""
    if JOIN_WORDS.match(group[1]):
        return f" {group[1].strip()} "
    return unit_name(group[1]) if group[1].strip() in SPELLINGS else group[1]


def spelled(text: str) -> str:
    """The common spelling; what stood in \\text{} and its kin is kept between ‹ and ›."""
    text = ESCAPED_TWICE.sub(r"\\", text) if r"\begin" not in text else text
    text = text.translate(UNICODE).strip().rstrip(".。:").strip()
    # Half of a blank: `185\\ ` whose blank was cut off.
    text = text.removesuffix("\\").strip() if not text.endswith("\\\\") else text
    while (inner := _unwrapped(text)) != text:
        text = inner
    text = re.sub(r",\s*\\!\s*(?=\d{3})", ",", text.replace(r"\$", ""))
    text = SPACING.sub(" ", text)
    text = SIZED.sub("", text)
    text = re.sub(r"(?<!\\)\$", "", text)
    text = re.sub(r"[€£¥]|(?<![A-Za-z])Rs\.?\s*(?=\d)", "", text)
    text = MATRIX.sub(r"\\begin{array}", text)
    text = re.sub(r"\\(begin|end)\{(?:array|bmatrix|pmatrix|matrix|vmatrix)\}", r"\\\1{pmatrix}", text)
    text = re.sub(r"[\[(]\s*(\\begin\{pmatrix\}.*?\\end\{pmatrix\})\s*[\])]", r"\1", text, flags=re.DOTALL)
    text = re.sub(r"\\\\\s*\\end", r"\\end", text)
    text = TEXT.sub(_kept_text, text)
    text = RATIO.sub(lambda m: f"‹{m[1]}/{m[2] or m[3]}›", text)
    text = COMMAND.sub(lambda m: _same(m.group(1)), text)
    text = re.sub(r"!\s*=", r"\\ne ", text)
    text = re.sub(r">\s*=", r"\\ge ", re.sub(r"<\s*=", r"\\le ", text))
    text = re.sub(r"\\\\\s*\[\s*\d+(?:\.\d+)?\s*(?:pt|ex|em|mm)\s*\]", r"\\\\", text)
    text = POWER_OF_TEN.sub(lambda m: f"{m[1]}*10^{{{int(m[2])}}}", text)
    text = REPEATING.sub(_repeating, text)
    text = re.sub(r"\\frac\s*([0-9A-Za-z])\s*([0-9A-Za-z])", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac\s*([0-9A-Za-z])\s*\{", r"\\frac{\1}{", text)
    text = re.sub(r"(\\frac\s*\{[^{}]*\})\s*([0-9A-Za-z])", r"\1{\2}", text)
    text = re.sub(r"\\frac\s+\{", r"\\frac{", text)
    text = re.sub(r"\\sqrt\s*([0-9A-Za-z])", r"\\sqrt{\1}", text)
    text = re.sub(r"(?<![A-Za-z\\])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}", text)
    text = re.sub(r"(?<![A-Za-z\\])pi(?![A-Za-z])", r"\\pi", text)
    text = re.sub(r"\*\*", "^", text)
    text = THOUSANDS.sub(_thousands, text)
    text = re.sub(r"(?<![\d}])\.(?=\d)", "0.", text)
    text = re.sub(r"_\{(\w)\}", r"_\1", text)
    text = re.sub(r"\^\{(\w)\}", r"^\1", text)
    return re.sub(r"\s+", " ", text).strip().rstrip(",").strip()


def in_radians(answer: Written) -> Written:
    """75 degrees as 75 pi / 180; other answers as they are."""
    return Written(f"\\frac{{({answer.core})\\pi}}{{180}}", "", answer.percent) if answer.unit == "deg" else answer


def squeezed(core: str) -> str:
    """Without blanks, for comparing spellings (a blank after a command name stands where it is needed)."""
    return re.sub(r"\s+(?![A-Za-z])|(?<![A-Za-z])\s+", "", core)


def canonical(text: str) -> str:
    """One spelling for answers that are counted as one vote: numbers by value, x = 7 as 7, (C) as C, units left out."""
    answer = written(text)
    core = NAMED.sub("", squeezed(answer.core))
    core = re.sub(r"^\(([A-Za-z])\)$", r"\1", core)
    sign = "%" if answer.percent else ""
    number = FRACTION.fullmatch(core)
    if not number or (number[3] or number[5] or "1").strip("0") == "":
        return core.casefold() + sign if core.isalpha() and len(core) > 1 else core + sign
    minus, *parts = number.groups()
    over, under, plain, below = parts
    value = Fraction(over or plain) / Fraction(under or below or 1)
    return f"{-value if minus == '-' else value}{sign}"


def split_top(text: str, marks: str) -> list[str]:
    """Pieces of `text` between `marks` (single characters) outside of all brackets and braces."""
    pieces, depth, start = [], 0, 0
    for i, char in enumerate(text):
        if char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        elif char in marks and depth == 0:
            pieces.append(text[start:i])
            start = i + 1
    pieces.append(text[start:])
    return [piece.strip() for piece in pieces]


def _thousands(match: re.Match[str]) -> str:
    """1,234 without its comma. Inside round and square brackets a plain comma separates: (12,102) is a pair."""
    before = match.string[: match.start()]
    inside = before.count("(") + before.count("[") > before.count(")") + before.count("]")
    return match[0] if inside and re.search(r"(?<!\{),", match[2]) else match[1] + re.sub(r"\D", "", match[2])


def _repeating(match: re.Match[str]) -> str:
    """0.1\\overline{6} as the fraction that it is."""
    whole, fixed, again = match.groups()
    under = (10 ** len(again) - 1) * 10 ** len(fixed)
    return f"\\frac{{{int(whole + fixed + again) - int(whole + fixed)}}}{{{under}}}"


def _same(name: str) -> str:
    other = SAME.get(name, name)
    return f"\\{other}" if other.isalpha() else other


def _unwrapped(text: str) -> str:
    for left, right in WRAPPERS:
        inner = text[len(left) : -len(right)]
        if text.startswith(left) and text.endswith(right) and len(text) > len(left) + len(right) and left not in inner:
            return inner.strip()
    match = re.match(r"\\(?:boxed|fbox)\s*\{", text)
    if match and text.endswith("}"):
        return text[match.end() : -1].strip()
    return text
