"""Starting the engine that answers for one checkpoint under evaluation."""

from __future__ import annotations

from cord_distill.common.errors import CordError
from cord_distill.engines.base import Engine
from cord_distill.prompts.render import Renderer
from cord_distill.recipe.cluster import ClusterConfig
from cord_distill.recipe.models import ModelConfig


async def start_engine(
    model: ModelConfig,
    label: str,
    path: str,
    renderer: Renderer,
    max_model_len: int,
    *,
    cluster: ClusterConfig | None = None,
    timeout: float = 3600.0,
    wait: float = 600.0,
) -> Engine:
    """Starts the engine that a recipe's model section names. label: whose it is, for errors. cluster: where it runs,
    `model.replicas` times; timeout, wait: of engines there (`alone.py`).

    Raises CordError for an engine that cannot evaluate.
    """
    if cluster is not None and model.engine in ("vllm", "scripted"):
        from cord_distill.engines.ray.alone import AloneOnCluster
        from cord_distill.engines.ray.spec import EngineSpec

        options = {"max_model_len": max_model_len} if model.engine == "vllm" else {}
        spec = EngineSpec.of(model, label, path, options)
        return await AloneOnCluster.start(cluster, spec, timeout=timeout, wait=wait)
    if model.engine == "scripted":
        from cord_distill.engines.scripted import ScriptedEngine

        return ScriptedEngine.of(model, label, renderer)
    if model.engine != "vllm":
        raise CordError(f"{label}: engine {model.engine!r} cannot evaluate yet; use engine: vllm")
    from cord_distill.engines.vllm.engine import VllmEngine

    return await VllmEngine.start(model, path, max_model_len=max_model_len)
