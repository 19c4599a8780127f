"""TODO docstring of cord_distill.recipe.experiment."""

from __future__ import annotations

from collections.abc import Sequence

from cord_distill.recipe.file import load_recipe
from cord_distill.recipe.recipe import Recipe


def method_variants(recipe: Recipe, source: str, overrides: Sequence[str]) -> list[Recipe]:
    """One recipe per variant, or the recipe itself."""
    if not recipe.variants:
        return [recipe]
    return [load_recipe(source, overrides, variant=name) for name in recipe.variants]


def picks(recipe: Recipe) -> list[str]:
    """The overrides that pick this one training of its file: its variant, its seed of a list."""
    variant = [f"variant={recipe.variant}"] if recipe.variant else []
    return variant + ([f"seed={recipe.train_seed}"] if recipe.train_seed is not None else [])
