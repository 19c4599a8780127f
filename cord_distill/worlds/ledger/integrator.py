"""The scripted integrator: merges ledger traces by a rule that knows no true value. Not a language model: see its name.

In a recipe: `decode.integration: {engine: scripted, name: scripted integrator, script:
"cord_distill.worlds.ledger.integrator:reply"}`. It reads the prompt that a model would get and answers with JSON as a
model should. Step by step it follows the traces that go on from the value reached so far, takes the result that most of
them give, and of equal ones the first trace's.
"""

from __future__ import annotations

import json
import re
from collections import Counter

from cord_distill.engines.base import Sampling
from cord_distill.worlds.ledger.world import read_step, step_text

_START = re.compile(r"Box 0 = (\d)")
_SOLUTION = re.compile(r"<solution \d+>\n(.*?)\n</solution \d+>", re.DOTALL)
_LABEL = re.compile(r" (\d) = ")


def reply(prompt: str, sampling: Sampling) -> str:
    """For `decode.integration.script`. Says so in words, without JSON, where no trace can be read."""
    solutions = _SOLUTION.findall(prompt)
    start = _START.search(prompt)
    thoughts = [solution.partition("Final answer:")[0] for solution in solutions]
    traces = [[step for text in re.split(r"(?=### Step )", t) if (step := read_step(text))] for t in thoughts]
    if not start or not any(traces):
        return "None of the solutions can be read."
    value, values, steps = int(start[1]), {}, []
    for n in range(1, max(map(len, traces)) + 1):
        here = [step for trace in traces for step in trace if step[0] == n]
        if not here:
            break
        follow = [step for step in here if step[2] == value] or here
        _, op, operand, value = Counter(follow).most_common(1)[0][0]
        values[n] = value
        agreed = "verification" if len(follow) > 1 else "progressive"
        category = "error correction" if len(set(follow)) > 1 else agreed
        steps.append({"category": category, "text": step_text(n, op, operand, value)})
    return json.dumps({"steps": steps, "final_answer": f"The answer is \\boxed{{{_report(solutions, values)}}}"})


def _report(solutions: list[str], values: dict[int, int]) -> str:
    """The merged values of the steps that the first boxed answer reports."""
    box = next((s.rpartition("\\boxed{")[2] for s in solutions if "\\boxed{" in s), "")
    return ",".join(f" {n} = {values[int(n)]}" for n in _LABEL.findall(box) if int(n) in values)
