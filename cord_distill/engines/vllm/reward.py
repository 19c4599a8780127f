"""A reward model on vLLM's pooling: the head's outputs at every token, of which the asked ones are kept."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.engines.base import EngineError
from cord_distill.engines.vllm.engine import load_runner
from cord_distill.recipe.decode import ProcessRewardConfig
from cord_distill.search.select import step_reward

TASK = "token_classify"


class VllmRewardEngine:
    """Any model that vLLM loads with a head: a process reward model that it knows (Qwen2.5-Math-PRM), or
    `XForSequenceClassification` of an architecture that it generates with.

    vLLM's own step pooling is not used: it looks for a separator's id, while positions serve every model. Pooling reads
    no prefix cache, since rows out of the cache have no outputs: each prefix is computed anew.
    """

    def __init__(self, runner: Any, section: ProcessRewardConfig) -> None:
        self.runner = runner
        self.name = section.label
        self.max_model_len: int = runner.max_model_len
        self.kv_tokens: int = runner.kv_tokens
        self._reward = functools.partial(step_reward, activation=section.activation, output=section.head_output)

    @classmethod
    async def start(
        cls,
        section: ProcessRewardConfig,
        path: str,
        *,
        deterministic: bool | None = None,
        max_model_len: int | None = None,
        step_timeout: float | None = None,
    ) -> VllmRewardEngine:
        """Loads `path` as `section` says. Arguments as for VllmEngine.start. Raises CordError when vLLM refuses it."""
        pooling = {"runner": "pooling", "pooler_config": {"task": TASK, "tok_pooling_type": "ALL"}}
        try:
            runner = load_runner(section, path, deterministic, max_model_len, step_timeout, **pooling)
        except CordError as error:
            raise CordError(
                f"{error} (a process reward model must be of an architecture that vLLM knows, such as "
                "Qwen/Qwen2.5-Math-PRM-7B)"
            ) from error
        tasks = runner.engine.get_supported_tasks()
        tasks = await tasks if inspect.isawaitable(tasks) else tasks
        if TASK not in tasks:
            await runner.close()
            raise CordError(
                f"{section.label}: {path!r} has no reward head (vLLM offers {', '.join(tasks) or 'nothing'} for it); "
                "give a process reward model"
            )
        return cls(runner, section)

    async def reward(self, ids: list[int], at: list[int]) -> list[float]:
        from vllm import PoolingParams

        out = await self.runner.run(ids, PoolingParams(task=TASK, use_activation=False))
        rows = out.outputs.data
        if len(rows) != len(ids):
            raise EngineError(f"{self.name}: {len(rows)} rewards for {len(ids)} tokens")
        return [self._reward(rows[i].tolist()) for i in at]

    async def close(self) -> None:
        await self.runner.close()
