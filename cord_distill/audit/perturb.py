"""A step with its numbers changed: what the audit puts in the step's place."""

from __future__ import annotations

import re

from cord_distill.search.seeds import keyed_seed

NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def perturbed(text: str, keep: str, *key: object) -> str:
    """`text` with the last digit of every number replaced by another one; a text without numbers loses its words.

    keep: a beginning that stays as it is (the step's marker holds a number too). key: what the choice of digits hangs
    on, so that the same step is always changed in the same way.
    """
    head, body = (keep, text[len(keep) :]) if text.startswith(keep) else ("", text)
    if not NUMBER.search(body):
        return head + body[len(body.rstrip()) :]

    def other(match: re.Match[str]) -> str:
        number = match.group()
        shift = 1 + keyed_seed("perturb", *key, match.start()) % 9
        return number[:-1] + str((int(number[-1]) + shift) % 10)

    return head + NUMBER.sub(other, body)
