"""Collecting mistakes for `cord check`: a stage raises on the first, the check shows all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cord_distill.common.errors import CordError


def faults_in(call: Callable[..., Any], *args: Any) -> list[str]:
    """What `call(*args)` complains of: one sentence, or none."""
    try:
        call(*args)
    except CordError as error:
        return [str(error)]
    return []
