"""Plug-ins: `package.module:function` in a recipe."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from cord_distill.common.errors import CordError


def load_plugin(spec: str, key: str) -> Any:
    """The object that `spec` names; `key` is the recipe key, for the error. The working directory is searched too."""
    module_name, _, attribute = spec.partition(":")
    if "" not in sys.path:
        sys.path.append("")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and module_name.startswith(error.name):
            raise CordError(
                f"{key}: {spec!r}: there is no module {error.name!r}; install it or run from its folder"
            ) from None
        raise
    if not hasattr(module, attribute):
        raise CordError(f"{key}: {spec!r}: module {module_name} has no {attribute!r}")
    return getattr(module, attribute)
