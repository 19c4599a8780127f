"""Reads the rows of a data set on the hub, and the commit that its name stands for."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.terminal import first_line

COMMIT = re.compile(r"[0-9a-f]{40}")


def hub_rows(
    key: str, name: str, subset: str | None, split: str, revision: str | None, fix: str
) -> tuple[Any, str | None]:
    """(the data set, the commit or None where nobody can say it). key, fix: of the recipe, for the CordError."""
    from datasets import load_dataset

    commit = resolved_commit(name, revision)
    try:
        return load_dataset(name, subset, split=split, revision=commit or revision), commit
    except Exception as error:
        # Whatever a loading script, a parser or the network raises: the data set cannot be had as it is named.
        at = f" at revision {revision!r}" if revision else ""
        raise CordError(
            f"{key}: {name!r}{at} could not be loaded ({first_line(error)}); check the name and the network, or {fix}"
        ) from None


@cache
def resolved_commit(name: str, revision: str | None, timeout: float = 30.0) -> str | None:
    """The commit of a branch or tag (the default branch for None); None for a local folder and without a network."""
    if revision and COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi

    try:
        return HfApi().dataset_info(name, revision=revision, timeout=timeout).sha
    except Exception:  # offline, no such repository: loading says so, or reads what the cache holds
        return None
