"""The `cluster` section: engines on several machines, through Ray."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from cord_distill.recipe.base import Positive, Section


def _address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if value.startswith("ray://"):
        raise ValueError(f"{value!r} is Ray Client's: start `cord` on a node of the cluster and give auto or host:port")
    if value not in ("auto", "local") and not (host and port.isdigit() and "/" not in value):
        raise ValueError(f"{value!r} is no cluster: give auto, local, or host:port of its head node")
    return value


class ClusterConfig(Section):
    """Runs engines as actors of a Ray cluster (docs/multi_node.md): every model `replicas` times, each on its own GPUs.
    Without this section engines run in the process of the command."""

    address: Annotated[str, AfterValidator(_address)] = "auto"
    """`auto` (the cluster of this node, or $RAY_ADDRESS), `host:port` of the head node, or `local` (a cluster of this
    machine alone, which the command starts and ends)."""
    drivers: Positive = 1
    """How many processes run the searches of `cord generate`. 1 is the command itself; more are started on the nodes,
    which must then share the run folder. One process feeds many engines (docs/multi_node.md says how many)."""
