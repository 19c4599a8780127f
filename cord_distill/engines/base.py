"""The interface of engines: they take token ids and give token ids, and know no prompt, no step and no beam."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

from cord_distill.recipe.models import ModelConfig, RepetitionDetectionConfig
from cord_distill.types import THINK_CLOSE, Stop


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one request is sampled. `seed` belongs to this request alone, never to a stream shared with others.

    stop: strings that end the generation; they are not part of the text given back. stop_ids: token ids that end it as
    EOS does. banned_ids: never sampled. max_tokens: in the engine's own tokens. top_k -1 = off. repetition: what
    counts as one and ends the generation, None = nothing does.
    """

    max_tokens: int
    seed: int
    temperature: float = 0.6
    top_p: float = 0.95
    top_k: int = -1
    min_p: float = 0.0
    repetition: RepetitionDetectionConfig | None = None
    stop: tuple[str, ...] = ()
    stop_ids: tuple[int, ...] = ()
    banned_ids: tuple[int, ...] = ()


def sampling_of(section: ModelConfig, max_tokens: int = 0) -> Sampling:
    """How a recipe's model samples: every key of its section that says so, with seed 0."""
    return Sampling(
        max_tokens,
        seed=0,
        temperature=section.temperature,
        top_p=section.top_p,
        top_k=section.top_k,
        min_p=section.min_p,
        repetition=section.repetition_detection,
    )


@dataclass(frozen=True, slots=True)
class Generation:
    """What an engine generated for one request.

    ids: the generated tokens, those of the stop string and of EOS included. text: their decoding up to the stop string
    (special tokens kept, EOS left out). stop: EOS, LENGTH, REPETITION, or STEP / THINK_END when `matched` did. cached:
    prompt tokens that were read from the prefix cache.
    """

    ids: tuple[int, ...]
    text: str
    stop: Stop
    matched: str | None = None
    cached: int = 0


class Engine(Protocol):
    """Implementations: vllm/, server/, scripted.py, and the journal (decode/replay.py) in front of any of them.

    An engine may say more of itself. kv_tokens: tokens of one KV cache. slots: sequences that one replica decodes at
    once. homes: which replica a problem is at (homes.py), with `for_problem(id)`, a view whose requests stay there.
    keeps_time: it watches `decode.request_timeout` itself.
    """

    async def generate(self, ids: list[int], sampling: Sampling) -> Generation:
        """Continues `ids`. Raises EngineError: refused, failed or timed out; EngineDead: gone."""
        ...

    async def logprobs(self, ids: list[int], target_ids: list[int]) -> list[float]:
        """Natural log p(target_ids[i] | ids + target_ids[:i]), at temperature 1, one float per target."""
        ...

    async def ranked(self, ids: list[int], target_ids: list[int]) -> list[tuple[float, int]]:
        """The values of `logprobs`, each beside the token's rank, 1 = the likeliest. Servers raise EngineError."""
        ...

    async def close(self) -> None: ...


class RewardEngine(Protocol):
    """An engine with a reward head. It may lack `generate` and `logprobs`."""

    async def reward(self, ids: list[int], at: list[int]) -> list[float]:
        """The reward at each position of `at` in `ids`: the head's output there (select.step_reward)."""
        ...

    async def close(self) -> None: ...


class ForwardingEngine(ABC):
    """An engine that answers nothing itself: what is asked of it goes on to another one, by `request`."""

    @abstractmethod
    async def request(self, method: str, ids: list[int], what: Any) -> Any:
        """The answer to `method(ids, what)` of an engine behind."""

    async def generate(self, ids: list[int], sampling: Sampling) -> Generation:
        return await self.request("generate", ids, sampling)

    async def logprobs(self, ids: list[int], target_ids: list[int]) -> list[float]:
        return await self.request("logprobs", ids, target_ids)

    async def ranked(self, ids: list[int], target_ids: list[int]) -> list[tuple[float, int]]:
        return await self.request("ranked", ids, target_ids)

    async def reward(self, ids: list[int], at: list[int]) -> list[float]:
        return await self.request("reward", ids, at)


class EngineError(RuntimeError):
    """A request that the engine could not answer. The problem it belongs to is recorded as failed and tried again."""


class EngineDead(EngineError):
    """The engine itself is gone, and every request with it: it must be started anew, or the run stops."""


def stop_of(matched: str | None, ended_by_eos: bool) -> Stop:
    """How a generation ended: a matched stop string other than `</think>` ends a step."""
    if matched is not None:
        return Stop.THINK_END if matched == THINK_CLOSE else Stop.STEP
    return Stop.EOS if ended_by_eos else Stop.LENGTH


def vllm_ending(finish_reason: str | None, stop_reason: str | int | None) -> tuple[Stop, str | None]:
    """(stop, the stop string that matched) of vLLM's two reasons, in process and behind a server.

    Raises EngineError where the request was not brought to its end.
    """
    if finish_reason == "repetition":
        return Stop.REPETITION, None
    if finish_reason not in ("stop", "length"):
        raise EngineError(f"the request ended as {finish_reason!r}")
    matched = stop_reason if isinstance(stop_reason, str) else None
    return stop_of(matched, ended_by_eos=finish_reason == "stop"), matched
