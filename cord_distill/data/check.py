"""Checks the `data` section before anything is decoded: opens every file that it names and reads the first rows."""

from __future__ import annotations

from itertools import islice

from cord_distill.common.errors import CordError
from cord_distill.data.decontaminate import Contamination
from cord_distill.data.sources import incoming
from cord_distill.model_files.locate import is_on_the_hub
from cord_distill.recipe.data import SourceConfig
from cord_distill.recipe.recipe import Recipe

FIRST_ROWS = 20


def data_faults(recipe: Recipe) -> list[str]:
    """One sentence per mistake."""
    found = []
    data = recipe.data
    if data.filters.steps_right and recipe.teachers and not (recipe.problems and recipe.problems.process_check):
        found.append(
            "data.filters.steps_right keeps only traces that pass problems.process_check, and the recipe names none: "
            "give one, or remove the filter"
        )
    for number, source in enumerate(data.sources):
        try:
            _read_first_rows(source, recipe)
        except CordError as error:
            text = str(error)
            found.append(text if text.startswith("data.sources") else f"data.sources.{number}: {text}")
    for file in data.decontaminate:
        try:
            Contamination.load([file], recipe.problems.question if recipe.problems else None)
        except CordError as error:
            found.append(str(error))
    return found


def _read_first_rows(source: SourceConfig, recipe: Recipe) -> None:
    if source.path is None and is_on_the_hub(source.dataset or ""):
        return
    if not list(islice(incoming(source, recipe.data.filters, None), FIRST_ROWS)):
        raise CordError(f"{source.path or source.dataset}: holds no rows")
