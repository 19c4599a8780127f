"""One spelling for one formula: LaTeX and plain notation to a common string, and its pieces. Standard library.

Nothing here decides that two answers are equal beyond spelling; `compare.py` does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from cord_distill.grading.conditions import without_condition
from cord_distill.grading.number_words import in_digits, in_latex
from cord_distill.grading.units import EXPRESSION, LETTERS, SPELLINGS, conversion, known, unit_name

UNICODE = str.maketrans(
    {
        "−": "-", "–": "-", "—": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "π": r"\pi ",
        "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "±": r"\pm ",
        "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "°": r"^\circ ", "√": r"\sqrt ", "²": "^2", "³": "^3",
        "½": r"\frac{1}{2}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}",
        "⅕": r"\frac{1}{5}", "⅖": r"\frac{2}{5}", "⅗": r"\frac{3}{5}", "⅘": r"\frac{4}{5}", "⅙": r"\frac{1}{6}",
        "⅚": r"\frac{5}{6}", "⅛": r"\frac{1}{8}", "⅜": r"\frac{3}{8}", "⅝": r"\frac{5}{8}", "⅞": r"\frac{7}{8}",
        "⟨": r"\langle ", "⟩": r"\rangle ", "∖": r"\setminus ", "→": r"\to ",
        "ℝ": r"\mathbb{R}", "∨": r"\lor ", "≡": r"\equiv ", "⇌": r"\rightleftharpoons ", "ε": r"\varepsilon ",
        "λ": r"\lambda ", "μ": r"\mu ", "µ": r"\mu ", "σ": r"\sigma ", "ω": r"\omega ", "ρ": r"\rho ",
        "γ": r"\gamma ", "δ": r"\delta ", "Δ": r"\Delta ", "Ω": r"\Omega ", "（": "(", "）": ")", "，": ",",
        "：": ":", "；": ";", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "θ": r"\theta ", "α": r"\alpha ",
        "β": r"\beta ", "φ": r"\varphi ", "∅": r"\emptyset ",
    }
)  # fmt: skip
RAISED, LOWERED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+"), str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
# Not behind another backslash: `\\\\ ` ends a row of a matrix.
SPACING = re.compile(
    r"(?<!\\)\\[,;:! ]|\\(?:quad|qquad|displaystyle|[lL]arge|[hH]uge|limits|nolimits|hspace\*?\{[^}]*\})(?![A-Za-z])|~"
)
SIZED = re.compile(r"\\(?:left|right|bigl?|bigr|Bigl?|Bigr|middle)(?![A-Za-z])\s*\.?")
SAME = {
    "nicefrac": "frac", "sfrac": "frac",
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "leq": "le", "geq": "ge", "leqslant": "le", "geqslant": "ge",
    "neq": "ne", "lt": "<", "gt": ">", "cdot": "*", "times": "*", "ast": "*", "div": "/", "lbrace": r"\{",
    "rbrace": r"\}", "lbrack": "[", "rbrack": "]", "colon": ":", "simeq": "approx", "phi": "varphi",
    "dbinom": "binom", "tbinom": "binom", "mid": "|", "vert": "|", "degree": r"^\circ",
    "varnothing": "emptyset",
    "epsilon": "varepsilon", "operatorname*": "operatorname", "dots": "ldots", "cdots": "ldots", "rightarrow": "to",
    "longrightarrow": "to", "vee": "lor", "smallsetminus": "setminus", "backslash": "setminus", "thickapprox": "approx",
}  # fmt: skip
COMMAND = re.compile(r"\\([A-Za-z]+)")
TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|normal|sf|tt)?|math(?:rm|bf|it|sf)|mbox|hbox|operatorname|ce)\s*\{((?:[^{}]|\{[^{}]*\})*)\}"
)
OPERATOR = re.compile(
    r"\\(?:operatorname|mathrm|text)\s*\{\s*(sin|cos|tan|cot|csc|arcsin|arccos|arctan|sinh|cosh|tanh|ln|log|exp)\s*\}"
)
SIUNITX = re.compile(r"\\(?:SI|qty)\s*\{([^{}]*)\}\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
UNIT_VECTOR = re.compile(
    r"\\(?:hat|vec|mathbf|boldsymbol|bm)\s*\{?\s*(?:\\(?:mathbf|boldsymbol|bm)\s*\{?)?\s*\\?([ijk])(?:math)?(?![A-Za-z])\s*\}{0,2}"
)
# Between vectors \\times is another product than \\cdot.
CROSS = re.compile(r"\}\s*\\times(?=\s*\\(?:vec|mathbf|boldsymbol|bm|hat)(?![A-Za-z]))")
NUMBER_END = re.compile(r"(?:\d|10\^\{-?\d+\})\s*$")
LONE_LETTER = re.compile(r"‹\s*([A-Za-z])\s*›")
# Groups of \text{} and what joins them behind a number: ‹ m› / ‹s›^2, ‹J›*‹mol›^{-1}.
TEXT_UNIT = re.compile(
    r"(?:\s?[*/(]?\s?(?:\\mu\s?|\\Omega\s?)?‹[^‹›]*›\s?\)?(?:\^\{?-?\d\}?)?)+(?:\s?/\s?[A-Za-z]+(?:\^\d)?)?$"
)
JOIN_WORDS = re.compile(r"^\s*,?\s*(and|or)\s*,?\s*$")
THOUSANDS = re.compile(r"(?<![\d.,(\[{])(\d{1,3})((?:(?:,|\{,\}| )\d{3})+)(?!\d)(?!,)")
# What str(float) writes, alone or in front of a unit: 1e-05, 6.02e23.
POWER_OF_TEN = re.compile(r"^\s*([+-]?\d+(?:\.\d+)?)[eE]([+-]?\d{1,3})(?=\s*$|\s*‹|\s[A-Za-zμΩ])")
REALS = re.compile(
    r"^‹?(?:the set of )?(?:all )?real numbers(?: except(?: for)? ?›?\s*(?:[a-z]\s*=\s*)?([^‹›]+?))?›?$|^‹?all reals›?$"
)
DETERMINANT = re.compile(r"\|\s*\\begin\{pmatrix\}(.*?)\\end\{pmatrix\}\s*\|", re.DOTALL)
ROWS = re.compile(r"^\[\s*(\[[^\[\]]+\](?:\s*,\s*\[[^\[\]]+\])+)\s*\]$")
TRANSPOSED = re.compile(r"^[\[(]([^\[\]()]*,[^\[\]()]*)[\])]\s*\^\{?\s*(?:T|\\top|\\intercal|‹T›)\s*\}?$")
CLOCK = re.compile(r"^(\d{1,2})(?::(\d\d))?\s*‹?\s*([ap])\.?\s*m\.?\s*›?$", re.IGNORECASE)
NOON = re.compile(r"^(?:12(?::00)?\s*)?‹?\s*(noon|midnight)\s*›?$", re.IGNORECASE)
MONTHS = "January February March April May June July August September October November December".split()
MONTH = "|".join(MONTHS)
DATE = re.compile(
    rf"^(?:({MONTH}) (\d{{1,2}})(?:[a-z]{{2}})?,? (\d{{4}})|(\d{{1,2}})(?:[a-z]{{2}})? ({MONTH}),? (\d{{4}})"
    r"|(\d{4})-(\d\d)-(\d\d))\.?$"
)
MODULE = re.compile(r"(?<![A-Za-z\\])(?:np|numpy|math|sympy|sp)\.(?=[a-z]{2})")
UNDERLINED = re.compile(r"\\underline\{([^{}]*)\}")
# Three or more members in square brackets are no interval.
LIST = re.compile(r"^\[([^\[\]]*(?:,[^\[\]]*){2,})\]$")
ALIGNED = re.compile(
    r"\\begin\{(aligned|align\*?|gathered|gather\*?|split|eqnarray\*?|cases)\}(.*?)\\end\{\1\}", re.DOTALL
)
CASE = re.compile(r"[^=&,<>]+=[^=&,<>]+[,.;]?\s*")
RELATION = re.compile(r"\s*(?:[=<>]|\\(?:le|ge|leq|geq|approx|ne|neq)(?![A-Za-z]))")
REPEATING = re.compile(r"(\d+)\.(\d*)(?:\\(?:overline|bar|dot)\s*\{?(\d+)\}?|\((\d+)\))(?!\d)")
# 0.333...: at least three times the same digit, or twice the same group of three or more.
DOTTED = re.compile(r"(?<![\d.])(\d+)\.(\d*?)(?:(\d)\3\3+|(\d{2,})\4+)\s*(?:\.\.\.|\\ldots(?![A-Za-z]))")
WHOLE_TEXT = re.compile(r"^‹\s*(-?\d+(?:\.\d+)?(?:\s[A-Za-z ]+)?)›$")
NAMED = re.compile(r"^[A-Za-z](?:_\w+|_\{\w+\})?=")
FRACTION = re.compile(r"([+-]?)(?:\\frac\{(\d+)\}\{(\d+)\}|(\d+(?:\.\d+)?)(?:/(\d+))?)")
MATRIX = re.compile(r"\\begin\{array\}\{[^}]*\}")
ESCAPED_TWICE = re.compile(
    r"\\\\(?=(?:frac|left|right|boxed|text|sqrt|le|ge|ne|pi|in|infty|cup|cdot|times|pm)(?![a-z]))"
)
# 72 inches tall, 5 years old: what is measured, behind a number and its unit.
MEASURED = re.compile(
    r"(?<=[A-Za-z])\s+(?:tall|long|wide|high|deep|thick|old|away|apart|altogether"
    r"|in (?:total|all|length|width|height|area))\s*(?=›?$)"
)
# Words behind a number that name what is counted: 12 ways.
COUNTED = re.compile(r"(?P<core>.*[\d})\]])(?P<unit>(?:\s[A-Za-z]{4,}|\s?(?:cm|mm|km|kg|mph|min)\b)[A-Za-z ./^\d]*)")
PLAIN_UNIT = re.compile(
    rf"(?P<core>.*?[\d}})\]]|.*?\\pi)(?P<gap>\s*)(?P<unit>(?:\\mu\s?|[GMkmnp]?\\Omega)?(?:{EXPRESSION.pattern})?)\.?"
)
COMPOUND = re.compile(r"(?:\d+(?:\.\d+)?\s?[A-Za-z]+(?:,?\s(?:and\s)?|(?=\d)|$)){2,}")
AND = re.compile(r"\band\b")
COMPOUND_CORE = re.compile(r"‹\d.*›")
LONGEST_QUANTITY, LONGEST_FORMULA = 60, 2000
MONEY = re.compile(r"^[\s{(]*-?\s*(\\\$|\$(?!.*\$)|€|£|¥)\s*-?\s*[\d.]")
CURRENCY = {"$": "dollar", "\\$": "dollar", "€": "euro", "£": "sterling", "¥": "yen"}
TEMPERATURE = re.compile(r"\^\{?\\circ\}?\s*‹?\s*([CFK])\s*›?$")
MANY = {"dozen": 0, "hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
MANY_WORD = re.compile(rf"(?<=\d)\s*(?:‹\s*({'|'.join(MANY)})s?(?![a-z])([^‹›]*)›|({'|'.join(MANY)})s?(?![A-Za-z]))")
BASES = {
    name: str(number)
    for number, name in enumerate("two three four five six seven eight nine ten eleven twelve".split(), start=2)
} | {"sixteen": "16"}
BASE = re.compile(
    r"(?<=[\dA-F)])\s*(?:_\s*\{?\s*\(?|[‹(]*\s*(?=base))\s*‹?\s*(?:base\s*)?›?\s*([a-z]+|\d+)\s*[›)]*\s*\}?"
)
PLAIN_FUNCTION = re.compile(r"(?<![A-Za-z\\])(arcsin|arccos|arctan|sin|cos|tan|ln|log)(?=[\s(\d^]|\\)")
# 1 3/4 behind nothing that it could be a factor of.
MIXED = re.compile(r"(?<![\w.}^_/)\]])(\d+)\s+(\d+)\s*/\s*(\d+)(?![\w/.^])")
LATEX_NAME = re.compile(r"\\[A-Za-z]+")
PERCENT = re.compile(r"(?:\\?%|(?<![A-Za-z])(?:percent(?:age)?|pct))\s*$")
# 468 \\pmod{1000}, 468 (mod 1000).
RESIDUE = re.compile(r"\s*\(?\s*(?:\\(?:p|b)?mod|‹?\(?\s*mod\s*›?)\s*\{?(\d+)\}?\s*›?\s*\)?$")
# 30^\\circ 15' 20'', and 15' alone.
MINUTES = re.compile(r"(?:(\d+)\^\{?\\circ\}?)?\s*(\d+)\s*(?:'|\^\{?\\prime\}?)(?:\s*(\d+)\s*(?:''|\"))?")
DEGREES = re.compile(r"(\d+(?:\.\d+)?)\s*\^\{?\\circ\}?")
FUNCTION = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")


@dataclass(frozen=True, slots=True)
class Written:
    """An answer as written: `core` in the common spelling, the unit or words behind it, whether a percentage.

    condition: what the letters in it run over, where it says so (`for all integers k`). bound: that letter.
    """

    core: str
    unit: str
    percent: bool
    condition: str = ""
    bound: str = ""


def written(text: str) -> Written:
    """`text` (a formula, with or without $) in the common spelling, its unit and its percent sign set apart."""
    core, condition, bound = without_condition(MEASURED.sub("", spelled(text)))
    percent = bool(PERCENT.search(core))
    if percent:
        core = PERCENT.sub("", core).strip()
    if (residue := RESIDUE.search(core)) and residue.start():
        return Written(_residue(core[: residue.start()].strip(), residue[1]), f"mod {residue[1]}", percent, condition)
    if minutes := MINUTES.fullmatch(core):
        whole, minute, second = (value or "0" for value in minutes.groups())
        return Written(
            f"\\frac{{3600*{whole}+60*{minute}+{second}}}{{3600}}", "deg" if minutes[1] else "arcmin", percent
        )
    if clock := CLOCK.match(core):
        return Written(f"{int(clock[1])}:{clock[2] or '00'}", f"{clock[3].lower()}m", percent, condition)
    if noon := NOON.match(core):
        return Written("12:00", "pm" if noon[1].lower() == "noon" else "am", percent, condition)
    if compound := _compound(core):
        return Written(*compound, percent, condition)
    core, unit = _without_unit(core)
    if DEGREES.search(core) and (FUNCTION.search(core) or len(DEGREES.findall(core)) > 1):
        core = DEGREES.sub(lambda m: f"(\\frac{{{m[1]}\\pi}}{{180}})", core)
    elif core.endswith((r"^\circ", r"^{\circ}")):
        unit, core = "deg", re.sub(r"\^\{?\\circ\}?$", "", core).strip()
    if unit in ("percent", "pct", "percentage"):
        unit, percent = "", True
    unit = unit or currency(text)
    whole = re.fullmatch(r"‹([^‹›]*)›", core)
    core = whole[1] if whole else re.sub(r"‹([^‹›]*)›", _inner_text, core)
    core = re.sub(r"\s+", " ", core).strip()
    return Written(core, "deg" if unit == "degree" else unit, percent, condition, bound)


def _residue(number: str, modulus: str) -> str:
    """12 (mod 5) as 2: it is not the number 12."""
    return str(int(number) % int(modulus)) if number.lstrip("-").isdigit() and int(modulus) else number


def _without_unit(core: str) -> tuple[str, str]:
    """What stands in front of the unit, and the unit's one name ("" where there is none)."""
    if temperature := TEMPERATURE.search(core):
        return core[: temperature.start()].strip(), unit_name(f"deg{temperature[1]}")
    group = TEXT_UNIT.search(core)
    if group:
        words = re.findall(r"‹([^‹›]*)›", group[0])
        before = core[: group.start()]
        counts = re.search(r"\d", before) or (before.strip() and all(known(word) for word in words))
        if (
            counts
            and not any(JOIN_WORDS.match(word) for word in words)
            and not before.rstrip().endswith(("_", "{", "^"))
        ):
            name = unit_name(re.sub("[‹›]", " ", group[0]))
            # The same unit behind each member of \\sqrt{2} cm \\approx 1.41 cm.
            before = re.sub(
                r"\s*‹([^‹›]*)›(?=\s*(?:=|\\approx))", lambda m: "" if unit_name(m[1]) == name else m[0], before
            )
            return before.strip(), name
        return core, ""
    match = _plain_unit(core) if "‹" not in core else None
    return (match["core"].strip(), unit_name(match["unit"])) if match else (core, "")


