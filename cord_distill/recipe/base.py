"""What all sections of a recipe share: the strict base class, and the types of names, shares and plug-ins."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def _no_switch(value: Any) -> Any:
    """YAML reads `yes`, `on` and `true` as a truth value, and pydantic would make 1 of it."""
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} is no number; write one from 1 on")
    return value


Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0), BeforeValidator(_no_switch)]


def _module_function(value: str) -> str:
    module, _, function = value.partition(":")
    if not module or not function.isidentifier():
        raise ValueError(f"{value!r} is not of the form package.module:function")
    return value


def _folder_name(value: str) -> str:
    if not value or value.startswith(".") or set(value) & set("/\\\0"):
        raise ValueError(f"{value!r} names a folder: no slashes, no leading dot")
    return value


def _one_group(value: str) -> str:
    try:
        groups = re.compile(value).groups
    except re.error as error:
        raise ValueError(f"{value!r} is no regular expression ({error})") from None
    if groups != 1:
        raise ValueError(f"{value!r} has {groups} groups; put the answer, and nothing else, into one: '#### (.+)'")
    return value


# A regular expression whose one group finds the known answer.
AnswerPattern = Annotated[str, AfterValidator(_one_group)]


class Section(BaseModel):
    """The base of all sections. The text below a key explains it in docs/recipe.md and in an editor's schema."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), use_attribute_docstrings=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        for field in cls.model_fields.values():
            field.description = " ".join((field.description or "").split())  # one line, however it is wrapped here


FolderName = Annotated[str, AfterValidator(_folder_name)]


PlugIn = Annotated[str, AfterValidator(_module_function)]
