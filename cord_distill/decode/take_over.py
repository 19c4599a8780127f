"""Variants that differ only behind decoding (data rules, trainings) are decoded once: all take the first one's rows."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from cord_distill.decode.inputs import decode_inputs
from cord_distill.recipe.file import recipe_hash
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.journal import FIGURES, Claim, Journal
from cord_distill.run_folder.journal_header import Header
from cord_distill.run_folder.paths import RunFolder
from cord_distill.types import Problem


def twins_of(recipes: Sequence[Recipe], siblings: Sequence[Recipe] = ()) -> list[Recipe | None]:
    """Returns, for each recipe, the one whose rows it takes, since both decode the same with the same seeds: the first
    of those before it, or else one of `siblings` that an earlier command decoded; None without one."""
    keys = [recipe_hash(decode_inputs(recipe)) for recipe in recipes]
    own = {RunFolder.of(recipe).journal for recipe in recipes}
    decoded: dict[str, Recipe] = {}
    for one in siblings:
        folder = RunFolder.of(one).journal
        header = None if folder in own else Header.read(folder)
        if header and header.fingerprint in keys and header.fingerprint == recipe_hash(decode_inputs(one)):
            decoded.setdefault(header.fingerprint, one)
    first: dict[str, Recipe] = {}
    twins = []
    for key, recipe in zip(keys, recipes, strict=True):
        twins.append(first.get(key) or decoded.get(key))
        first.setdefault(key, recipe)
    return twins


def take_over(source: Journal, journal: Journal, problems: Sequence[Problem]) -> int:
    """Copies the finished rows of `source` that `journal` lacks, and what decoding them took; returns how many."""
    lacking = [one for one in problems if source.is_finished(one) and not journal.is_finished(one)]
    if lacking and journal.first:
        _copy_figures(source.path / FIGURES, journal.path / FIGURES)
    for problem, row in zip(lacking, source.rows(lacking), strict=True):
        # Another process may have begun it here; it ends it then.
        if journal.claim(problem) is Claim.OURS:
            journal.finish(problem, row)
    return journal.written


def _copy_figures(source: Path, target: Path) -> None:
    """Copies the seconds and tokens of the decoding that made the rows, where this journal has none of its own."""
    if not any(target.glob("*.json")):
        for file in source.glob("*.json"):
            shutil.copy2(file, target / file.name)
