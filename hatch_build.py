"""Build hook: what lies beside the package in a clone lies inside it in a wheel (see cord_distill/common/paths.py).

A hook and not `force-include`, which would copy the files for an editable install as well, where they go stale.
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Bundle(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            for name in ("accelerate_configs", "eval", "recipes", "train.py"):
                build_data["force_include"][name] = f"cord_distill/bundled/{name}"
