"""TODO docstring of cord_distill.engines.start_engine."""

from __future__ import annotations

from cord_distill.common.errors import CordError
from cord_distill.engines.base import Engine
from cord_distill.evaluation.targets import Target
from cord_distill.prompts.render import Renderer


async def start_engine(target: Target, path: str, renderer: Renderer, max_model_len: int) -> Engine:
    """The engine that `target.model` names. Raises CordError for one that cannot evaluate."""
    model = target.model
    if model.engine == "scripted":
        from cord_distill.common.plugins import load_plugin
        from cord_distill.engines.scripted import ScriptedEngine

        script = load_plugin(str(model.script), f"{target.label}.script")
        return ScriptedEngine(script(renderer), renderer, **model.engine_args)
    if model.engine != "vllm":
        raise CordError(f"{target.label}: engine {model.engine!r} cannot evaluate yet; use engine: vllm")
    from cord_distill.engines.vllm.engine import VllmEngine

    return await VllmEngine.start(model, path, max_model_len=max_model_len)
