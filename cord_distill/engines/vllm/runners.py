"""Two ways to run vLLM requests from one event loop. Both: `run(ids, params) -> RequestOutput`, `close()`.

InProcessRunner steps an LLMEngine between the loop's own turns: on CPU it starts in seconds and is deterministic.
AsyncRunner is vLLM's AsyncLLM: its core runs in a process of its own, as GPUs want it.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
from typing import Any, ClassVar

from vllm.engine.arg_utils import AsyncEngineArgs, EngineArgs
from vllm.exceptions import VLLMError
from vllm.inputs.engine import tokens_input
from vllm.v1.engine.llm_engine import LLMEngine

from cord_distill.engines.base import EngineDead, EngineError
from cord_distill.engines.vllm.end_with_parent import own_engines
from cord_distill.engines.watchdog import Watchdog


class InProcessRunner:
    """An LLMEngine stepped by one task of the event loop while requests are open.

    vLLM keeps its forward context in a module global, so engines of one process take turns; they never run in threads.
    Its process groups are global too: a whole shutdown takes them from every engine here, so only the last one does it.
    """

    _alive: ClassVar[set[InProcessRunner]] = set()

    def __init__(self, args: dict[str, Any]) -> None:
        self.engine = LLMEngine.from_engine_args(EngineArgs(**args))
        self.config = self.engine.vllm_config
        self.max_model_len: int = self.config.model_config.max_model_len
        self.kv_tokens: int = self.config.cache_config.kv_cache_size_tokens
        self.steps = 0
        self.computed_prompt_tokens = 0
        self._numbers = itertools.count()
        self._open: dict[str, asyncio.Future[Any]] = {}
        self._pump: asyncio.Task[None] | None = None
        self._dead: str | None = None
        self._watchdog: Watchdog | None = None
        self._alive.add(self)

    def watch(self, limit: float, name: str) -> None:
        """One step may take `limit` seconds; past them the process ends (watchdog.py)."""
        self._watchdog = Watchdog(limit, name)

    async def run(self, ids: list[int], params: Any) -> Any:
        if self._dead:
            raise EngineDead(f"the engine stopped earlier: {self._dead}")
        number = str(next(self._numbers))
        try:
            request_id = self.engine.add_request(number, tokens_input(list(ids)), params)
        except (VLLMError, ValueError, TypeError) as error:
            raise EngineError(f"vLLM refused the request: {error}") from error
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._open[number] = future
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._step_while_open())
        try:
            return await future
        except asyncio.CancelledError:
            # All that time out in one turn of the loop come here; the first one's restart has closed the engine.
            if self._dead is None:
                self.engine.abort_request([request_id], internal=True)
            raise
        finally:
            self._open.pop(number, None)

    async def _step_while_open(self) -> None:
        # Yield first, so that requests made in one turn of the loop enter one batch.
        await asyncio.sleep(0)
        while self._open:
            if self._watchdog is not None:
                self._watchdog.begin()
            try:
                outputs = self.engine.step()
            except Exception as error:
                # vLLM's core can't be stepped again after a failure: every open request fails, and later ones at once.
                self._dead = f"{type(error).__name__}: {error}"
                for future in self._open.values():
                    if not future.done():
                        future.set_exception(EngineDead(f"vLLM failed: {self._dead}"))
                return
            finally:
                if self._watchdog is not None:
                    self._watchdog.end()
            self.steps += 1
            for output in outputs:
                waiting = self._open.get(output.request_id.partition("-")[0])
                if output.finished and waiting is not None and not waiting.done():
                    self.computed_prompt_tokens += len(output.prompt_token_ids) - (output.num_cached_tokens or 0)
                    waiting.set_result(output)
            await asyncio.sleep(0)

    async def close(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
        if self._watchdog is not None:
            self._watchdog.close()
        for future in self._open.values():
            if not future.done():
                future.set_exception(EngineDead("the engine was closed"))
        if self not in self._alive:
            return
        self._alive.discard(self)
        self._dead = self._dead or "it was closed"
        client = self.engine.engine_core
        # None where the user's environment put the core into a process of its own: that shares nothing with others.
        core = getattr(client, "engine_core", None)
        if self._alive and core is not None:
            client._finalizer.detach()  # it would do the whole shutdown as soon as this engine is collected
            core.model_executor.shutdown()
        else:
            client.shutdown()
        del client, core
        del self.engine
        gc.collect()


class AsyncRunner:
    """AsyncLLM with its engine core in another process; requests overlap freely."""

    def __init__(self, args: dict[str, Any]) -> None:
        from vllm.v1.engine.async_llm import AsyncLLM

        own_engines()
        self.engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**args))
        self.config = self.engine.vllm_config
        self.max_model_len: int = self.config.model_config.max_model_len
        self.kv_tokens: int = self.config.cache_config.kv_cache_size_tokens
        self._numbers = itertools.count()

    async def run(self, ids: list[int], params: Any) -> Any:
        from vllm.v1.engine.exceptions import EngineDeadError

        final = None
        # Pooling parameters have no temperature: those of a reward model.
        ask = self.engine.generate if hasattr(params, "temperature") else self.engine.encode
        try:
            async for output in ask(tokens_input(list(ids)), params, str(next(self._numbers))):
                final = output
        except (EngineDeadError, VLLMError, ValueError, TypeError) as error:
            gone = isinstance(error, EngineDeadError) or self.engine.errored
            raise (EngineDead if gone else EngineError)(f"vLLM refused or failed: {error}") from error
        if final is None:
            raise EngineError("vLLM gave no output")
        return final

    async def close(self) -> None:
        self.engine.shutdown()
