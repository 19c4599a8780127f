"""Answers made from known answers: mutations that are wrong, and renderings that are right. Seeded, no grading here."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

# One of every kind that golds have, for machines without the data sets.
OWN_GOLDS = r"""
    7 ~ -12 ~ 0.25 ~ 10080 ~ 1{,}234 ~ \frac{3}{8} ~ -\frac{22}{7} ~ 2\sqrt{3} ~ 3+2\sqrt{5} ~ \frac{5\pi}{12} ~ 17\pi
    e^{-3} ~ \ln 7 ~ 2^{31}-1 ~ \binom{8}{3} ~ 9! ~ 35\% ~ 45^\circ ~ 3.6\times 10^{5} ~ 6.1e-05 ~ 4\frac{1}{3}
    12\text{ cm} ~ 9.8\text{ m/s}^2 ~ 3\text{ hours} ~ 25^\circ C ~ \$18.50 ~ 7\text{ apples} ~ 2.5 kJ/mol ~ 40 km/h
    x^2+3x-4 ~ \frac{x+1}{x-2} ~ ab+5 ~ 2x^3y ~ \sqrt{a^2+b^2} ~ e^{2x}+1 ~ \sin(3x) ~ \frac{1}{s+4} ~ p-2q
    (2,-5) ~ (1,2,3) ~ \left(3,\frac{\pi}{2}\right) ~ (x,y)=(4,7) ~ x=2, y=9 ~ 3:5 ~ \langle 1,-4\rangle
    [2,7) ~ (-\infty,3] ~ (-\infty,-1)\cup(3,\infty) ~ -2<x\le 5 ~ x\ge 4 ~ \{x \mid x>6\} ~ (0,8)
    1, 4, 9 ~ \{2,5,11\} ~ 3\pm\sqrt{7} ~ -3\text{ or }8 ~ (1,2),(3,4)
    y=3x+2 ~ x^2+y^2=25 ~ 2x-3y+6=0 ~ f(x)=5x-1 ~ n=3k
    \begin{pmatrix}1&2\\3&4\end{pmatrix} ~ \begin{pmatrix}-7\\16\\5\end{pmatrix} ~ \begin{bmatrix}0&1\\6&0\end{bmatrix}
    1011_2 ~ 231_5 ~ 12\text{ red and }5\text{ blue} ~ 3\text{ h }20\text{ min} ~ 4\hat{i}-3\hat{j}
    (B) ~ \text{even} ~ \text{Monday} ~ \text{yes} ~ \text{no solution} ~ H_2O ~ 2H_2+O_2\to 2H_2O
