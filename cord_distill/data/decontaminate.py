"""Keeps evaluation questions out of the training rows: equal questions, and shared runs of eight words."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from cord_distill.common.errors import CordError

N = 8
QUESTION_COLUMNS = ("question", "problem", "prompt", "Question", "Problem")


@dataclass
class Contamination:
    """Questions that must not be trained on. `equal` also catches questions that are shorter than eight words."""

    equal: set[str] = field(default_factory=set)
    grams: set[tuple[str, ...]] = field(default_factory=set)

    @classmethod
    def load(cls, paths: list[str], question_column: str | None = None) -> Contamination:
        """Reads JSONL files. Raises CordError naming file and line when one is missing or holds no question."""
        columns = ((question_column,) if question_column else ()) + QUESTION_COLUMNS
        found = cls()
        for path in paths:
            if not Path(path).is_file():
                raise CordError(
                    f"data.decontaminate: {path} is not there; give a JSONL file with one question per line"
                )
            with open(path, encoding="utf-8") as file:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        found.add(_question(line, columns, f"data.decontaminate: {path}, line {number}"))
        return found

    def add(self, question: str) -> None:
        self.equal.add(normalised(question))
        self.grams |= ngrams(question)

    def reason(self, question: str) -> str | None:
        """`contaminated` when `question` equals one of the set or shares eight words in a row with one, else None."""
        hit = normalised(question) in self.equal or not self.grams.isdisjoint(ngrams(question))
        return "contaminated" if hit else None


def normalised(question: str) -> str:
    """Case, spacing, `$` and the punctuation at the end do not make a question another one; signs and digits do."""
    text = unicodedata.normalize("NFKC", question).casefold()
    return re.sub(r"[\s$]+|\\[()\[\],;! ]", "", text).rstrip(".?!:;,")


def ngrams(question: str) -> set[tuple[str, ...]]:
    """All runs of eight words."""
    spoken = words(question)
    return {tuple(spoken[i : i + N]) for i in range(len(spoken) - N + 1)}


def words(question: str) -> list[str]:
    """What stands between blanks, without case and without the punctuation around it."""
    split = (w.strip(".,;:?!\"'()[]{}$") for w in unicodedata.normalize("NFKC", question).casefold().split())
    return [w for w in split if w]


def _question(line: str, columns: tuple[str, ...], place: str) -> str:
    try:
        row = json.loads(line)
    except ValueError:
        raise CordError(f"{place}: not readable as JSON") from None
    value = next((row[c] for c in columns if c in row), None) if isinstance(row, dict) else None
    if isinstance(value, list):
        value = next((m.get("content") for m in reversed(value) if m.get("role") == "user"), None)
    if not isinstance(value, str) or not value.strip():
        raise CordError(f"{place}: holds no question; the column is one of {', '.join(dict.fromkeys(columns))}")
    return value
