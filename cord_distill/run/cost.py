"""What decoding can cost at the most, before anything is started: requests, tokens, hours, money, by the budgets.

A step of the beam asks every teacher for every live trace, and all these proposals continue traces of one step: over
a whole search each place in the beam is paid for at most once per token of the thought and teacher.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from cord_distill.decode.admission import width
from cord_distill.recipe.recipe import Recipe

# A step that says anything has some tokens; used only where the budgets bound no number of steps.
SHORTEST_STEP = 16


@dataclass(frozen=True, slots=True)
class Cost:
    """Upper bounds of one method. generated: sampled tokens; requests: of proposals and final answers."""

    problems: int
    requests: int
    generated: int

    def line(self, method: str, tokens_per_second: float | None, gpus: int | None, price: float | None) -> str:
        """tokens_per_second: of all engines together; price: of one GPU for an hour."""
        said = f"decode {method}: at most {self.requests:,} requests and {self.generated:,} generated tokens"
        if tokens_per_second:
            hours = self.generated / tokens_per_second / 3600
            said += f", {hours:,.1f} h at {tokens_per_second:,.0f} tokens/s"
            if gpus:
                said += f", {hours * gpus:,.1f} GPU-hours"
                said += f", {hours * gpus * price:,.2f} at {price:g} an hour" if price else ""
        return said


def bound(recipe: Recipe, problems: int) -> Cost | None:
    """None for a plug-in pipeline, whose requests only it knows, and where a number of problems is not known."""
    decode, teachers = recipe.decode, len(recipe.teachers)
    thought, answer = decode.budgets.reasoning_tokens, decode.budgets.answer_tokens
    steps = decode.budgets.max_steps or math.ceil(thought / SHORTEST_STEP)
    if decode.pipeline == "cord":
        each = width(decode) * teachers * decode.proposals_per_teacher
        return Cost(problems, problems * (each * steps + 1), problems * (each * thought + answer))
    traces = {
        "curation": teachers * decode.curation.traces_per_teacher,
        "single": 1,
        "integration": teachers * (decode.integration.traces_per_teacher if decode.integration else 1),
        "mcts": decode.mcts.rollouts or decode.beam_size * teachers,
    }
    if decode.pipeline not in traces:
        return None
    count = traces[decode.pipeline]
    merged = decode.integration.max_tokens if decode.pipeline == "integration" and decode.integration else 0
    return Cost(problems, problems * 2 * count, problems * (count * (thought + answer) + merged))