"""
OTHER_UNITS = {"cm": "mm", "m/s": "km/h", "hours": "minutes", "km/h": "mph", "kJ/mol": "J/mol", "m": "km", "kg": "g"}
DIGIT = re.compile(r"\d")
MATRIX = re.compile(r"(\\begin\{[a-z]*matrix\})(.*)(\\end\{[a-z]*matrix\})", re.DOTALL)
WORD = re.compile(r"\\text\{[A-Za-z ]+\}|[A-Za-z]{4,}")
INTERVAL = re.compile(r"^(?:\\left)?([(\[])([^()\[\]]*,[^()\[\]]*?)(?:\\right)?([)\]])$")
PLAIN = re.compile(r"-?\d+(?:\.\d+)?|-?\\frac\{\d+\}\{\d+\}|\d*\\sqrt\{\d+\}")


def own_golds() -> list[str]:
    return [gold for line in OWN_GOLDS.strip().splitlines() for gold in map(str.strip, line.split("~"))]


def golds_of(file: Path, column: str = "answer") -> list[str]:
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return list(dict.fromkeys(str(row[column]) for row in rows))


def mutations(gold: str, stream: random.Random) -> Iterator[tuple[str, str]]:
    """(kind, another answer): each differs in one digit, sign, bracket, place, unit, entry, member or letter."""
    digits = [m.start() for m in DIGIT.finditer(gold)]
    for i in stream.sample(digits, min(3, len(digits))):
        other = stream.choice([c for c in "23456789" if c != gold[i]])
        yield "digit", gold[:i] + other + gold[i + 1 :]
    yield from _signs(gold, stream)
    yield from _brackets(gold)
    yield from _orders(gold)
    for unit, other in OTHER_UNITS.items():
        changed = re.sub(rf"(?<=\d)(\\text\{{ ?| ){re.escape(unit)}(?![a-z/])", lambda m, o=other: m[1] + o, gold)
        if changed != gold:
            yield "unit", changed
            break
    matrix = MATRIX.search(gold)
    if matrix and (numbers := list(re.finditer(r"\d+", matrix[2]))):
        one = stream.choice(numbers)
        entry = matrix.start(2) + one.start()
        yield "entry", gold[:entry] + str(int(one[0]) + 1) + gold[entry + len(one[0]) :]
    yield from _members(gold)
    for sign, other in (("<", r"\le "), (r"\le ", "<"), (r"\ge ", "<"), (">", "<")):
        if sign in gold and r"\frac" not in gold:
            yield "relation", gold.replace(sign, other, 1)
            break
    if not WORD.search(gold) and re.fullmatch(r"[^\\]*[xyabnpq][^\\]*", gold) and "=" not in gold:
        yield "letter", re.sub(r"[xyabnpq]", "z", gold)
    if re.fullmatch(r"\(?[A-D]\)?", gold):
        yield "choice", gold.translate(str.maketrans("ABCD", "BCDA"))
    if re.fullmatch(r"\\text\{[A-Za-z ]+\}", gold):
        yield "word", r"\text{another}"


def _signs(gold: str, stream: random.Random) -> Iterator[tuple[str, str]]:
    if gold.startswith("-") and "," not in gold and r"\text{ or" not in gold:
        yield "sign", gold[1:]
    elif PLAIN.fullmatch(gold) and gold.strip("0.") != "":
        yield "sign", "-" + gold
    inner = [
        m.start() for m in re.finditer(r"(?<=[\w})])[+-](?=[\w\\(])", gold) if "\\to" not in gold and "e-" not in gold
    ]
    if inner:
        i = stream.choice(inner)
        yield "sign", gold[:i] + ("-" if gold[i] == "+" else "+") + gold[i + 1 :]


def _brackets(gold: str) -> Iterator[tuple[str, str]]:
    found = INTERVAL.fullmatch(gold)
    if found and gold.count(",") == 1:
        yield "bracket", ("[" if found[1] == "(" else "(") + found[2] + found[3]
        yield "bracket", found[1] + found[2] + ("]" if found[3] == ")" else ")")


def _orders(gold: str) -> Iterator[tuple[str, str]]:
    found = re.fullmatch(r"\((-?[\d.]+),\s*(-?[\d.]+)((?:,.*)?)\)", gold)
    if found and found[1] != found[2]:
        yield "order", f"({found[2]},{found[1]}{found[3]})"
    ratio = re.fullmatch(r"(\d+):(\d+)", gold)
    if ratio and ratio[1] != ratio[2]:
        yield "order", f"{ratio[2]}:{ratio[1]}"
    matrix = MATRIX.search(gold)
    rows = matrix[2].split("\\\\") if matrix else []
    if matrix and len(rows) > 1 and rows[0].strip() != rows[1].strip():
        yield "order", matrix[1] + "\\\\".join([rows[1], rows[0], *rows[2:]]) + matrix[3]


def _members(gold: str) -> Iterator[tuple[str, str]]:
    found = re.fullmatch(r"(\\\{)?(-?\d+(?:\s*,\s*-?\d+)+)(\\\})?", gold)
    if not found:
        return
    members = found[2].split(",")
    if len({member.strip() for member in members}) == len(members):
        left, right = found[1] or "", found[3] or ""
        yield "member", left + ",".join(members[:-1]) + right
        yield "member", left + ",".join([*members, " 977"]) + right


def renderings(gold: str) -> Iterator[tuple[str, str]]:
    """(kind, the text behind a thought that gives the same answer in another spelling)."""
    boxed = f"So we are done.\n\n\\boxed{{{gold}}}"
    yield "boxed", boxed
    yield "boxed and said", f"{boxed}\n\nThe final answer is correct since all was checked."
    yield "twice", f"It is $\\boxed{{{gold}}}$, so the answer is $\\boxed{{{gold}}}$."
    yield "dollars", f"The answer is ${gold.replace(chr(92) + '$', '')}$."
    yield "parentheses", f"Therefore the final answer is \\({gold}\\)."
    yield "heading", f"All is checked.\n\n**Final Answer**\n\n$${gold}$$"
    for name in ("dfrac", "tfrac"):
        if r"\frac" in gold:
            yield name, f"\\boxed{{{gold.replace(chr(92) + 'frac', chr(92) + name)}}}"
    if re.search(r"\\frac\{\d\}\{\d\}(?!\d)", gold):
        yield "frac12", "\\boxed{" + re.sub(r"frac\{(\d)\}\{(\d)\}", r"frac\1\2", gold) + "}"
    yield "spacing", "\\boxed{" + re.sub(r"(?<=[,+])(?=[\d\\(x])", r"\\, ", gold) + "}"
    if "(" in gold and r"\left" not in gold and gold.count("(") == gold.count(")") and "[" not in gold:
        yield "left", "\\boxed{" + gold.replace("(", r"\left(").replace(")", r"\right)") + "}"
    if "^" not in gold and "e-" not in gold:
        yield "minus", f"\\boxed{{{gold.replace('-', '−')}}}"
    plain = PLAIN.fullmatch(gold)
    if plain:
        yield "name", f"\\boxed{{x = {gold}}}"
        yield "unit", f"\\boxed{{{gold}\\text{{ cm}}}}"
        yield "square unit", f"\\boxed{{{gold} \\mathrm{{~cm}}^2}}"
        yield "spelled unit", f"The answer is {gold} hours." if gold.lstrip("-").isdigit() else boxed
    if re.fullmatch(r"\d{4,}", gold):
        yield "thousands", f"\\boxed{{{int(gold):,}}}"
        yield "thousands in LaTeX", "\\boxed{" + f"{int(gold):,}".replace(",", "{,}") + "}"
    fraction = re.fullmatch(r"(-?)\\frac\{(\d+)\}\{(\d+)\}", gold)
    if fraction:
        yield "slash", f"\\boxed{{{fraction[1]}{fraction[2]}/{fraction[3]}}}"
        yield "negative above", f"\\boxed{{\\frac{{{fraction[1]}{fraction[2]}}}{{{fraction[3]}}}}}"
    if re.fullmatch(r"[A-Za-z]{3,}", gold):
        yield "text", f"\\boxed{{\\text{{{gold}}}}}"
    words = re.fullmatch(r"\\text\{([A-Za-z ]+)\}", gold)
    if words:
        yield "bare text", f"\\boxed{{{words[1]}}}"
        yield "bold text", f"\\boxed{{\\textbf{{{words[1]}}}}}"
    if re.fullmatch(r"\\\{-?\d+(,\s*-?\d+)+\\\}", gold):
        yield "another order", "\\boxed{\\{" + ",".join(reversed(gold[2:-2].split(","))) + "\\}}"
    if "matrix}" in gold:
        for kind in ("bmatrix", "pmatrix"):
            yield kind, "\\boxed{" + re.sub(r"[bp]matrix", kind, gold) + "}"
        yield "row height", "\\boxed{" + re.sub(r"\\\\(?!end)", r"\\\\[4pt]", gold) + "}"
