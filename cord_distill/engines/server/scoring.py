"""Asks a server for the log-probs of given tokens: one function per way, by the field of vLLM that it uses.

A prompt of 16,000 ids costs a driver 2 ms and 116 kB each time that it is sent: the ways differ in how often they do.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

# The cheapest first. The first two send the prompt once and read the server's prefix cache; the third sends it once per
# target and reads the cache; the last one sends it once and computes all of it again.
ScoringWay = Literal["prompt_logprob_token_ids", "allowed_token_ids", "logprob_token_ids", "prompt_logprobs"]
WAYS: tuple[ScoringWay, ...] = ("prompt_logprob_token_ids", "allowed_token_ids", "logprob_token_ids", "prompt_logprobs")
# Targets of one request that shares what the server has cached, and of one choice of tokens (vLLM takes 128 at most).
TARGETS_AT_ONCE = 32

COMPLETIONS = "/v1/completions"
GENERATE = "/inference/v1/generate"


@dataclass(frozen=True, slots=True)
class ScoringRequest:
    """One HTTP request for log-probs. read: takes those of the first targets, of all or of fewer, off the answer."""

    path: str
    body: dict[str, Any]
    read: Callable[[Any], list[float]]


def scoring(way: ScoringWay, served: str, ids: list[int], target_ids: list[int]) -> ScoringRequest:
    """Asks for log p(target_ids[i] | ids + target_ids[:i]) of the model that is served under this name."""
    return REQUESTS[way](served, ids, target_ids)


def _own_rows(served: str, ids: list[int], target_ids: list[int]) -> ScoringRequest:
    """Model runner V2, and a server with --enable-scale-out: it computes the targets' rows and no others.

    None come back where the prefix cache held a target's row already.
    """

    def read(page: Any) -> list[float]:
        import numpy

        packed = page["prompt_token_id_logprobs"]
        if packed is None:
            return []
        rows = numpy.load(io.BytesIO(base64.b64decode(packed)), allow_pickle=False)
        if len(rows) != len(target_ids):
            raise ValueError(f"{len(rows)} log-probs of {len(target_ids)} tokens")
        return [float(row[0]) for row in rows]

    params = {
        "max_tokens": 1,
        "temperature": 0.0,
        "detokenize": False,
        "prompt_logprob_token_ids": [[token] for token in target_ids],
        "prompt_logprob_start": len(ids) - 1,
        "skip_reading_prefix_cache": False,
    }
    return ScoringRequest(GENERATE, {"model": served, "token_ids": ids + target_ids, "sampling_params": params}, read)


def _continued(served: str, ids: list[int], target_ids: list[int]) -> ScoringRequest:
    """The server goes on with the likeliest of the targets. As long as these are the targets in their order, each of
    its steps gives the next log-prob; the first other one ends what can be read, and its own row still counts. So does
    a row without the target, as speculative decoding may give it.
    """
    wanted = list(dict.fromkeys(target_ids))
    body = {
        "model": served,
        "prompt": ids,
        "max_tokens": len(target_ids),
        "temperature": 0.0,
        "allowed_token_ids": wanted,
        **_at_each_step(wanted),
    }

    def read(page: Any) -> list[float]:
        steps = page["choices"][0]["logprobs"]
        found: list[float] = []
        for token, made, row in zip(target_ids, steps["tokens"], steps["top_logprobs"], strict=False):
            name = f"token_id:{token}"
            if name in row:
                found.append(float(row[name]))
            if made != name or name not in row:
                break
        if not found:
            raise ValueError("no log-probs")
        return found

    return ScoringRequest(COMPLETIONS, body, read)


def _one_by_one(served: str, ids: list[int], target_ids: list[int]) -> ScoringRequest:
    """A prompt per target, in one body. Temperature 1 and no cut: then raw and processed log-probs are the same,
    whatever --logprobs-mode says."""
    body = {
        "model": served,
        "prompt": [ids + target_ids[:i] for i in range(len(target_ids))],
        **PLAIN,
        **_at_each_step(list(dict.fromkeys(target_ids))),
    }

    def read(page: Any) -> list[float]:
        return [
            float(choice["logprobs"]["top_logprobs"][0][f"token_id:{token}"])
            for choice, token in zip(_in_order(page), target_ids, strict=True)
        ]

    return ScoringRequest(COMPLETIONS, body, read)


def _whole_prompt(served: str, ids: list[int], target_ids: list[int]) -> ScoringRequest:
    body = {"model": served, "prompt": ids + target_ids, **PLAIN, "prompt_logprobs": 0}

    def read(page: Any) -> list[float]:
        rows = _in_order(page)[0]["prompt_logprobs"][len(ids) :]
        return [float(row[str(token)]["logprob"]) for row, token in zip(rows, target_ids, strict=True)]

    return ScoringRequest(COMPLETIONS, body, read)


PLAIN = {"max_tokens": 1, "temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0}

REQUESTS: dict[ScoringWay, Callable[[str, list[int], list[int]], ScoringRequest]] = {
    "prompt_logprob_token_ids": _own_rows,
    "allowed_token_ids": _continued,
    "logprob_token_ids": _one_by_one,
    "prompt_logprobs": _whole_prompt,
}


def _at_each_step(wanted: list[int]) -> dict[str, Any]:
    return {"logprobs": len(wanted), "logprob_token_ids": wanted, "return_tokens_as_token_ids": True}


def _in_order(page: Any) -> list[Any]:
    return sorted(page["choices"], key=lambda choice: choice["index"])
