"""The teacher of `distil:`: one of the recipe's or any model, checked to share the student's vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.suggest import did_you_mean
from cord_distill.model_files.content import model_identity
from cord_distill.model_files.locate import is_on_the_hub, model_path
from cord_distill.recipe.recipe import Recipe
from cord_distill.training.vocabulary import difference, vocabulary


@dataclass(frozen=True, slots=True)
class Teacher:
    """The model that corrects the student. path: a folder or a hub id, at `revision`."""

    label: str
    path: str
    revision: str | None = None

    @property
    def identity(self) -> str:
        """Identifies the teacher by content: another value when its files change."""
        return model_identity(self.path) if Path(self.path).is_dir() else f"{self.path}@{self.revision}"


def checked_teacher(recipe: Recipe, name: Any, student: str) -> Teacher:
    """The teacher that `distil.teacher` names, or where that is None the recipe's only one of the student's vocabulary.

    Raises CordError before anything is loaded: it is not there, it has another vocabulary, none or several could be it.
    """
    if name is None:
        return _the_only_one(recipe, student)
    teacher = named_teacher(recipe, str(name))
    why = difference(vocabulary(student), vocabulary(teacher.path, teacher.revision))
    if why is None:
        return teacher
    fits = ", ".join(one.label for one in of_one_vocabulary(recipe, student)) or "none"
    raise CordError(
        f"distil.teacher {name} does not share the student's vocabulary: {why}. Of the recipe's teachers these do: "
        f"{fits}; any model of the student's family would do"
    )


def named_teacher(recipe: Recipe, name: str) -> Teacher:
    """One of `teachers:` by its name, or a model as any other key names one. Raises CordError where it is not there."""
    for i, one in enumerate(recipe.teachers):
        if one.label == name:
            return Teacher(name, model_path(recipe, one.model, f"teachers.{i}.model"), one.revision)
    refuse_no_teacher(recipe, name)
    return Teacher(name.rstrip("/").rsplit("/", 1)[-1], model_path(recipe, name, "distil.teacher"))


def refuse_no_teacher(recipe: Recipe, name: str) -> None:
    """Raises CordError where `distil.teacher` is no name of a teacher, no path and no hub id."""
    labels = [one.label for one in recipe.teachers]
    if name in labels or not is_on_the_hub(name) or "/" in name:
        return
    hint = did_you_mean(name, labels, f"the recipe's teachers are: {', '.join(labels) or 'none'}")
    raise CordError(f"distil.teacher: {name!r} names no teacher, and is no path or hub id (ORG/NAME); {hint}")


def of_one_vocabulary(recipe: Recipe, student: str, only_here: bool = False) -> list[Teacher]:
    """The recipe's teachers that share the student's vocabulary, each model once; those not here are passed over.

    only_here: look nothing up on the hub.
    """
    found: dict[str, Teacher] = {}
    for one in recipe.teachers:
        try:
            teacher = named_teacher(recipe, one.label)
            if only_here and is_on_the_hub(teacher.path):
                continue
            if difference(vocabulary(student), vocabulary(teacher.path, teacher.revision)) is None:
                found.setdefault(f"{teacher.path}@{teacher.revision}", teacher)
        except CordError:
            continue
    return list(found.values())


def _the_only_one(recipe: Recipe, student: str) -> Teacher:
    found = of_one_vocabulary(recipe, student)
    if len(found) == 1:
        return found[0]
    names = ", ".join(one.label for one in found)
    raise CordError(
        "distil.teacher is missing: "
        + (
            f"these teachers share the student's vocabulary: {names}; pick one, e.g. distil.teacher={found[0].label}"
            if found
            else "none of the recipe's teachers shares the student's vocabulary; name a model of the student's family"
        )
    )
