"""Engines for tests that need ids but no model: random tokens under a request's own seed, and a record of what was
asked."""

import asyncio
import math
import random

from cord_distill.engines.base import EngineError, Generation, Sampling, stop_of
from cord_distill.types import THINK_CLOSE, Stop


class RandomEngine:
    """Writes random tokens of its vocabulary, now and then a marker, `</think>` or the end of the turn.

    Everything depends on the ids and the seed of the request alone, as a real engine's answers do.
    """

    max_model_len = None
    kv_tokens = None

    def __init__(
        self, renderer, *, name: str = "", p_marker: float = 0.06, p_close: float = 0.02, fail_on=None
    ) -> None:
        self.renderer, self.name = renderer, name
        self.p_marker, self.p_close = p_marker, p_close
        self.fail_on = fail_on
        self.requests: list[tuple[str, list[int], object]] = []
        self.vocabulary = sorted(set(renderer.tokenizer.get_vocab().values()))

    async def generate(self, ids: list[int], sampling: Sampling) -> Generation:
        self.requests.append(("generate", list(ids), sampling))
        await asyncio.sleep(0)
        if self.fail_on and self.fail_on(ids, sampling):
            raise EngineError("the engine fell over")
        rng = random.Random(f"{sampling.seed}{ids}")
        allowed = [i for i in self.vocabulary if i not in sampling.banned_ids and i not in sampling.stop_ids]
        marker, close = self.renderer.encode("\n\n### Step 2."), self.renderer.encode(THINK_CLOSE)
        made: list[int] = []
        while len(made) < sampling.max_tokens:
            dice = rng.random()
            if dice < self.p_marker:
                new = marker
            elif dice < self.p_marker + self.p_close:
                new = close
            elif dice < self.p_marker + self.p_close + 0.01 and sampling.stop_ids:
                made.append(sampling.stop_ids[0])
                return Generation(tuple(made), self.renderer.decode(made[:-1]), Stop.EOS)
            else:
                new = [rng.choice(allowed)]
            for token in new:
                made.append(token)
                text = self.renderer.decode(made)
                matched = next((s for s in sampling.stop if s in text), None)
                if matched or len(made) >= sampling.max_tokens:
                    stop = stop_of(matched, ended_by_eos=False)
                    return Generation(tuple(made), text.partition(matched)[0] if matched else text, stop, matched)
        return Generation((), "", Stop.LENGTH)

    async def logprobs(self, ids: list[int], target_ids: list[int]) -> list[float]:
        self.requests.append(("logprobs", list(ids), list(target_ids)))
        await asyncio.sleep(0)
        rng = random.Random(f"{ids}{target_ids}")
        return [math.log(rng.uniform(0.05, 0.95)) for _ in target_ids]

    async def close(self) -> None:
        pass


class Reciter:
    """Writes a known text: whatever follows the prompt so far, stopped by the first stop string to be complete in what
    is written now, as vLLM does (the token that completes it is given back whole).
    """

    max_model_len = None
    kv_tokens = None

    def __init__(self, renderer, question: str, text: str) -> None:
        self.renderer, self.text = renderer, text
        self.prompt = renderer.prompt_text(question)
        self.asked = 0

    async def generate(self, ids: list[int], sampling: Sampling) -> Generation:
        self.asked += 1
        known = self.renderer.decode(ids).removeprefix(self.prompt)
        assert self.text.startswith(known), "asked to go on from a text that was never written"
        rest = self.text[len(known) :]
        ends = {s: rest.find(s) + len(s) for s in sampling.stop if s in rest}
        matched = min(ends, key=ends.__getitem__, default=None)
        made, offsets = self.renderer.encode_with_offsets(rest if matched is None else rest[: ends[matched] + 40])
        if matched is not None:
            made = made[: next(i for i, (_, end) in enumerate(offsets, 1) if end >= ends[matched])]
        if len(made) > sampling.max_tokens:
            made = made[: sampling.max_tokens]
            return Generation(tuple(made), self.renderer.decode(made), Stop.LENGTH)
        if matched is None:
            return Generation((*made, self.renderer.end_of_turn_id), rest, Stop.EOS)
        text = rest[: ends[matched] - len(matched)]
        return Generation(tuple(made), text, stop_of(matched, ended_by_eos=False), matched)

    async def logprobs(self, ids: list[int], target_ids: list[int]) -> list[float]:
        return [-0.5] * len(target_ids)

    async def close(self) -> None:
        pass
