"""A model of the ledger world whose true accuracy is known: each answer is right with probability ACCURACY.

Not a network: a script (`engine: scripted`) that draws from the request's own seed, as a sampler would. The evaluation
is held against it; see recipes/calibrate_ledger.yaml.
"""

from __future__ import annotations

import random
import re
from typing import Any

from cord_distill.engines.base import Sampling
from cord_distill.worlds.ledger.world import OPS, report, say, step_text, true_values

ACCURACY = 0.6
START = re.compile(r"Box 0 = (\d)")
OPERATION = re.compile(r"Box \d: ([^.]+)")
CODES = {say(op): op for op in OPS}


class KnownModel:
    def generate(self, text: str, sampling: Sampling) -> str:
        """The steps of the question at the end of `text`, and an answer that is right in ACCURACY of the seeds."""
        question = text[text.rindex("Box 0 = ") :]
        ops = [CODES[words] for words in OPERATION.findall(question)]
        start = START.match(question)
        assert start is not None
        values = [int(start[1]), *true_values(int(start[1]), ops)]
        steps = [step_text(n, op, values[n - 1], values[n]) for n, op in enumerate(ops, 1)]
        if random.Random(sampling.seed).random() >= ACCURACY:
            values[-1] = (values[-1] + 1) % 10
        return "\n\n".join(steps) + "\n\n</think>\n\nThe answer is \\boxed{" + report(values[1:], 2) + "}"


def script(renderer: Any) -> KnownModel:
    """For `evaluate.engine.script`."""
    return KnownModel()
