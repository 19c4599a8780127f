"""What `cord check` says of the recipe's cluster: nodes, GPUs, what fits, and what keeps decoding from beginning."""

from __future__ import annotations

import os

from cord_distill.common.errors import CordError
from cord_distill.common.paths import short_path
from cord_distill.decode.check import started_sections
from cord_distill.decode.engine_pool import PER_REQUEST
from cord_distill.decode.start import KEY as REWARD
from cord_distill.engines.ray.capacity import Need, Node, summary
from cord_distill.engines.ray.connect import connect, imported
from cord_distill.engines.ray.spec import gpus_of
from cord_distill.recipe.models import ModelConfig
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.paths import RunFolder
from cord_distill.training.launch import gpu_count


def cluster_page(variants: list[Recipe]) -> tuple[list[str], list[str]]:
    """(lines, faults), one sentence each; nothing where the recipe names no cluster, and then Ray is not loaded."""
    if variants[0].cluster is None:
        return [], []
    try:
        nodes = nodes_of(variants[0])
    except CordError as error:
        return [], [str(error)]
    lines, faults = [], []
    for recipe in variants:
        said, wrong = summary(nodes, needs_of(recipe))
        lines += said
        faults += wrong
        lines += _drivers(recipe)
    return list(dict.fromkeys(lines)), list(dict.fromkeys(faults))


def _drivers(recipe: Recipe) -> list[str]:
    assert recipe.cluster is not None
    count = recipe.cluster.drivers
    if count == 1:
        return []
    folder = short_path(RunFolder.of(recipe).root)
    return [f"cluster: {count} drivers search, each keeps about one core busy; all nodes must share {folder}"]


def nodes_of(recipe: Recipe) -> list[Node]:
    """The nodes of the recipe's cluster, or this machine for `address: local`. Raises CordError: no cluster there."""
    assert recipe.cluster is not None
    ray = imported()
    if recipe.cluster.address == "local":
        return [Node("this machine", gpu_count(), os.cpu_count() or 1)]
    connect(recipe.cluster)
    try:
        found = [(node["NodeManagerAddress"], node["Resources"]) for node in ray.nodes() if node["Alive"]]
    finally:
        ray.shutdown()
    return [Node(where, int(has.get("GPU", 0)), int(has.get("CPU", 0))) for where, has in found]


def needs_of(recipe: Recipe) -> list[Need]:
    """Each engine once: models with the same settings share it."""
    engines: dict[str, Need] = {}
    # The model of problems.hard_for is started by `cord problems`, in its own process.
    for key, section in started_sections(recipe).items():
        if section.engine in ("vllm", "scripted") and key != "problems.hard_for":
            settings = f"{key == REWARD} {section.model_dump(include=set(ModelConfig.model_fields) - PER_REQUEST)}"
            engines.setdefault(settings, Need(key, section.label, gpus_of(section), section.replicas))
    return list(engines.values())