def _plain_unit(core: str) -> re.Match[str] | None:
    """A number and a unit that stands in no \\text{}; `3 apples and 2 pears` are two answers, not one with a unit.

    A unit that begins with one letter needs the blank in front of it: 24m is a product.
    """
    match = PLAIN_UNIT.fullmatch(core)
    if match and match["unit"] and known(re.sub(r"\\mu\s?|\\Omega", "m", match["unit"], count=1)):
        number = LATEX_NAME.sub("", match["core"].rpartition("=")[2])
        lone = re.match(r"[A-Za-z](?![A-Za-z])", match["unit"])
        if not re.search("[A-Za-z]", number) and (match["gap"] or not lone) and match["unit"] not in ("d", "B"):
            return match
    match = COUNTED.fullmatch(core)
    return None if match is None or re.search(r"\b(and|or)\b", match["unit"]) else match


def _compound(core: str) -> tuple[str, str] | None:
    """3 h 20 min as 200 of its last unit, or where its units are of two kinds as a text; None for anything else."""
    plain = re.sub(r"\s+", " ", re.sub("[‹›]", " ", core)).strip()
    if not COMPOUND.fullmatch(plain):
        return None
    parts = [(n, SPELLINGS.get(u)) for n, u in re.findall(r"(\d+(?:\.\d+)?)\s?([A-Za-z]+)", AND.sub("", plain))]
    if not all(unit for _, unit in parts):
        return None
    last = parts[-1][1] or ""
    factors = [conversion(unit or "", last) for _, unit in parts]
    known_factors = [factor for factor in factors if factor is not None]
    if len(known_factors) < len(parts):
        return f"‹{' '.join(f'{n} {unit}' for n, unit in parts)}›", ""
    total = sum((Fraction(n) * f for (n, _), f in zip(parts, known_factors, strict=True)), Fraction(0))
    return in_latex(total), last


