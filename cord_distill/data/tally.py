"""What stats.json and the card of a data set say, counted while rows stream by."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

from cord_distill.data.rows import CandidateRow
from cord_distill.recipe.recipe import Recipe

OWN = "own trajectories"


class Tally:
    """Counts rows by source and reason. An own problem that failed and was tried again with success is no failure."""

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        self.failed: set[str] = set()
        self.good: set[str] = set()
        self.texts: set[bytes] = set()
        self.teachers: Counter[str] = Counter()
        self.sums: Counter[str] = Counter()
        self.longest = 0
        self.scores: list[float] = []
        self.sources: dict[str, Counter[str]] = {}
        self.tails: Counter[str] = Counter()

    def repeated(self, one: CandidateRow) -> str | None:
        """`duplicate` for the id of a row before it, and for the text of a row that was kept; else None."""
        tried = one.reason != "error"
        return "duplicate" if tried and (one.id in self.good or _text(one) in self.texts) else None

    def drop(self, one: CandidateRow, reason: str, source: str) -> None:
        """Counts a row that was read and left out."""
        self.sources.setdefault(source, Counter())["read"] += 1
        if reason == "error":
            self.failed.add(one.id)
        else:
            self.good.add(one.id)
            self.dropped[reason] += 1

    def keep(self, one: CandidateRow, source: str, written: int) -> None:
        """Counts a kept row. written: how often it stands in train.jsonl; its tokens and steps are counted once."""
        self.sources.setdefault(source, Counter()).update({"read": 1, "kept": 1, "written": written})
        self.good.add(one.id)
        self.texts.add(_text(one))
        self.teachers.update(one.teachers)
        self.sums.update({"kept": 1, "correct": int(one.correct is True), "graded": int(one.correct is not None)})
        self.sums["characters"] += len(one.completion)
        self.sums.update(one.tokens)
        self.sums["counted"] += bool(one.tokens)
        self.longest = max(self.longest, sum(one.tokens.values()))
        if one.score is not None:
            self.scores.append(one.score)

    def cut(self, steps: int) -> None:
        """A trace that lost the steps behind the point from which its answer was certain."""
        self.tails.update({"traces": 1, "steps": steps})

    def stats(self, recipe: Recipe) -> dict[str, Any]:
        errors = len(self.failed - self.good)
        dropped = dict(sorted({**self.dropped, **({"error": errors} if errors else {})}.items()))
        kept, steps = self.sums["kept"], sum(self.teachers.values())
        counted = self.sums["counted"]
        tails = {"above": recipe.data.cut_tail, "traces": self.tails["traces"], "steps": self.tails["steps"]}
        return {
            "rows": kept + sum(dropped.values()),
            "kept": kept,
            "dropped": dropped,
            "correct": self.sums["correct"],
            "graded": self.sums["graded"],
            "mean_score": sum(self.scores) / len(self.scores) if self.scores else None,
            "steps": steps,
            "teacher_share": {name: count / steps for name, count in sorted(self.teachers.items())},
            "tokens": {
                "reasoning": self.sums["reasoning"],
                "answer": self.sums["answer"],
                "mean_per_row": (self.sums["reasoning"] + self.sums["answer"]) / counted if counted else 0.0,
                "longest_row": self.longest,
                "unit": "tokens of the meta-prover",
            },
            "characters": self.sums["characters"],
            "filters": recipe.data.filters.model_dump(),
            "keep_markers": recipe.data.keep_markers,
            "near_duplicates": recipe.data.near_duplicates,
            "sources": {name: dict(counts) for name, counts in self.sources.items()},
            **({"rows_per_problem": recipe.data.rows_per_problem} if recipe.data.rows_per_problem > 1 else {}),
            **({"cut_tail": tails} if recipe.data.cut_tail is not None else {}),
        }


def _text(one: CandidateRow) -> bytes:
    return hashlib.sha256(f"{one.question}\0{one.completion}".encode()).digest()
