"""What Ctrl-C says: how far each part was, where it is kept, and the command that goes on."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence

from cord_distill.common.die_with_parent import PARENT
from cord_distill.common.errors import CordError
from cord_distill.common.progress import unfinished


def stopped_text(arguments: argparse.Namespace, argv: Sequence[str]) -> str:
    """One page for the terminal. argv: of this command, without `cord`. A child of `cord run` says how far it was; the
    rest is its parent's to say."""
    parts = [f"stopped at {line}" for line in unfinished()]
    if PARENT in os.environ:
        return "\n".join(parts)
    where = _folder(arguments)
    kept = f"what was finished is kept in {where}" if where else "what was finished is kept"
    return "\n".join([*(parts or ["stopped"]), f"{kept}; go on with:", f"    cord {shlex.join(argv)}"])


def _folder(arguments: argparse.Namespace) -> str | None:
    """The run folder as the user would type it, None where the command has no recipe."""
    if not getattr(arguments, "recipe", None):
        return None
    from cord_distill.recipe.file import load_recipe
    from cord_distill.run_folder.paths import RunFolder

    try:
        root = RunFolder.of(load_recipe(arguments.recipe, arguments.overrides)).root
    except CordError:
        return None
    return os.path.relpath(root) if root.is_relative_to(os.getcwd()) else str(root)
