"""`data.step_values`: what every step was worth, as rows from which a value or process reward model can be trained."""

from __future__ import annotations

import re
from typing import Any

from cord_distill.data.beam_tree import columns
from cord_distill.data.rows import without_marker
from cord_distill.types import THINK_CLOSE, Trajectory


def step_values(trajectory: Trajectory, markers: re.Pattern[str] | None = None) -> dict[str, Any] | None:
    """One row: the trace's steps with the score of the prefix that ends with each, and beside each step its siblings.

    `prompt` and `completions` are the columns of TRL's stepwise supervision, with `values` in place of its labels.
    siblings: what else was proposed behind the same prefix. None where no step carries a score.
    """
    steps = trajectory.steps
    if trajectory.error is not None or all(step.score is None for step in steps):
        return None
    beside: list[list[dict[str, Any]]] = [[] for _ in steps]
    if trajectory.pipeline == "cord":
        for n, column in enumerate(columns(trajectory)[: len(steps)]):
            before = tuple(step.text for step in steps[:n])
            for node in column:
                # The last step of a trace that was cut off has our `</think>` behind its text.
                same = steps[n].text in (node.candidate.text, node.candidate.text + THINK_CLOSE)
                own = same and node.candidate.teacher == steps[n].teacher
                if node.rated and not own and tuple(one.text for one in node.chain[:-1]) == before:
                    one = node.candidate
                    beside[n].append(
                        {"teacher": one.teacher, "text": without_marker(one.text, markers), "value": one.score}
                    )
    return {
        "id": trajectory.id,
        "prompt": trajectory.problem.question,
        "completions": [without_marker(step.text, markers) for step in steps],
        "values": [step.score for step in steps],
        "teachers": [step.teacher for step in steps],
        "siblings": beside,
        "correct": trajectory.correct,
    }
