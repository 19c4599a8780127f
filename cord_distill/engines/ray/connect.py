"""Joining a Ray cluster: nothing is sent to anybody, no dashboard is started, and what is missing is one sentence."""

from __future__ import annotations

import logging
import os
import secrets
import signal
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.quiet import keep_private, prepare_environment
from cord_distill.recipe.cluster import ClusterConfig

# Decided where a cluster is started: here for `address: local`, elsewhere by whoever starts it (docs/multi_node.md).
SAFE = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_process_group_cleanup_enabled": "1"}
# Not 127.0.0.1: Ray puts the address of the network card in its place.
LOOPBACK = "127.0.0.2"
INSTALL = "pip install 'cord-distill[ray]'"


def connect(cluster: ClusterConfig) -> None:
    """Joins the cluster that the section names, unless this process has. Raises CordError: no Ray, no cluster there."""
    prepare_environment()
    keep_private()
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if cluster.address == "local":
        _safe_by_default()
        options |= {"include_dashboard": False, "_node_ip_address": LOOPBACK}
    elif (host := where(cluster).partition(":")[0]).startswith("127."):
        options["_node_ip_address"] = host  # such a cluster is reached from its own machine only
    ray = imported()
    if ray.is_initialized():
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        ray.init(address=cluster.address, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CordError(
            f"cluster.address: no Ray cluster at {where(cluster)} ({reason}): start one (docs/multi_node.md), or "
            "remove `cluster` to run in this process"
        ) from error
    finally:
        # Ray's own SIGTERM handler raises inside the event loop.
        for number, handler in handlers.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)


def imported() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError as error:
        raise CordError(f"cluster: needs Ray on every node: {INSTALL}") from error
    return ray


def where(cluster: ClusterConfig) -> str:
    return os.environ.get("RAY_ADDRESS") or cluster.address if cluster.address == "auto" else cluster.address


def _safe_by_default() -> None:
    """For a cluster of our own, before Ray is imported; what the user set wins. The token reaches Ray's processes by
    their environment and is never shown."""
    for name, value in SAFE.items():
        os.environ.setdefault(name, value)
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & {*os.environ}:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
