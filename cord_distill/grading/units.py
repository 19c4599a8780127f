"""The units that answers carry, with one name for all spellings of each (`latex.py` reads an answer with them)."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

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
    "second": "sec secs", "minute": "min mins", "hour": "h hr hrs", "day": "d", "week": "wk wks", "month": "",
    "year": "yr yrs", "meter": "metre metres", "centimeter": "cms centimetre centimetres",
    "millimeter": "mms millimetre millimetres", "kilometer": "kms kilometre kilometres", "inch": "in inches",
    "foot": "ft feet", "yard": "yd yds", "mile": "mi", "kilogram": "kgs", "pound": "lb lbs", "ounce": "oz",
    "liter": "litre litres", "milliliter": "mls millilitre millilitres", "gallon": "gal", "atmosphere": "atm",
    "degree": "deg degs", "kelvin": "kelvins", "celsius": "degC", "fahrenheit": "degF", "henry": "henries",
    "hertz": "hertz", "kilowatthour": "kWh", "horsepower": "hp", "rpm": "", "psi": "", "torr": "Torr", "mmHg": "",
    "dalton": "amu Da", "ppm": "", "light-year": "ly", "revolution": "rev revs", "cup": "", "man": "men",
    "piece": "pcs", "point": "pts", "unit": "", "dollar": "usd", "cent": "",
}  # fmt: skip
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
_FACTORS = {
    "giga": 9, "mega": 6, "kilo": 3, "hecto": 2, "deci": -1, "centi": -2, "milli": -3, "micro": -6, "nano": -9,
    "pico": -12, "femto": -15,
}  # fmt: skip
# Exact by definition, in base units; what is not here is converted into nothing else.
_EXACT = {
    "gram": "1/1000 kg", "newton": "1 kg m s^-2", "pascal": "1 kg m^-1 s^-2", "joule": "1 kg m^2 s^-2",
    "watt": "1 kg m^2 s^-3", "hertz": "1 s^-1", "coulomb": "1 A s", "volt": "1 kg m^2 s^-3 A^-1",
    "ohm": "1 kg m^2 s^-3 A^-2", "farad": "1 kg^-1 m^-2 s^4 A^2", "tesla": "1 kg s^-2 A^-1",
    "weber": "1 kg m^2 s^-2 A^-1", "henry": "1 kg m^2 s^-2 A^-2", "meter": "1 m", "second": "1 s", "ampere": "1 A",
    "mole": "1 mol", "kelvin": "1 K", "liter": "1/1000 m^3", "bar": "100000 kg m^-1 s^-2", "byte": "1 byte",
    "calorie": "1 cal", "minute": "60 s", "hour": "3600 s", "day": "86400 s", "week": "604800 s",
    "month": "1 month", "year": "12 month", "inch": "127/5000 m", "foot": "381/1250 m", "yard": "1143/1250 m",
    "mile": "201168/125 m", "pound": "45359237/100000000 kg", "ounce": "45359237/1600000000 kg",
    "atmosphere": "101325 kg m^-1 s^-2", "kilowatthour": "3600000 kg m^2 s^-2",
    "electronvolt": "1602176634/10000000000000000000000000000 kg m^2 s^-2", "dollar": "1 dollar",
    "cent": "1/100 dollar",
}  # fmt: skip
# In \text{} behind a number a single letter is one of these; d is left out, a differential, and so is B.
LETTERS = frozenset(s for s in SPELLINGS if len(s) == 1) - {"d", "B"}
_TEMPERATURE = re.compile(r"deg(?:ree)?s?\s*(C|F|[Cc]elsius|[Cc]entigrade|[Ff]ahrenheit)(?![A-Za-z])")
_TOKEN = re.compile(r"[A-Za-zΩμµ]+|[-+]?\d+|[/()^{}]")
# ms^{-2} is m s^{-2}: nobody divides by milliseconds so.
_PER_SECOND = re.compile(r"(?<![A-Za-z])ms(?=\s*\^\s?\{?-)")
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
    text = _PER_SECOND.sub("m s", re.sub(r"\\mu\s*", "μ", text))
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


def conversion(one: str, other: str) -> Fraction | None:
    """How many of the unit `other` make one of `one` (names of `unit_name`); None where no exact number does."""
    a, b = _in_base(one), _in_base(other)
    return a[0] / b[0] if a and b and a[1] == b[1] else None


@lru_cache(maxsize=1024)
def _in_base(unit: str) -> tuple[Fraction, dict[str, int]] | None:
    """(factor, powers of the base units); None for an unknown unit."""
    factor, powers = Fraction(1), dict[str, int]()
    for part in unit.split("*"):
        name, _, power = part.partition("^")
        prefix = next((p for p in _FACTORS if name.startswith(p) and name.removeprefix(p) in _EXACT), "")
        exact = _EXACT.get(name.removeprefix(prefix)) if prefix or name in _EXACT else None
        if exact is None:
            return None
        number, *bases = exact.split()
        times = int(power or 1)
        factor *= (Fraction(number) * Fraction(10) ** _FACTORS.get(prefix, 0)) ** times
        for base in bases:
            symbol, _, of_base = base.partition("^")
            powers[symbol] = powers.get(symbol, 0) + int(of_base or 1) * times
    return factor, {base: power for base, power in powers.items() if power}


def _name(word: str) -> str:
    lower = word.lower()
    return (
        SPELLINGS.get(word)
        or _SPELLED_OUT.get(lower)
        or (SPELLINGS.get(lower) if len(word) > 2 else None)
        or lower.removesuffix("s")
        or lower
    )
