"""Keeps evaluation questions out of the training rows: equal questions, and those that cover most of one.

Coverage is the share of an evaluation question's three-word runs that a training question holds, each run weighed by
one over the number of evaluation questions it stands in, so that set phrases ("relatively prime positive integers")
say little. Questions of other numbers are other questions.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.jsonl import read_jsonl

RUN = 3
# Below so many words, a question may stand inside another one: it is the same only with exactly its numbers.
SHORT = 16
COVERAGE = 0.5
QUESTION_COLUMNS = ("question", "problem", "prompt", "Question", "Problem")

Run = tuple[str, ...]
_WORDS = re.compile(r"\d+(?:\.\d+)?|\\[a-z]+|[^\W\d_]+|[^\w\s]")
_THOUSANDS = re.compile(r"(?<=\d)(?:,|\{,\}|\\[,!])(?=\d{3}(?!\d))")
# How a list of problems numbers them: no number of the question.
_LABEL = re.compile(r"\W*(?:(?:problem|question|exercise|example|task) *#?\d+[.:)]?|\(?\d+[.:)])\s+")
# What typesetting adds or leaves out, and the spellings of one sign.
_UNSAID = {*"$,;:.?!\"'(){}[]\\&~`_’“”‘"} | {
    f"\\{name}"
    for name in "left right displaystyle text textbf textit mathrm mathbf mbox rm quad qquad begin end".split()
}
_SPELLINGS = {
    "\\dfrac": "\\frac", "\\tfrac": "\\frac", "\\cdot": "*", "\\times": "*", "×": "*", "·": "*", "−": "-",
    "\\le": "≤", "\\leq": "≤", "\\ge": "≥", "\\geq": "≥", "\\ne": "≠", "\\neq": "≠", "\\pi": "π", "\\circ": "°",
}  # fmt: skip


@dataclass(frozen=True)
class _Known:
    """An evaluation question: its runs and its numbers."""

    runs: frozenset[Run]
    numbers: Counter[str]
    short: bool

    def told_apart(self, numbers: Counter[str]) -> bool:
        """Whether `numbers` make it another question; added ones alone (`Problem 3.`) do so for a short one only."""
        gone, new = self.numbers - numbers, numbers - self.numbers
        return bool(gone or new) if self.short else bool(gone and new)


@dataclass
class Contamination:
    """Questions that must not be trained on. threshold: the coverage from which a training question is one of them."""

    threshold: float = COVERAGE
    equal: set[str] = field(default_factory=set)
    known: list[_Known] = field(default_factory=list)
    index: defaultdict[Run, list[int]] = field(default_factory=lambda: defaultdict(list))
    _wholes: list[float] = field(default_factory=list)

    @classmethod
    def load(cls, paths: list[str], question_column: str | None = None, threshold: float = COVERAGE) -> Contamination:
        """Reads files of questions. Raises CordError naming file and row when one is missing or holds no question."""
        columns = ((question_column,) if question_column else ()) + QUESTION_COLUMNS
        found = cls(threshold)
        for path in paths:
            for where, row in read_jsonl(Path(path), key="data.decontaminate", columns="one question per row"):
                found.add(_question(row, columns, f"data.decontaminate: {where}"))
        return found

    def add(self, question: str) -> None:
        equal = normalised(question)
        if equal in self.equal:
            return
        self.equal.add(equal)
        spoken = _spoken(question)
        runs = _runs(spoken)
        for run in runs:
            self.index[run].append(len(self.known))
        self.known.append(_Known(runs, _numbers(spoken), len(spoken) < SHORT))

    def reason(self, question: str) -> str | None:
        """`contaminated` when `question` equals one of the set or covers most of one, else None."""
        if normalised(question) in self.equal:
            return "contaminated"
        spoken = _spoken(question)
        numbers = _numbers(spoken)
        if len(self._wholes) != len(self.known):
            self._wholes = [sum(map(self._weight, one.runs)) for one in self.known]
        held: defaultdict[int, float] = defaultdict(float)
        for run in _runs(spoken):
            for number in self.index.get(run, ()):
                held[number] += self._weight(run)
        covered = (
            # Rounding must not lose a question that is covered to the last run when the threshold is 1.
            weight >= self.threshold * self._wholes[number] - 1e-9 and not self.known[number].told_apart(numbers)
            for number, weight in held.items()
        )
        return "contaminated" if any(covered) else None

    def _weight(self, run: Run) -> float:
        return 1 / len(self.index[run])


def normalised(question: str) -> str:
    """Case, spacing, `$` and the punctuation at the end do not make a question another one; signs and digits do."""
    text = unicodedata.normalize("NFKC", question).casefold()
    return re.sub(r"[\s$]+|\\[()\[\],;! ]", "", text).rstrip(".?!:;,")


def _spoken(question: str) -> list[str]:
    """Words, numbers, commands and signs, without case and without what typesetting adds."""
    text = unicodedata.normalize("NFKC", question).casefold()
    label = _LABEL.match(text)
    text = _THOUSANDS.sub("", text[label.end() :] if label else text)
    return [_SPELLINGS.get(word, word) for word in _WORDS.findall(text) if word not in _UNSAID]


def _runs(spoken: list[str]) -> frozenset[Run]:
    return frozenset(tuple(spoken[i : i + RUN]) for i in range(max(1, len(spoken) - RUN + 1)))


def _numbers(spoken: list[str]) -> Counter[str]:
    return Counter(word for word in spoken if word[0].isdigit())


def _question(row: dict[str, Any], columns: tuple[str, ...], place: str) -> str:
    value = next((row[c] for c in columns if c in row), None)
    if isinstance(value, list):
        value = next(
            (m.get("content") for m in reversed(value) if isinstance(m, dict) and m.get("role") == "user"), None
        )
    if not isinstance(value, str) or not value.strip():
        raise CordError(f"{place}: holds no question; the column is one of {', '.join(dict.fromkeys(columns))}")
    return value
