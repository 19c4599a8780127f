"""What the answers are worth: one record per problem, and the figures of a suite. No model, no lighteval.

An output that was cut off (Stop.LENGTH) is wrong, has no prediction and is counted as truncated, whatever stands in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cord_distill import metrics
from cord_distill.common.errors import CordError
from cord_distill.common.plugins import plugin_call
from cord_distill.evaluation.samples import Sample
from cord_distill.evaluation.suite import Check, Measure
from cord_distill.grading import Grader
from cord_distill.grading.latex import canonical
from cord_distill.types import Problem, Stop

DIGITS = 6
PERCENTILES = (50, 90, 99)
DENSE = 64


@dataclass(frozen=True, slots=True)
class Record:
    """One problem with its samples, in order. step_shares: share of right steps per sample, where steps are checked.

    correct: None where a judge gave no verdict: such a sample is left out of every share of right ones.
    question, keys, meta: of the problem and its samples, for `cord grade RUN`, which grades them anew.
    measures: what a suite says beside right and wrong (TAT-QA's F1), one value per sample.
    """

    suite: str
    id: str
    answer: str
    predictions: tuple[str | None, ...]
    correct: tuple[bool | None, ...]
    stops: tuple[str, ...]
    num_tokens: tuple[int, ...]
    step_shares: tuple[float, ...] = ()
    all_steps_right: tuple[bool, ...] = ()
    measures: dict[str, tuple[float, ...]] = field(default_factory=dict)
    question: str = ""
    keys: tuple[str, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def judged(self) -> list[bool]:
        return [right for right in self.correct if right is not None]

    def to_row(self) -> dict[str, Any]:
        return {**asdict(self), "avg": metrics.mean(self.judged) if self.judged else None}


def judge(
    suite: str,
    problem: Problem,
    samples: Sequence[Sample],
    grade: Grader,
    check: Check | None = None,
    measure: Measure | None = None,
) -> Record:
    """The record of one problem. grade, check and measure get the completion after `<think>\\n`."""
    with plugin_call(f"suite {suite}: its grader, check or measure, on problem {problem.id!r},"):
        graded = [(None, False) if s.stop is Stop.LENGTH else grade(s.text, problem) for s in samples]
        checked = [check(problem, s.text) for s in samples] if check else []
        measures = _measures(problem, samples, measure) if measure else {}
    return Record(
        suite=suite,
        id=problem.id,
        answer=problem.answer,
        predictions=tuple(prediction for prediction, _ in graded),
        correct=tuple(right for _, right in graded),
        stops=tuple(str(s.stop) for s in samples),
        num_tokens=tuple(s.num_tokens for s in samples),
        step_shares=tuple(_share(found["steps_right"]) for found in checked),
        all_steps_right=tuple(bool(found["all_right"]) for found in checked),
        measures=measures,
        question=problem.question,
        keys=tuple(s.key for s in samples),
        meta=problem.meta,
    )


def _measures(problem: Problem, samples: Sequence[Sample], measure: Measure) -> dict[str, tuple[float, ...]]:
    """By name. A cut-off output measures 0, as it scores 0."""
    found = [(measure(s.text, problem), s.stop is not Stop.LENGTH) for s in samples]
    return {name: tuple(values[name] * ended for values, ended in found) for name in (found[0][0] if found else ())}


def sample_figures(records: Sequence[Record]) -> dict[str, Any]:
    """The figures of one suite. Shares in 0..1; intervals are 95 % and taken over problems.

    Intervals are Wilson's at the effective number of problems, but for measures outside 0..1: cluster bootstrap.
    pass_at: the curve over 1..k (powers of two above 64). truncated: share of outputs that were cut off. answerless:
    share that ended without an answer.
    Tokens: generated ones.
    """
    groups = [r.judged for r in records if r.judged]
    if not groups:
        raise CordError(
            f"suite {records[0].suite}: no answer has a verdict; read the judge's replies in judgements.jsonl"
        )
    k = min(len(group) for group in groups)
    stops = [stop for r in records for stop in r.stops]
    tokens = [n for r in records for n in r.num_tokens]
    silent = [p is None for r in records for p, s in zip(r.predictions, r.stops, strict=True) if s != Stop.LENGTH]
    maj = [majority(r) for r in records if r.judged]
    found: dict[str, Any] = {
        "avg_at_k": metrics.avg_at_k(groups),
        "avg_at_k_ci": metrics.clustered_interval(groups),
        "k": k,
        "num_problems": len(groups),
        "pass_at_k": metrics.mean_pass_at_k(groups, k),
        "pass_at_k_ci": metrics.pass_at_k_interval(groups, k),
        "pass_at": {str(n): metrics.mean_pass_at_k(groups, n) for n in _curve(k)},
        "maj_at_k": metrics.mean(maj),
        "maj_at_k_ci": metrics.share_interval(maj),
        "truncated": metrics.mean([stop == Stop.LENGTH for stop in stops]),
        "answerless": sum(silent) / len(stops),
        "mean_tokens": metrics.mean(tokens),
        "tokens_percentiles": {str(q): metrics.percentile(tokens, q) for q in PERCENTILES},
    }
    if any(r.step_shares for r in records):
        steps = [metrics.mean(r.step_shares) for r in records]
        found |= {
            "step_accuracy": metrics.mean(steps),
            "step_accuracy_ci": metrics.share_interval(steps),
            "all_steps_right": metrics.avg_at_k([r.all_steps_right for r in records]),
        }
    for name in dict.fromkeys(name for r in records for name in r.measures):
        values = [metrics.mean(r.measures[name]) for r in records if name in r.measures]
        found |= {name: metrics.mean(values), f"{name}_ci": _interval(values)}
    return {key: rounded(value) for key, value in found.items()}


def majority(record: Record) -> float:
    """maj@k of one problem. Right and wrong answers are counted by the same canonical form, so that the vote does not
    depend on which of them is right."""
    judged = [pair for pair in zip(record.predictions, record.correct, strict=True) if pair[1] is not None]
    votes = [None if prediction is None else canonical(prediction) for prediction, _ in judged]
    return metrics.maj_at_k(votes, [bool(right) for _, right in judged])


def _interval(values: Sequence[float]) -> tuple[float, float]:
    inside = all(0 <= value <= 1 for value in values)
    return metrics.share_interval(values) if inside else metrics.cluster_bootstrap(values)


def rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {key: rounded(v) for key, v in value.items()}
    return [rounded(v) for v in value] if isinstance(value, (list, tuple)) else value


def _share(right: Sequence[bool]) -> float:
    return metrics.mean([float(x) for x in right]) if right else 0.0


def _curve(k: int) -> list[int]:
    return sorted({k, *range(1, min(k, DENSE) + 1), *(2**i for i in range(k.bit_length()) if 2**i <= k)})
