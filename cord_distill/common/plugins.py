"""Plug-ins: `package.module:function` in a recipe."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from cord_distill.common.errors import CordError


def search_beside(folder: Path) -> None:
    """Plug-ins are looked for in the recipe's folder too, behind all that is installed."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def load_plugin(spec: str, key: str) -> Any:
    """The object that `spec` names; `key` is the recipe key, for the error. The working directory is searched too."""
    module_name, _, attribute = spec.partition(":")
    if "" not in sys.path:
        sys.path.append("")
    module = loaded(lambda: importlib.import_module(module_name), f"{key}: {spec!r}", module_name)
    if not hasattr(module, attribute):
        raise CordError(f"{key}: {spec!r}: module {module_name} has no {attribute!r}")
    return getattr(module, attribute)


def loaded(load: Callable[[], ModuleType], said: str, name: str) -> ModuleType:
    """A module of the user's. Raises CordError, with the line, where it is not there or fails while it is loaded."""
    try:
        return load()
    except CordError:
        raise
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and name.startswith(error.name):
            raise CordError(
                f"{said}: there is no module {error.name!r}; install it, or put it beside the recipe or where cord is "
                "started"
            ) from None
        where = error.__traceback__
        while where and where.tb_next:
            where = where.tb_next
        place = f"{Path(where.tb_frame.f_code.co_filename).name}, line {where.tb_lineno}" if where else name
        if isinstance(error, SyntaxError) and error.filename:
            place = f"{Path(error.filename).name}, line {error.lineno}"
        raise CordError(f"{said} fails while it is loaded ({place}): {type(error).__name__}: {error}") from None
