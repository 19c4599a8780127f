"""An engine whose answers a plug-in function gives: for dry runs, demonstrations and tests of whole recipes.

The plug-in is called as `script(renderer)` and gives an object with `generate(text, sampling) -> text` and
`logprobs(text, target_text) -> float` (one value for every target token); a reward model's has `reward(text) ->
float`, for the step that `text` ends with. Texts are what a model would read. Answers
must depend on their arguments alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.plugins import load_plugin, plugin_call
from cord_distill.engines.answers import check_text
from cord_distill.engines.base import EngineError, Generation, Sampling, stop_of
from cord_distill.prompts.render import Renderer
from cord_distill.recipe.models import ModelConfig
from cord_distill.types import Stop


class ScriptedEngine:
    """delay: seconds that each request waits, to let requests overlap as they do on a real engine. kv_tokens: the
    size of the KV cache that admission believes in."""

    def __init__(
        self, script: Any, renderer: Renderer, *, delay: float = 0.0, max_model_len: int | None = None,
        kv_tokens: int | None = None,
    ) -> None:  # fmt: skip
        self.script = script
        self.renderer = renderer
        self.delay = delay
        self.max_model_len = max_model_len
        self.kv_tokens = kv_tokens

    @classmethod
    def of(cls, section: ModelConfig, key: str, renderer: Renderer) -> ScriptedEngine:
        """The engine of a recipe's model section. key: its dotted name, for errors."""
        script = load_plugin(str(section.script), f"{key}.script")
        what = f"{key}.script: {section.script!r}"
        with plugin_call(what):
            made = script(renderer)
        if not callable(getattr(made, "generate", None)) and not callable(getattr(made, "reward", None)):
            raise CordError(f"{what} gave a {type(made).__name__}; give an object with generate(text, sampling)")
        return cls(made, renderer, **section.engine_args)

    async def _answer(self, call: Callable[[], Any]) -> Any:
        """What the script says, after `delay` seconds. Raises EngineError for whatever it raises."""
        await asyncio.sleep(self.delay)
        with plugin_call("the script", EngineError, raises=EngineError):
            return call()

    async def generate(self, ids: list[int], sampling: Sampling) -> Generation:
        text = await self._answer(lambda: self.script.generate(self.renderer.decode(ids), sampling))
        check_text(text)
        matched = min((s for s in sampling.stop if s in text), key=text.index, default=None)
        if matched is not None:
            text = text[: text.index(matched) + len(matched)]
        new = self.renderer.encode(text)
        if len(new) > sampling.max_tokens:
            new = new[: sampling.max_tokens]
            return Generation(tuple(new), self.renderer.decode(new), Stop.LENGTH)
        if matched is not None:
            return Generation(tuple(new), text.removesuffix(matched), stop_of(matched, ended_by_eos=False), matched)
        return Generation((*new, self.renderer.end_of_turn_id), text, Stop.EOS)

    async def logprobs(self, ids: list[int], target_ids: list[int]) -> list[float]:
        texts = self.renderer.decode(ids), self.renderer.decode(target_ids)
        return [await self._answer(lambda: self.script.logprobs(*texts))] * len(target_ids)

    async def ranked(self, ids: list[int], target_ids: list[int]) -> list[tuple[float, int]]:
        texts = self.renderer.decode(ids), self.renderer.decode(target_ids)
        both = await self._answer(lambda: (self.script.logprobs(*texts), self.script.rank(*texts)))
        return [both] * len(target_ids)

    async def reward(self, ids: list[int], at: list[int]) -> list[float]:
        return await self._answer(lambda: [self.script.reward(self.renderer.decode(ids[: i + 1])) for i in at])

    async def close(self) -> None:
        pass
