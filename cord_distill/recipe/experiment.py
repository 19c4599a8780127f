"""A recipe file as one command was given it: read once, with its methods and variants resolved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cord_distill.recipe.file import RecipeFile
from cord_distill.recipe.recipe import Recipe


@dataclass(frozen=True)
class Experiment:
    """What a command works on. Every stage, page and table takes it, so that all of them see the same file.

    source: as the user typed it. file: as it was read. overrides: `key.sub=value` strings. recipe: the whole recipe
    with the overrides, of the variant that they pick if they pick one.
    """

    source: str
    file: RecipeFile
    overrides: tuple[str, ...]
    recipe: Recipe

    @classmethod
    def load(cls, source: str | Path, overrides: Sequence[str] = ()) -> Experiment:
        """Reads the file. Raises CordError as `load_recipe` does."""
        file = RecipeFile.read(source)
        return cls(str(source), file, tuple(overrides), file.resolve(overrides))

    @property
    def path(self) -> Path:
        return self.file.path

    @cached_property
    def variants(self) -> list[Recipe]:
        """What a stage works on: one recipe per variant, or the recipe itself where it has none or one is picked."""
        return [self.file.resolve(self.overrides, name) for name in self.recipe.variants] or [self.recipe]

    @cached_property
    def whole(self) -> Recipe:
        """The recipe with all its variants, whichever the overrides pick."""
        return self.file.resolve(self._of_all) if len(self._of_all) < len(self.overrides) else self.recipe

    @cached_property
    def methods(self) -> list[Recipe]:
        """What a report is about: one recipe per method, whichever variant or seed the overrides pick."""
        found = [self.file.resolve(self._of_all, name) for name in self.whole.variants] or [self.whole]
        return [recipe.model_copy(update={"train_seed": None}) for recipe in found]

    @property
    def _of_all(self) -> list[str]:
        return [x for x in self.overrides if not x.startswith("variant=")]


def variant_overrides(recipe: Recipe) -> list[str]:
    """The overrides that pick this one training of its file: its variant, its seed of a list, its stage."""
    variant = [f"variant={recipe.variant}"] if recipe.variant else []
    seed = [f"seed={recipe.train_seed}"] if recipe.train_seed is not None else []
    return [*variant, *seed, *([f"stage={recipe.stage}"] if recipe.stage != "train" else [])]
