"""What of a recipe fits on the nodes of a cluster, and what is missing: pure arithmetic for `cord check`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Node:
    address: str
    gpus: int
    cpus: int


@dataclass(frozen=True, slots=True)
class Need:
    """A model: each of its replicas takes gpus of one node and one CPU."""

    key: str
    label: str
    gpus: int
    replicas: int


def placed(nodes: Sequence[Node], needs: Sequence[Need]) -> list[int]:
    """How many replicas of each need find a place: the first of all before the second of any, the largest first."""
    gpus, cpus = [node.gpus for node in nodes], [node.cpus for node in nodes]
    found = [0] * len(needs)
    for number in range(max((need.replicas for need in needs), default=0)):
        for i in sorted(range(len(needs)), key=lambda i: -needs[i].gpus):
            need = needs[i]
            room = [n for n in range(len(nodes)) if gpus[n] >= need.gpus and cpus[n] >= 1]
            if number >= need.replicas or not room:
                continue
            # The fullest that still takes it leaves the emptiest to larger ones; without GPUs they are spread.
            best = min(room, key=lambda n: gpus[n] if need.gpus else -cpus[n])
            gpus[best] -= need.gpus
            cpus[best] -= 1
            found[i] += 1
    return found


def summary(nodes: Sequence[Node], needs: Sequence[Need]) -> tuple[list[str], list[str]]:
    """(lines about the cluster and what fits, what keeps decoding from beginning), one sentence each."""
    found = placed(nodes, needs)
    gpus = sum(node.gpus for node in nodes)
    lines = [
        f"cluster: {len(nodes)} node{'s' * (len(nodes) != 1)}, {gpus} GPUs"
        f"{_each(nodes) if gpus else ''}, {sum(node.cpus for node in nodes)} CPUs"
    ]
    faults = []
    for need, count in zip(needs, found, strict=True):
        size = f"{need.gpus} GPU{'s' * (need.gpus != 1)}" if need.gpus else "1 CPU"
        later = "; the others start when nodes join" if count < need.replicas else ""
        lines.append(f"cluster: {need.key} {need.label}, {size} each: {count} of {need.replicas} fit{later}")
        if not count:
            most = max((node.gpus for node in nodes), default=0)
            why = f"no node has {need.gpus} GPUs (the largest has {most})" if need.gpus > most else "no room is left"
            faults.append(f"cluster: {need.key} {need.label} needs {size} of one node and {why}: add nodes")
    return lines, faults


def _each(nodes: Sequence[Node]) -> str:
    counts = [node.gpus for node in nodes if node.gpus]
    return f" ({len(counts)} x {counts[0]})" if len(set(counts)) == 1 else f" ({' + '.join(map(str, counts))})"
