"""The coordinates of a vector: a column, a row, or a sum of unit vectors. A tuple is read in `relations.py`."""

from __future__ import annotations

import re

from cord_distill.grading.latex import split_top, squeezed

_MATRIX = re.compile(r"\\begin\{pmatrix\}(.*)\\end\{pmatrix\}", re.DOTALL)
_UNIT = re.compile(r"(.*)\\hat\{([ijk])\}\s*", re.DOTALL)


def column(core: str) -> list[str] | None:
    """The entries of a matrix of one column or one row, None for every other matrix and for what is none."""
    found = _MATRIX.fullmatch(core.strip())
    if found is None or r"\begin" in found[1]:
        return None
    rows = [row.split("&") for row in found[1].split(r"\\") if row.strip()]
    if len(rows) > 1 and all(len(row) == 1 for row in rows):
        return [row[0].strip() for row in rows]
    return [entry.strip() for entry in rows[0]] if len(rows) == 1 and len(rows[0]) > 1 else None


def of_unit_vectors(core: str, length: int) -> list[str] | None:
    """(2,-1) of 2\\hat{i} - \\hat{j}, with zeros up to `length`; None where a term has no unit vector.

    Letters without a hat count where i and j both stand there.
    """
    if r"\hat{" not in core:
        if not re.fullmatch(r"[^A-Za-z]*i[^A-Za-z]*j(?:[^A-Za-z]*k)?\s*", re.sub(r"\\(?:frac|sqrt|pi)", "", core)):
            return None
        core = re.sub(r"(?<![A-Za-z])([ijk])(?![A-Za-z])", r"\\hat{\1}", core)
    found: dict[str, str] = {}
    for sign, term in _terms(squeezed(core)):
        unit = _UNIT.fullmatch(term)
        if unit is None or unit[2] in found:
            return None
        found[unit[2]] = sign + (unit[1].rstrip("*") or "1")
    wanted = "ijk"[:length]
    return [found.get(unit, "0") for unit in wanted] if set(found) <= set(wanted) else None


def _terms(core: str) -> list[tuple[str, str]]:
    signed = [piece for part in split_top(core, "+") for piece in _minus(part)]
    return [(sign, term) for sign, term in signed if term]


def _minus(part: str) -> list[tuple[str, str]]:
    first, *rest = split_top(part, "-")
    return [("", first), *(("-", piece) for piece in rest)]
