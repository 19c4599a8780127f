"""The methods of a recipe: one recipe per variant, and the overrides that pick one of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cord_distill.recipe.file import load_recipe
from cord_distill.recipe.recipe import Recipe


def method_variants(recipe: Recipe, source: str, overrides: Sequence[str]) -> list[Recipe]:
    """One recipe per variant, or the recipe itself."""
    if not recipe.variants:
        return [recipe]
    return [load_recipe(source, overrides, variant=name) for name in recipe.variants]


def variant_overrides(recipe: Recipe) -> list[str]:
    """The overrides that pick this one training of its file: its variant, its seed of a list, its stage."""
    variant = [f"variant={recipe.variant}"] if recipe.variant else []
    seed = [f"seed={recipe.train_seed}"] if recipe.train_seed is not None else []
    return [*variant, *seed, *([f"stage={recipe.stage}"] if recipe.stage != "train" else [])]


def method_recipes(recipe_source: str | Path, overrides: Iterable[str] = ()) -> list[Recipe]:
    """One resolved recipe per method: per variant, or the recipe itself where it has none; no seed of a list picked."""
    kept = [x for x in overrides if not x.startswith("variant=")]
    whole = load_recipe(recipe_source, kept)
    found = [load_recipe(recipe_source, kept, variant=v) for v in whole.variants] or [whole]
    return [recipe.model_copy(update={"train_seed": None}) for recipe in found]
