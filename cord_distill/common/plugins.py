"""Loads and calls plug-ins, which recipes name as `package.module:function`."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.suggest import nearest
from cord_distill.common.terminal import one_line


def search_beside(folder: Path) -> None:
    """Adds the recipe's folder to where plug-ins are looked for, behind all that is installed."""
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


def takes(function: Callable[..., Any], asked: int, given: dict[str, Any], key: str, spec: str, args: str) -> None:
    """Raises CordError for arguments that a plug-in does not take, before anything heavy is loaded.

    asked: how many places we fill ourselves. key: of the plug-in. args: the recipe's key of `given`.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a builtin without a signature
        return
    names = list(signature.parameters)[asked:]
    any_name = any(one.kind is one.VAR_KEYWORD for one in signature.parameters.values())
    odd = next((name for name in given if name not in names and not any_name), None)
    if odd is not None:
        near = nearest(odd, names)
        hint = f"did you mean {args}.{near}?" if near else f"there are: {', '.join(names) or 'none'}"
        raise CordError(f"{args}.{odd}: {key} {spec!r} takes no argument {odd!r}; {hint}")
    try:
        signature.bind(*[None] * asked, **given)
    except TypeError as error:
        raise CordError(f"{key}: {spec!r} cannot be called with {args} {given}: {error}") from None


def loaded(load: Callable[[], ModuleType], what: str, name: str) -> ModuleType:
    """A module of the user's. Raises CordError, with the line, where it is not there or fails while it is loaded."""
    try:
        return load()
    except CordError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and name.startswith(error.name):
            raise CordError(
                f"{what}: there is no module {error.name!r}; install it, or put it beside the recipe or where cord is "
                "started"
            ) from None
        raise CordError(f"{what} fails while it is loaded ({_place(error)}): {_message(error)}") from None


@contextlib.contextmanager
def plugin_call(
    what: str, *passed: type[BaseException], raises: Callable[[str], Exception] = CordError
) -> Iterator[None]:
    """Turns what a user's function raises into one sentence with its file and line; its `sys.exit` ends nothing.

    passed: exceptions that stay what they are. raises: what the others become.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, (CordError, *passed)):
            raise
        raise raises(f"{what} failed ({_place(error)}): {_message(error)}") from error


def _message(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it ends the program (sys.exit({error.code!r})); let it return or raise"
    return one_line(f"{type(error).__name__}: {error}")


def _place(error: BaseException) -> str:
    """The file and line where a user's code failed."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}, line {error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/wandb/" not in frame.filename]
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else "unknown place"
