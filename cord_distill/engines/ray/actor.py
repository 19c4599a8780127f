"""One engine in a process of its own, on the node and the GPUs that Ray gave it: the far end of a replica."""

from __future__ import annotations

import asyncio
import os
import time
from array import array
from collections.abc import Awaitable
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.engines.base import EngineDead, EngineError
from cord_distill.engines.ray.spec import EngineSpec, Facts, Failure
from cord_distill.engines.version import installed_versions


class EngineActor:
    """Answers in values, never in exceptions: what went wrong comes back as a Failure."""

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        self._engine: Any = None
        self._answered = time.monotonic()
        spec.surroundings.enter()

    async def placed(self) -> str:
        """Answers as soon as the actor has its place: the address of its node."""
        import ray

        return str(ray.util.get_node_ip_address())

    async def start(self) -> Facts | Failure:
        started = await _answer(_start(self.spec))
        if isinstance(started, Failure):
            return started
        self._engine = started
        self._answered = time.monotonic()
        known = {name: getattr(started, name, None) for name in ("max_model_len", "kv_tokens", "slots")}
        return Facts(node=await self.placed(), pid=os.getpid(), versions=installed_versions(), **known)

    async def request(self, method: str, ids: bytes, what: Any) -> Any:
        """The engine's answer to `method(ids, what)`, or a Failure."""
        found = await _answer(getattr(self._engine, method)(unpacked(ids), what))
        self._answered = time.monotonic()
        return found

    async def silent(self) -> float:
        """Seconds since the engine last answered anybody."""
        return time.monotonic() - self._answered

    async def until_the_end(self) -> None:
        """Never answers: whoever waits for it learns of the actor's end at once."""
        await asyncio.Event().wait()


def packed(ids: list[int]) -> bytes:
    """Raw numbers: at 16k ids they cost half of what a list costs."""
    return array("I", ids).tobytes()


def unpacked(ids: bytes) -> list[int]:
    return list(array("I", ids))


async def _answer(asked: Awaitable[Any]) -> Any:
    try:
        return await asked
    except EngineDead as error:
        return Failure("engine", str(error))
    except EngineError as error:
        return Failure("request", str(error))
    except CordError as error:
        return Failure("settings", str(error))


async def _start(spec: EngineSpec) -> Any:
    """The engine that the section names. Raises CordError: it cannot be had here."""
    section = spec.section
    if spec.path.startswith("/") and not os.path.isdir(spec.path):
        raise CordError(
            f"{spec.key}.model: node {os.uname().nodename} has no folder {spec.path}: put it where every node sees it, "
            "or name a hub id"
        )
    if section.engine == "scripted":
        from cord_distill.engines.scripted import ScriptedEngine
        from cord_distill.prompts.render import renderer_of

        return ScriptedEngine.of(section, spec.key, renderer_of(section, spec.path))
    if spec.reward:
        from cord_distill.engines.vllm.reward import VllmRewardEngine

        return await VllmRewardEngine.start(section, spec.path, **spec.options)  # type: ignore[arg-type]
    from cord_distill.engines.vllm.engine import VllmEngine

    return await VllmEngine.start(section, spec.path, **spec.options)
