"""The figures of one method's trajectories: accuracy, scores, tokens and who wrote which step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from cord_distill.decode.answer_figures import AnswerFigures, answer_facts, answer_figures
from cord_distill.metrics import wilson_interval
from cord_distill.run_folder.trajectories import row_facts

DIGITS = 6
DECILES = 10


@dataclass(frozen=True, slots=True)
class HitRate:
    """Which teacher wrote the steps of the traces. overall: each teacher's share of all steps. deciles: its share of
    each tenth of a trace, the first tenth first; empty without a trace."""

    overall: dict[str, float] = field(default_factory=dict)
    deciles: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ModelCost:
    """What one teacher or meta-prover did in the process that decoded last: tokens, and the seconds of its requests.

    cache_hit_rate: share of the proposals' prompt tokens read from the prefix cache. discarded: share of the requests
    that were given up before their answer came.
    """

    requests: int
    generated_tokens: int
    scored_tokens: int
    request_seconds: float
    cache_hit_rate: float | None
    discarded: float | None

    @classmethod
    def of(cls, meter: Mapping[str, Any]) -> ModelCost:
        """Makes it of the model's meter in generate_stats.json."""
        requests, prompts = meter.get("requests", 0), meter.get("prompt_tokens", 0)
        return cls(
            requests=requests,
            generated_tokens=meter.get("generated_tokens", 0),
            scored_tokens=meter.get("scored_tokens", 0),
            request_seconds=round(meter.get("request_seconds", 0.0), 3),
            cache_hit_rate=round(meter.get("cached_tokens", 0) / prompts, DIGITS) if prompts else None,
            discarded=round(meter.get("discarded", 0) / requests, DIGITS) if requests else None,
        )


@dataclass(frozen=True, slots=True)
class MethodFigures:
    """The quality of one method's data, and what it took. Shares are of 0..1; None is what was not measured.

    num_problems counts all, failed those that ended in an error. answer_accuracy is over all that were graded, failed
    ones as wrong; every other share is over the finished ones. lucky: share of the right answers whose trace has a
    wrong step. teacher_changes: how often a step of a trace is another teacher's than the one before.
    tokens_per_problem, scored_tokens_per_problem: means over all proposals, the discarded ones too. seconds: of
    decoding. models: by label.
    """

    num_problems: int
    failed: int = 0
    answer_accuracy: float | None = None
    answer_accuracy_ci: list[float] | None = None
    all_steps_right: float | None = None
    step_accuracy: float | None = None
    lucky: float | None = None
    score: float | None = None
    steps_per_trace: float | None = None
    teacher_changes: float | None = None
    trace_tokens: float | None = None
    tokens_per_problem: float | None = None
    scored_tokens_per_problem: float | None = None
    hit_rate: HitRate = field(default_factory=HitRate)
    answers: AnswerFigures | None = None
    seconds: float | None = None
    models: dict[str, ModelCost] = field(default_factory=dict)


def method_figures(trajectories: Iterable[dict[str, Any]], stats: Mapping[str, Any] | None = None) -> MethodFigures:
    """`MethodFigures` from rows of `trajectories.jsonl` (of an id given twice, the last counts) and the
    generate_stats.json beside them."""
    facts, answers = {}, {}
    for row in trajectories:
        facts[row["id"]], answers[row["id"]] = row_facts(row), answer_facts(row)
    done = [f for f in facts.values() if not f["failed"]]
    graded = [f["correct"] for f in done if f["correct"] is not None]
    # As the paper counts: a problem without a trace has no right answer.
    graded += [False] * (len(facts) - len(done)) if graded else []
    stats = stats or {}
    return MethodFigures(
        num_problems=len(facts),
        failed=len(facts) - len(done),
        answer_accuracy=rounded_mean(graded),
        answer_accuracy_ci=_interval(graded),
        all_steps_right=rounded_mean(f["all_right"] for f in done),
        step_accuracy=rounded_mean(right for f in done for right in f["steps_right"]),
        lucky=rounded_mean(not f["all_right"] for f in done if f["correct"] and f["all_right"] is not None),
        score=rounded_mean(f["score"] for f in done),
        steps_per_trace=rounded_mean(len(f["teachers"]) for f in done),
        teacher_changes=rounded_mean(sum(a != b for a, b in pairwise(f["teachers"])) for f in done),
        trace_tokens=rounded_mean(f["trace_tokens"] for f in done),
        tokens_per_problem=rounded_mean(f["num_tokens"].get("generated_total") for f in done),
        scored_tokens_per_problem=rounded_mean(f["num_tokens"].get("scored_total") for f in done),
        hit_rate=hit_rate([f["teachers"] for f in done if f["teachers"]]),
        answers=answer_figures(answers.values()),
        seconds=stats.get("seconds"),
        models={name: ModelCost.of(meter) for name, meter in (stats.get("models") or {}).items()},
    )


def hit_rate(traces: Sequence[Sequence[str]]) -> HitRate:
    """Counts which teacher wrote which part of the traces (the teacher of each step, per trace). Step i of n covers the
    part (i/n, (i+1)/n) of its trace, and counts in every decile by the part that lies in it: so each trace weighs the
    same, and a short one leaves no hole."""
    names = sorted({teacher for trace in traces for teacher in trace})
    total = sum(map(len, traces))
    weight = [dict.fromkeys(names, 0.0) for _ in range(DECILES)]
    for trace in traces:
        n = len(trace)
        for i, teacher in enumerate(trace):
            # In units of 1/(n * DECILES) all borders are whole numbers.
            low, high = i * DECILES, (i + 1) * DECILES
            for d in range(low // n, (high - 1) // n + 1):
                weight[d][teacher] += (min(high, (d + 1) * n) - max(low, d * n)) / n
    return HitRate(
        overall={x: round(sum(t.count(x) for t in traces) / total, DIGITS) for x in names},
        deciles=[{x: round(w[x] / len(traces), DIGITS) for x in names} for w in weight] if traces else [],
    )


def rounded_mean(values: Iterable[float | bool | None]) -> float | None:
    """Mean of the values that are known; None without any."""
    kept = [float(v) for v in values if v is not None]
    return round(sum(kept) / len(kept), DIGITS) if kept else None


def _interval(graded: list[bool]) -> list[float] | None:
    return [round(x, DIGITS) for x in wilson_interval(sum(graded), len(graded))] if graded else None
