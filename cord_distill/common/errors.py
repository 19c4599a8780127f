"""Defines the one error that users see: a sentence that names the key or file and contains the fix."""

from collections.abc import Callable
from typing import Any

from cord_distill.common.exit_codes import MISTAKE, TOO_MANY_FAILED


class CordError(Exception):
    """Something the user can mend. The command line prints it as one line, without a traceback, and exits with 2."""

    exit_code = MISTAKE


class TooManyFailed(CordError):
    """More than `decode.max_failed_share` of the problems failed."""

    exit_code = TOO_MANY_FAILED


class PluginError(Exception):
    """A user's function failed on one problem, or gave what it must not: it costs that problem alone."""


class Taken(CordError):
    """Another process holds the lock of what is asked for."""


def faults_in(call: Callable[..., Any], *args: Any) -> list[str]:
    """What `call(*args)` complains of, one sentence or none; `cord check` shows more than the first fault."""
    try:
        call(*args)
    except CordError as error:
        return [str(error)]
    return []
