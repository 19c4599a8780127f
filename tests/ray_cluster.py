"""A real Ray cluster on a loopback address, a raylet per node, for tests that kill its parts.

It is kept by a process of its own (`python ray_cluster.py`), since Ray reads its environment when it is imported; that
process ends the cluster when the test's process ends, however that comes.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from processes import below, kill, title

# Not 127.0.0.1: Ray puts the address of the network card in its place.
LOOPBACK = "127.0.0.2"
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_enable_metrics_collection": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "5",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_raylet_start_wait_time_s": "60",
    "RAY_worker_register_timeout_seconds": "240",
    # By default Ray runs its workers at niceness 15: beside other tests they would starve.
    "RAY_worker_niceness": "0",
    "OMP_NUM_THREADS": "1",
}
AGENTS_PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


class LoopbackCluster:
    """A head without CPUs, and nodes of one CPU each. nodes: their raylets' processes."""

    def __init__(self, nodes: int) -> None:
        self._keeper = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ENVIRONMENT},
        )
        self.address = str(self._told("start"))
        self.nodes: list[int] = []
        for _ in range(nodes):
            self.add_node()

    def add_node(self) -> int:
        self.nodes.append(int(self._told("add")))
        return self.nodes[-1]

    def kill_node(self, raylet: int) -> None:
        """As when a machine is lost: the raylet and whatever ran below it, at once."""
        self.nodes.remove(raylet)
        kill(raylet, *below(raylet))
        self._told(f"reap {raylet}")  # a zombie would look alive

    def kill_head(self) -> None:
        """As when the head's machine is lost; the command and the other nodes are elsewhere."""
        kill(int(self._told("head")))

    def engines(self, *raylets: int) -> list[int]:
        """Processes with one of our engines inside, on all nodes or on these."""
        pids = [pid for raylet in raylets or self.nodes for pid in below(raylet)]
        return sorted(pid for pid in pids if title(pid).startswith("ray::EngineActor"))

    def drivers(self) -> list[int]:
        """Processes that run the searches of a command."""
        pids = below(self._keeper.pid)
        return sorted(pid for pid in pids if title(pid).startswith("ray::drive"))

    def stop(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._keeper.stdin.close()
        try:
            self._keeper.wait(timeout=60)
        except subprocess.TimeoutExpired:
            kill(self._keeper.pid, *below(self._keeper.pid))

    def _told(self, command: str) -> Any:
        self._keeper.stdin.write(command + "\n")
        self._keeper.stdin.flush()
        for line in self._keeper.stdout:
            if line.startswith("{"):
                return json.loads(line)["done"]
        raise RuntimeError(f"the cluster's process ended at {command!r}")


def tried(start: Callable[[], Any]) -> Any:
    """A node that does not come up on a busy machine is tried again."""
    for _ in range(4):
        with contextlib.suppress(Exception):
            return start()
    return start()


def write_ports_of_agents(begun: float) -> None:
    """A raylet waits for the ports that its agents choose, and gives up after 15 s, less than a busy machine takes to
    import them. Nothing here asks these agents: their files are written as soon as a raylet says its name."""
    while True:
        for log in Path("/tmp/ray").glob("session_2*/logs/raylet*.out"):
            if log.stat().st_mtime >= begun:
                for node in re.findall(r"node_id=([0-9a-f]{40,})", log.read_text(errors="ignore")):
                    for name in AGENTS_PORTS:
                        file = log.parents[1] / f"{name}_{node}"
                        if not file.exists():
                            new = file.with_suffix(".new")
                            new.write_text("52365")
                            new.rename(file)
        time.sleep(0.2)


def keep_cluster() -> None:
    """The process that keeps the cluster: takes commands until its input ends."""
    threading.Thread(target=write_ports_of_agents, args=(time.time(),), daemon=True).start()
    from ray.cluster_utils import Cluster

    same = {"include_dashboard": False, "object_store_memory": 78 * 2**20, "node_ip_address": LOOPBACK}
    cluster: Any = None
    raylets: dict[int, Any] = {}
    for line in sys.stdin:
        done: Any = None
        match line.split():
            case ["start"]:
                head = {"num_cpus": 0, **same}
                cluster = tried(functools.partial(Cluster, initialize_head=True, head_node_args=head))
                done = cluster.address
            case ["add"]:
                node = tried(functools.partial(cluster.add_node, num_cpus=1, **same))
                process = node.all_processes["raylet"][0].process
                raylets[process.pid] = node
                done = process.pid
            case ["head"]:
                done = cluster.head_node.all_processes["gcs_server"][0].process.pid
            case ["reap", pid]:
                raylets[int(pid)].all_processes["raylet"][0].process.wait()
                cluster.worker_nodes.discard(raylets.pop(int(pid)))
        print(json.dumps({"done": done}), flush=True)
    if cluster is not None:
        with contextlib.suppress(Exception):
            cluster.shutdown()


@contextlib.contextmanager
def loopback_cluster(nodes: int) -> Iterator[LoopbackCluster]:
    made = LoopbackCluster(nodes)
    try:
        yield made
    finally:
        made.stop()


if __name__ == "__main__":
    keep_cluster()
