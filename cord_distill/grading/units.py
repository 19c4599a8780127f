"""The units that answers carry, with one name for all spellings of each (`latex.py` reads an answer with them)."""

from __future__ import annotations

import re

_UNITS = {
    "second": "s sec secs seconds",
    "minute": "min mins minutes",
    "hour": "h hr hrs hours",
    "day": "d days",
    "week": "wk wks weeks",
    "year": "yr yrs years",
    "meter": "m meters metre metres",
    "centimeter": "cm cms centimeters centimetre centimetres",
    "millimeter": "mm millimeters millimetre millimetres",
    "kilometer": "km kms kilometers kilometre kilometres",
    "inch": "in inches",
    "foot": "ft feet",
    "yard": "yd yds yards",
    "mile": "mi miles",
    "gram": "g grams",
    "kilogram": "kg kgs kilograms",
    "milligram": "mg milligrams",
    "pound": "lb lbs pounds",
    "ounce": "oz ounces",
    "liter": "l L liters litre litres",
    "milliliter": "ml mL milliliters millilitre millilitres",
    "gallon": "gal gallons",
    "kelvin": "K kelvins",
    "watt": "W watts",
    "volt": "V volts",
    "newton": "N newtons",
    "joule": "J joules",
    "degree": "deg degs degrees",
}
SPELLINGS = {spelling: name for name, spellings in _UNITS.items() for spelling in [name, *spellings.split()]}
# A single letter in \text{} behind a number is one of these, never a variable; d is left out, a differential.
LETTERS = frozenset(spelling for spelling in SPELLINGS if len(spelling) == 1) - {"d"}
# Behind a number and at the very end, these need no \text{}. One letter does: 24 m may be 24 times m.
SHORT = "|".join(sorted((spelling for spelling in SPELLINGS if 1 < len(spelling) < 4), key=len, reverse=True))


def unit_name(text: str) -> str:
    """One name for all spellings of a unit: `hours`, `hr` and `h` are `hour`; other words lose case and plural."""
    words = re.findall(r"[A-Za-z]+", text)
    return "".join(
        SPELLINGS.get(word) or SPELLINGS.get(word.lower()) or word.lower().removesuffix("s") for word in words
    )
