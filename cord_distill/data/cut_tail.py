"""`data.cut_tail`: a trace ends where its answer is certain, and what its teachers wrote after that is left out."""

from __future__ import annotations

from dataclasses import replace

from cord_distill.types import THINK_CLOSE, Trajectory


def cut_tail(trajectory: Trajectory, threshold: float) -> Trajectory:
    """The trace up to the first step from which every step's S stays above `threshold`, then `</think>` and the answer.

    The same object where nothing is cut: S is not above it at the end, or only there, or no step carries an S.
    """
    steps = trajectory.steps
    last = len(steps)
    while last and (score := steps[last - 1].score) is not None and score > threshold:
        last -= 1
    # steps[last] is the first of the certain ones; at the very end of the trace there is nothing behind it.
    if last >= len(steps) - 1:
        return trajectory
    kept = steps[: last + 1]
    closed = replace(kept[-1], text=kept[-1].text + THINK_CLOSE)
    per_step = {key: found[: len(kept)] for key, found in trajectory.checks.items() if isinstance(found, list)}
    reasoning = sum(step.num_tokens for step in kept)
    return replace(
        trajectory,
        steps=(*kept[:-1], closed),
        score=kept[-1].score,
        num_tokens={**trajectory.num_tokens, "reasoning": reasoning},
        checks={**trajectory.checks, **per_step},
    )
