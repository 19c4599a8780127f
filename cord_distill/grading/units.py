"""The units that answers carry, with one name for all spellings of each (`latex.py` reads an answer with them)."""

from __future__ import annotations

import re

_PREFIXES = {
    "G": "giga", "M": "mega", "k": "kilo", "h": "hecto", "d": "deci", "c": "centi", "m": "milli",
    "u": "micro", "μ": "micro", "µ": "micro", "n": "nano", "p": "pico", "f": "femto",
}  # fmt: skip
# Symbols and names that take a prefix.
_METRIC = {
    "m": "meter", "g": "gram", "s": "second", "A": "ampere", "K": "kelvin", "mol": "mole", "Hz": "hertz",
    "N": "newton", "Pa": "pascal", "J": "joule", "W": "watt", "C": "coulomb", "V": "volt", "F": "farad",
    "Ω": "ohm", "T": "tesla", "H": "henry", "Wb": "weber", "L": "liter", "l": "liter", "eV": "electronvolt",
    "cal": "calorie", "bar": "bar", "rad": "radian", "M": "molar", "B": "byte",
}  # fmt: skip
_OTHER = {
    "second": "sec secs",
    "minute": "min mins",
    "hour": "h hr hrs",
    "day": "d",
    "week": "wk wks",
    "year": "yr yrs",
    "meter": "metre metres",
    "centimeter": "cms centimetre centimetres",
    "millimeter": "mms millimetre millimetres",
    "kilometer": "kms kilometre kilometres",
    "inch": "in inches",
    "foot": "ft feet",
    "yard": "yd yds",
    "mile": "mi",
    "kilogram": "kgs",
    "pound": "lb lbs",
    "ounce": "oz",
    "liter": "litre litres",
    "milliliter": "mls millilitre millilitres",
    "gallon": "gal",
    "atmosphere": "atm",
    "degree": "deg degs",
    "kelvin": "kelvins",
    "celsius": "degC",
    "fahrenheit": "degF",
    "henry": "henries",
    "hertz": "hertz",
    "kilowatthour": "kWh",
    "horsepower": "hp",
    "rpm": "",
    "psi": "",
    "torr": "Torr",
    "mmHg": "",
    "dalton": "amu Da",
    "ppm": "",
    "light-year": "ly",
    "revolution": "rev revs",
    "cup": "",
    "man": "men",
    "piece": "pcs",
    "point": "pts",
    "unit": "",
    "dollar": "usd",
    "cent": "",
}
_SPELLED_OUT = {"mph": "mile/hour", "kph": "kilometer/hour", "kmh": "kilometer/hour", "kmph": "kilometer/hour"}


def _spellings() -> dict[str, str]:
    found: dict[str, str] = {}
    for symbol, name in _METRIC.items():
        for prefix, long in _PREFIXES.items():
            found |= {prefix + symbol: long + name, long + name: long + name, long + name + "s": long + name}
    for symbol, name in _METRIC.items():
        found |= {symbol: name, name: name, name + "s": name}
    for name, spellings in _OTHER.items():
        found |= {spelling: name for spelling in [name, name + "s", *spellings.split()]}
    return found


SPELLINGS = _spellings()
# In \text{} behind a number a single letter is one of these; d is left out, a differential, and so is B.
LETTERS = frozenset(s for s in SPELLINGS if len(s) == 1) - {"d", "B"}
_TEMPERATURE = re.compile(r"deg(?:ree)?s?\s*(C|F|[Cc]elsius|[Cc]entigrade|[Ff]ahrenheit)(?![A-Za-z])")
_TOKEN = re.compile(r"[A-Za-zΩμµ]+|[-+]?\d+|[/()^{}]")
_POWER_BEHIND = {"squared": 2, "cubed": 3}
_POWER_BEFORE = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_WORD = r"[A-Za-zΩμµ]+"
_FACTOR = rf"{_WORD}(?:\s?\^\s?\{{?-?\d\}}?)?"
EXPRESSION = re.compile(rf"{_FACTOR}(?:\s*(?:[*/(]|per(?![A-Za-z])|\s)\s*\(?{_FACTOR}\)?)*\)?")


def known(text: str) -> bool:
    """Whether every word of a unit that stands in no \\text{} is one that is known: `m/s^2`, `km per hour`, `sq ft`."""
    words = re.findall(_WORD, text)
    plain = {"per", *_POWER_BEFORE, *_POWER_BEHIND}
    return EXPRESSION.fullmatch(text.strip()) is not None and all(
        word in SPELLINGS or word in _SPELLED_OUT or word in plain for word in words
    )


def unit_name(text: str) -> str:
    """One name for all spellings of a unit: `km h^{-1}`, `km/h` and `kilometers per hour` are `hour^-1*kilometer`.

    Words that are no unit lose case and plural. Behind a / or `per` everything is divided by.
    """
    text = _TEMPERATURE.sub(lambda m: f"deg{m[1][0].upper()}", text)
    text = re.sub(r"\\mu\s*", "μ", text)
    text = re.sub(r"\\Omega(?![A-Za-z])|(?<![A-Za-z])[Oo]hms?(?![A-Za-z])", "Ω", text)
    text = text.replace(".", "").replace("Ω", "Ω").replace("**", "^")
    powers: dict[str, int] = {}
    sign, before, last = 1, 1, ""
    tokens = _TOKEN.findall(text)
    for i, token in enumerate(tokens):
        if token == "/" or token == "per":
            sign = -1
        elif re.fullmatch(r"[-+]?\d+", token):
            if last and "^" in tokens[max(0, i - 2) : i]:
                powers[last] += (int(token) - 1) * (1 if powers[last] > 0 else -1)
        elif token in _POWER_BEHIND and last:
            powers[last] *= _POWER_BEHIND[token]
        elif token in _POWER_BEFORE:
            before = _POWER_BEFORE[token]
        elif token[0].isalpha():
            for j, part in enumerate(re.sub("molar$", "mole/liter", _name(token)).split("/")):
                last = part
                powers[last] = powers.get(last, 0) + (sign if j == 0 else -sign) * before
            before = 1
    return "*".join(f"{name}^{power}" if power != 1 else name for name, power in sorted(powers.items()) if power)


def _name(word: str) -> str:
    lower = word.lower()
    return (
        SPELLINGS.get(word)
        or _SPELLED_OUT.get(lower)
        or (SPELLINGS.get(lower) if len(word) > 2 else None)
        or lower.removesuffix("s")
        or lower
    )
