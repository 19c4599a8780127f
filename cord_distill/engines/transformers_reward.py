"""A reward model on plain transformers: for heads that vLLM does not know, one request at a time."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.engines.base import EngineError
from cord_distill.recipe.decode import ProcessReward
from cord_distill.search.select import step_reward


class TransformersRewardEngine:
    """The model in the recipe's `dtype` (auto: its own on a GPU, float32 on CPU), on the first of its `devices`.

    `XForSequenceClassification` is asked at every token, though its own forward pass looks at the last one only.
    """

    kv_tokens: int | None = None

    def __init__(self, model: Any, section: ProcessReward, max_model_len: int | None) -> None:
        self.model = model
        self.name = section.label
        self.max_model_len = max_model_len
        self._reward = functools.partial(step_reward, activation=section.activation, output=section.head_output)
        self._turn = asyncio.Lock()

    @classmethod
    async def start(
        cls, section: ProcessReward, path: str, *, max_model_len: int | None = None
    ) -> TransformersRewardEngine:
        """Loads `path`. max_model_len: as for the other engines. Raises CordError when it cannot be loaded."""
        import torch
        import transformers

        on_gpu = torch.cuda.is_available()
        given = {"revision": section.revision, "trust_remote_code": section.trust_remote_code}
        try:
            config = transformers.AutoConfig.from_pretrained(path, **given)
            kind = (config.architectures or [""])[0]
            loader = next((auto for end, auto in _LOADERS.items() if kind.endswith(end)), "AutoModel")
            dtype = section.dtype if on_gpu or section.dtype != "auto" else "float32"
            model = getattr(transformers, loader).from_pretrained(path, dtype=dtype, **given)
        except (ValueError, RuntimeError, OSError, TypeError) as error:
            said = " ".join(str(error).split())[:500]
            raise CordError(f"{section.label}: transformers could not load {path!r}: {said}") from error
        if type(model).__name__ != kind:
            hint = ": set trust_remote_code: true" if getattr(config, "auto_map", None) else ""
            raise CordError(
                f"{section.label}: {path!r} is a {kind or 'model of no named architecture'}, loaded as "
                f"{type(model).__name__} without a reward head{hint}; give a process reward model"
            )
        model.eval().to(f"cuda:{(section.devices or [0])[0]}" if on_gpu else "cpu")
        positions = getattr(config, "max_position_embeddings", None)
        known = [length for length in (section.max_model_len or max_model_len, positions) if length]
        return cls(model, section, min(known) if known else None)

    async def reward(self, ids: list[int], at: list[int]) -> list[float]:
        if self.max_model_len is not None and len(ids) > self.max_model_len:
            raise EngineError(f"{self.name}: {len(ids)} tokens, but it holds {self.max_model_len}")
        async with self._turn:
            try:
                rows = await asyncio.to_thread(self._rows, ids, at)
            except RuntimeError as error:
                raise EngineError(f"{self.name}: {' '.join(str(error).split())[:300]}") from error
        return [self._reward(row) for row in rows]

    def _rows(self, ids: list[int], at: list[int]) -> list[list[float]]:
        """The head's raw outputs at the positions `at`."""
        import torch

        with torch.inference_mode():
            tokens = torch.tensor([ids], device=self.model.device)
            if hasattr(self.model, "score") and type(self.model).__name__.endswith("ForSequenceClassification"):
                outputs = self.model.score(self.model.base_model(tokens).last_hidden_state)
            else:
                outputs = self.model(tokens)[0]
            return outputs[0, at].float().tolist()

    async def close(self) -> None:
        self.model = None


# Ends of architecture names and the class that loads them; AutoModel is for remote code, as Qwen2.5-Math-PRM's.
_LOADERS = {
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForTokenClassification": "AutoModelForTokenClassification",
}