def _letters(text: str) -> str:
    """Letters alone in \\text{} are a formula's, unless they are the unit of a number."""
    unit = TEXT_UNIT.search(text)
    cut = unit.start() if unit and NUMBER_END.search(text[: unit.start()]) else len(text)

    def letter(group: re.Match[str]) -> str:
        before = group.string[: group.start()].rstrip(" ~")
        is_unit = group[1] in LETTERS and before[-1:].isdigit() and not re.search(r"_\d+$", before)
        return group[0] if is_unit else group[1]

    tail = text[cut:]
    words = re.findall(r"‹\s*([^‹›]*?)\s*›", tail)
    keep = all(known(word) and word not in ("d", "B") for word in words)
    return LONE_LETTER.sub(letter, text[:cut]) + (tail if keep else LONE_LETTER.sub(r"\1", tail))


def _inner_text(group: re.Match[str]) -> str:
    """Text inside an answer: `and`, `or` keep their blanks, the units of 3 h 20 min get their one name."""
    if JOIN_WORDS.match(group[1]):
        return f" {group[1].strip()} "
    return f"‹{unit_name(group[1])}›" if group[1].strip() in SPELLINGS else group[0]


def spelled(text: str) -> str:
    """The common spelling; what stood in \\text{} and its kin is kept between ‹ and ›.

    More than LONGEST_FORMULA characters stay as they are: the patterns here may look at each place many times.
    """
    if len(text) > LONGEST_FORMULA:
        return text.strip()
    text = ESCAPED_TWICE.sub(r"\\", text) if r"\begin" not in text else text
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+", lambda m: f"^{{{m[0].translate(RAISED)}}}", text)
    text = re.sub("[₀₁₂₃₄₅₆₇₈₉]+", lambda m: f"_{{{m[0].translate(LOWERED)}}}", text)
    text = DATE.sub(_date, text.translate(UNICODE).strip())
    text = text if text.endswith("...") else text.rstrip(".。:").strip()
    # Half of a blank: `185\\ ` whose blank was cut off.
    text = text.removesuffix("\\").strip() if not text.endswith("\\\\") else text
    while (inner := _unwrapped(text)) != text:
        text = inner
    text = ALIGNED.sub(_aligned, MODULE.sub("", text))
    text = LIST.sub(r"(\1)", UNDERLINED.sub(r"\1", text))
    text = re.sub(r",\s*\\!\s*(?=\d{3})", ",", text.replace(r"\$", ""))
    text = SPACING.sub(" ", text)
    text = SIZED.sub("", text)
    text = re.sub(r"(?<!\\)\$", "", text)
    text = re.sub(r"[€£¥]|(?<![A-Za-z])Rs\.?\s*(?=\d)", "", text)
    text = MATRIX.sub(r"\\begin{array}", text)
    text = re.sub(r"\\(begin|end)\{(?:array|bmatrix|pmatrix|matrix)\}", r"\\\1{pmatrix}", text)
    text = DETERMINANT.sub(r"\\begin{vmatrix}\1\\end{vmatrix}", text)
    text = re.sub(r"[\[(]\s*(\\begin\{pmatrix\}.*?\\end\{pmatrix\})\s*[\])]", r"\1", text, flags=re.DOTALL)
    text = re.sub(r"\\\\\s*\\end", r"\\end", text)
    text = re.sub(r"\{\s*([^{}]+?)\s*\\choose\s*([^{}]+?)\s*\}", r"\\binom{\1}{\2}", text)
    if len(UNIT_VECTOR.findall(text)) > 1:
        text = UNIT_VECTOR.sub(lambda m: f"\\hat{{{m[1][:1]}}}", text)
    text = re.sub(r"\\num\s*\{([^{}]*)\}", r"\1", SIUNITX.sub(r"\1\\text{ \2}", text))
    text = OPERATOR.sub(r"\\\1 ", text)
    text = TEXT.sub(lambda m: f"‹{m[1].replace('~', ' ')}›", text)
    text = CROSS.sub(r"}\\cross", text)
    text = COMMAND.sub(lambda m: _same(m.group(1)), text)
    text = _letters(re.sub(r"\s+", " ", text).strip())
    text = MANY_WORD.sub(_many, _in_digits(WHOLE_TEXT.sub(r"\1", text)))
    text = re.sub(r"\\langle([^<>]*?,[^<>]*?)\\rangle", r"(\1)", text)
    text = re.sub(r"\\\{\s*\\\}", r"\\emptyset ", text)
    text = re.sub(r"(?<![A-Za-z\\])infinity(?![A-Za-z])", r"\\infty ", text)
    text = re.sub(r"(?<=\d)\s*[xX]\s*(?=10\s*\^)", "*", text)
    text = re.sub(r"(?<=[A-Za-z\d)\]}])\s*-+>\s*(?=[A-Za-z\d(\[])", r"\\to ", text)
    text = re.sub(r"(?<![A-Za-z\\])a(sin|cos|tan)(?=\s*\()", r"arc\1", text)
    text = PLAIN_FUNCTION.sub(r"\\\1", text)
    text = re.sub(r"(?<![A-Za-z])(?:Fraction|Rational)\(\s*(-?\d+)\s*,\s*(\d+)\s*\)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\(max|min)\s*\\\{([^{}]*)\\\}", r"\\\1(\2)", text)
    text = BASE.sub(_base, text)
    text = re.sub(r"\((\d+)\)_(?=\d)", r"\1_", text)
    text = re.sub(r"\^\(([^()]*)\)", r"^{\1}", text)
    text = re.sub(r"\^(-\d+|\d{2,})", r"^{\1}", text)
    text = re.sub(r"^(\d+)\s+to\s+(\d+)$", r"\1:\2", text)
    text = REALS.sub(lambda m: rf"\mathbb{{R}}\setminus\{{{m[1]}\}}" if m[1] else r"\mathbb{R}", text)
    text = _transposed(text)
    text = re.sub(r"(?<=\d)or(?=[A-Z])", " or ", text)
    text = MIXED.sub(_mixed, text)
    text = re.sub(r"!\s*=", r"\\ne ", text)
    text = re.sub(r">\s*=", r"\\ge ", re.sub(r"<\s*=", r"\\le ", text))
    text = re.sub(r"\\\\\s*\[\s*\d+(?:\.\d+)?\s*(?:pt|ex|em|mm)\s*\]", r"\\\\", text)
    text = POWER_OF_TEN.sub(lambda m: f"{m[1]}*10^{{{int(m[2])}}}", text)
    text = REPEATING.sub(_repeating, DOTTED.sub(_dotted, text))
    text = re.sub(r"\\frac\s*([0-9A-Za-z])\s*([0-9A-Za-z])", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac\s*([0-9A-Za-z])\s*\{", r"\\frac{\1}{", text)
    text = re.sub(r"(\\frac\s*\{[^{}]*\})\s*([0-9A-Za-z])", r"\1{\2}", text)
    text = re.sub(r"\\frac\s+\{", r"\\frac{", text)
    text = re.sub(r"\\sqrt\s*([0-9A-Za-z])", r"\\sqrt{\1}", text)
    text = re.sub(r"(?<![A-Za-z\\])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}", text)
    text = re.sub(r"(?<![A-Za-z\\])pi(?![A-Za-z])", r"\\pi", text)
    text = re.sub(r"\\(vec|hat|bar|overline|mathbb)\s+([A-Za-z])(?![A-Za-z])", r"\\\1{\2}", text)
    text = re.sub(r"\*\*", "^", text)
    text = THOUSANDS.sub(_thousands, text)
    text = re.sub(r"(?<![\d}])\.(?=\d)", "0.", text)
    text = re.sub(r"_\{(\w)\}", r"_\1", text)
    text = re.sub(r"\^\{(\w)\}", r"^\1", text)
    return re.sub(r"\s+", " ", text).strip().rstrip(",").strip()


def quantities(text: str) -> list[Written] | None:
    """The members of `12 ducks and 9 goats`: two or more numbers, each with its unit or none; None for all else."""
    joined = re.sub(r"‹([^‹›]*?)\s*\b(?:and|or)\s*›", r"‹\1›,", spelled(text))
    joined = re.sub(r"‹\s*›", "", re.sub(r"(?<![A-Za-z\\])(?:and)(?![A-Za-z])", ",", joined))
    parts = [part for part in split_top(joined, ",") if part]
    if len(parts) < 2 or len(parts) > 20 or "=" in joined:
        return None
    found = [written(part) for part in parts]
    return found if all(FRACTION.fullmatch(squeezed(one.core)) for one in found) else None


def is_quantity(text: str) -> bool:
    """Whether a short text is a number with its unit, or several such: `5 miles`, `1 million`, `3 h 20 min`."""
    if len(text) > LONGEST_QUANTITY or "\n" in text:
        return False
    core = written(text).core
    number = LATEX_NAME.sub("", core)
    plain = re.search(r"\d", number) and not any(char.isalpha() or char == "‹" for char in number)
    return bool(plain or (core.startswith("‹") and COMPOUND_CORE.fullmatch(core))) or quantities(text) is not None


def spelling(text: str) -> str:
    """What two answers have in common that are spelled alike, currency included."""
    return squeezed(spelled(text)) + currency(text)


def currency(text: str) -> str:
    money = MONEY.match(text.strip())
    return CURRENCY[money[1]] if money else ""


def in_radians(answer: Written) -> Written:
    """75 degrees as 75 pi / 180; other answers as they are."""
    if answer.unit == "radian":
        return Written(answer.core, "", answer.percent)
    return Written(f"\\frac{{({answer.core})\\pi}}{{180}}", "", answer.percent) if answer.unit == "deg" else answer


def squeezed(core: str) -> str:
    """Without blanks, for comparing spellings (a blank after a command name stands where it is needed)."""
    return re.sub(r"(?<!\d)\s+(?![A-Za-z])|(?<![A-Za-z])\s+(?!\d)", "", core)


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


def _transposed(text: str) -> str:
    """[[1,2],[3,4]] and (1,2)^T as matrices."""
    column = TRANSPOSED.match(text)
    if column:
        return r"\begin{pmatrix}" + _cells(column[1], r"\\") + r"\end{pmatrix}"
    rows = ROWS.match(text)
    if not rows:
        return text
    found = [_cells(row, "&") for row in re.findall(r"\[([^\[\]]+)\]", rows[1])]
    return r"\begin{pmatrix}" + r"\\".join(found) + r"\end{pmatrix}"


def _cells(row: str, between: str) -> str:
    return between.join(cell.strip() for cell in row.split(","))


def _in_digits(text: str) -> str:
    """A number in words in digits, in \\text{} or outside of it."""
    if not text.startswith("‹"):
        return in_digits(text)
    inner = in_digits(text[1:])
    return inner.replace("›", "", 1) if inner != text[1:] else text


def _many(match: re.Match[str]) -> str:
    """3 million as 3*10^6."""
    rest = (match[2] or "").strip()
    many = MANY[match[1] or match[3]]
    return (f"*10^{{{many}}}" if many else "*12") + (f"‹{rest}›" if rest else "")


def _base(match: re.Match[str]) -> str:
    """231_{\\text{five}} as 231_5."""
    base = BASES.get(match[1], match[1])
    return f"_{base}" if base.isdigit() else match[0]


def _mixed(match: re.Match[str]) -> str:
    """1 3/4 as the mixed number that it is; 4 10/3 is none."""
    whole, over, under = match.groups()
    return f"{whole}\\frac{{{over}}}{{{under}}}" if int(over) < int(under) else match[0]


def _repeating(match: re.Match[str]) -> str:
    """0.1\\overline{6} as the fraction that it is."""
    whole, fixed, again = match[1], match[2], match[3] or match[4]
    under = (10 ** len(again) - 1) * 10 ** len(fixed)
    return f"\\frac{{{int(whole + fixed + again) - int(whole + fixed)}}}{{{under}}}"


def _date(match: re.Match[str]) -> str:
    """July 4, 1776, 4 July 1776 and 1776-07-04 as one text; not as the difference of three numbers."""
    first, one, year, two, second, late, iso, month, day = match.groups()
    number = int(month or MONTHS.index(first or second) + 1)
    return f"\\text{{date {year or late or iso}{number:02}{int(one or two or day):02}}}"


def _aligned(match: re.Match[str]) -> str:
    """The rows of an aligned environment as a list; a row that begins with a relation goes on with the one above. Of
    `cases` only where each is an equation: x & x > 0 is a piece of a function."""
    if match[1] == "cases" and not all(CASE.fullmatch(row) for row in match[2].split(r"\\") if row.strip()):
        return match[0]
    joined = ""
    for row in re.split(r"\\\\(?:\[[^\]]*\])?", match[2].replace("&", " ")):
        row = row.strip().rstrip(".,;")
        joined += f" {row}" if RELATION.match(row) else f", {row}" if row and joined else row
    return joined


def _dotted(match: re.Match[str]) -> str:
    """0.1666... as 0.1\\overline{6}."""
    return f"{match[1]}.{match[2]}\\overline{{{match[3] or match[4]}}}"


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
