"""The messages between the two ends of an actor: which engine to start, what it reports of itself, and its failures."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import Any

from cord_distill.engines.version import installed_versions, is_cpu_build
from cord_distill.recipe.models import ModelConfig


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The command's working directory, which a recipe's relative paths mean, and where it looks for plug-ins."""

    folder: str
    plugins: tuple[str, ...]

    @classmethod
    def here(cls) -> Surroundings:
        return cls(os.getcwd(), tuple(path for path in sys.path if os.path.isdir(path)))

    def enter(self) -> None:
        """Makes them those of this process, on a node that may lack some of them."""
        if os.path.isdir(self.folder):
            os.chdir(self.folder)
        # Behind what is installed here.
        sys.path += [path for path in (self.folder, *self.plugins) if path not in sys.path]


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """One model's engine. key: the dotted name of its section, for errors. path: of its weights, as every node sees it.
    options: keyword arguments of the engine's `start`. reward: it is a process reward model. surroundings: of the
    command.
    """

    section: ModelConfig
    key: str
    path: str
    surroundings: Surroundings
    options: dict[str, Any] = field(default_factory=dict)
    reward: bool = False

    @classmethod
    def of(cls, section: ModelConfig, key: str, path: str, options: dict[str, Any], reward: bool = False) -> EngineSpec:
        whole = os.path.abspath(path) if os.path.isdir(path) else path
        return cls(section, key, whole, Surroundings.here(), options, reward)

    @property
    def replicas(self) -> int:
        return self.section.replicas

    @property
    def label(self) -> str:
        return self.section.label

    @property
    def gpus(self) -> int:
        return gpus_of(self.section)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a started engine says. versions: of what decides its answers, to be the same everywhere."""

    node: str
    pid: int
    max_model_len: int | None
    kv_tokens: int | None
    slots: int | None
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Failure:
    """In place of an answer. kind: `settings` (CordError), `request` (EngineError) or `engine` (EngineDead)."""

    kind: str
    reason: str


def gpus_of(section: ModelConfig) -> int:
    """Whole GPUs of one node that an engine of this model takes; 0 where vLLM's build for CPUs is installed."""
    if section.engine != "vllm" or is_cpu_build():
        return 0
    ranks = [section.engine_args.get(f"{kind}_parallel_size", 1) for kind in ("pipeline", "data")]
    return section.tensor_parallel_size * int(ranks[0]) * int(ranks[1])


def differing(facts: Facts) -> str:
    """Which packages have another version on the engine's node than here, as a sentence; "" when none has."""
    there = facts.versions
    here = installed_versions()
    other = [f"{name} {there.get(name, 'missing')} there, {value} here" for name, value in here.items()
             if there.get(name) != value]  # fmt: skip
    return f"node {facts.node}: {', '.join(other)}: install the same environment on every node" if other else ""


def short(error: Exception) -> str:
    """What Ray says, in one line and without the actor's numbers."""
    message = getattr(error, "error_msg", None) or str(error)
    line = next((line.strip() for line in str(message).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line[:160]}"
