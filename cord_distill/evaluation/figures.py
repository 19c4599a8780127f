"""What an evaluation found, as the summary, the report and the cards hold it: a model's figures, suite by suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Interval = list[float]


@dataclass(frozen=True, slots=True)
class SuiteFigures:
    """One model on one suite, in shares of 0..1. avg_at_k: right answers, the mean over problems of the share of `k`
    samples. avg_at_k_ci: its 95% interval. step_accuracy: right steps, where the suite checks steps. None is what was
    not measured."""

    avg_at_k: float | None = None
    avg_at_k_ci: Interval | None = None
    step_accuracy: float | None = None
    k: int | None = None
    num_problems: int | None = None

    @classmethod
    def of(cls, figures: Mapping[str, Any]) -> SuiteFigures:
        """Of a suite's entry in results.json, which holds more than this."""
        return cls(**{name: figures.get(name) for name in cls.__slots__})

    def to_json(self, teacher: bool) -> dict[str, Any]:
        """The keys of summary.json, where a student's share is called `avg_at_16` and a teacher's `answer_accuracy`."""
        share = "answer_accuracy" if teacher else f"avg_at_{self.k}"
        found = {share: self.avg_at_k, f"{share}_ci": self.avg_at_k_ci, "step_accuracy": self.step_accuracy}
        return {**found, "k": self.k, "num_problems": self.num_problems}


@dataclass(frozen=True, slots=True)
class ModelScores:
    """One evaluated model. suites: by name, the recipe's first. seconds: how long its evaluation took.

    Of a method that was trained with several seeds these are the means over its runs; `seeds` holds each run by its
    seed, and `of_seeds` says how many the recipe asks for.
    """

    suites: dict[str, SuiteFigures] = field(default_factory=dict)
    seconds: float | None = None
    seeds: dict[int, ModelScores] = field(default_factory=dict)
    of_seeds: int = 0

    @classmethod
    def of(cls, results: Mapping[str, Any], order: Sequence[str]) -> ModelScores:
        """Of a results.json ({} for a model that was not evaluated). order: the recipe's suites, which come first."""
        found = results.get("suites") or {}
        names = [*(name for name in order if name in found), *sorted(set(found) - set(order))]
        return cls({name: SuiteFigures.of(found[name]) for name in names}, results.get("seconds"))

    @property
    def first(self) -> SuiteFigures:
        """The figures that tables and pictures show: those of the first suite."""
        return next(iter(self.suites.values()), SuiteFigures())

    def to_json(self, teacher: bool = False) -> dict[str, Any]:
        """The keys of summary.json: the first suite at the top, all of them under `suites`."""
        name = next(iter(self.suites), None)
        first = {"suite": name, **self.first.to_json(teacher)} if name is not None else {}
        suites = {suite: figures.to_json(teacher) for suite, figures in self.suites.items()}
        runs = {str(seed): run.to_json(teacher) for seed, run in self.seeds.items()}
        counted = {"num_seeds": len(runs), "of_seeds": self.of_seeds, "seeds": runs} if runs else {}
        return {**first, "seconds": self.seconds, "suites": suites, **counted}
