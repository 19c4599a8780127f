"""Checks an engine's answers before anything is made of them, and before they are written to the journal.

A server, a plug-in or a half-precision overflow may give anything. An unusable answer raises EngineError: it costs the
problem that asked, is never replayed, and the next run asks for it again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from cord_distill.engines.base import EngineError, Sampling
from cord_distill.types import Stop

# Rounding may lift the logarithm of a probability of one a little above zero.
ROUNDING = 1e-4


def check_generation(answer: dict[str, Any], sampling: Sampling, vocabulary: int | None) -> None:
    """Raises EngineError for a generation that cannot be used; one without a token would be asked for again and again.

    answer: ids, text, stop, matched, as the journal holds them. vocabulary: the number of ids, None = unknown.
    """
    ids = answer["ids"]
    if not isinstance(ids, list) or not all(type(token) is int for token in ids):
        raise EngineError(f"the token ids of an answer are no list of whole numbers: {_short(ids)}")
    if not ids:
        raise EngineError("an answer without a single token")
    if len(ids) > sampling.max_tokens:
        raise EngineError(f"an answer of {len(ids)} tokens where {sampling.max_tokens} were asked for at most")
    odd = next((i for i in ids if i < 0 or i >= (vocabulary or 1 << 31)), None)
    if odd is not None:
        raise EngineError(f"token id {odd} is not in the vocabulary{f' of {vocabulary} ids' if vocabulary else ''}")
    banned = set(ids).intersection(sampling.banned_ids)
    if banned:
        raise EngineError(
            f"token id {min(banned)} came although it was banned: the engine leaves logit_bias aside; serve the model "
            "with one that keeps it (vllm serve)"
        )
    check_text(answer["text"])
    matched = answer["matched"]
    if matched is not None and matched not in sampling.stop:
        raise EngineError(f"an answer that was stopped by {_short(matched)}, which is none of its stop strings")
    if answer["stop"] not in list(Stop):
        raise EngineError(f"an answer that ended as {_short(answer['stop'])}")


def check_numbers(values: Sequence[Any], count: int, what: str, highest: float = math.inf) -> list[float]:
    """Returns `count` finite numbers as floats, none above `highest`. Raises EngineError for anything else."""
    if not isinstance(values, (list, tuple)) or len(values) != count:
        raise EngineError(f"{count} {what} were asked for and came as {_short(values)}")
    for value in values:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value > highest + ROUNDING:
            raise EngineError(f"one of the {what} is {_short(value)}")
    return [min(float(value), highest) for value in values]


def check_reply(answer: dict[str, Any]) -> None:
    """Raises EngineError for a chat model's reply (text, stop, counts) that cannot be used."""
    check_text(answer["text"])
    for count in ("num_tokens", "prompt_tokens"):
        if type(answer[count]) is not int or answer[count] < 0:
            raise EngineError(f"{count} of a reply is {_short(answer[count])}")


def count_in(usage: Any, key: str) -> int:
    """A count of tokens that a server gives; 0 where it gives none, or no number of them."""
    value = usage.get(key) if isinstance(usage, dict) else None
    return value if type(value) is int and value >= 0 else 0


def check_text(text: Any) -> None:
    """Raises EngineError on what is no text, or one that cannot be written as UTF-8."""
    if not isinstance(text, str):
        raise EngineError(f"the text of an answer is {_short(text)}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise EngineError("the text of an answer holds half a surrogate pair") from None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:76]} ..."
