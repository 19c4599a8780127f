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


# Control characters, marks that change the direction of writing, invisible ones, and halves of characters.
_NO_NAME = re.compile(
    "[\0-\x1f\x7f-\xa0\u00ad\u061c\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff/\\\\]"
)
LONGEST_NAME = 160
# What lies in a run folder beside the folders of its variants.
IN_THE_RUN_FOLDER = {
    "ablations.json", "ablations.md", "checkpoints", "dataset", "eval", "generate_stats.json", "journal",
    "journal.jsonl", "problem_filter", "problems.jsonl", "recipe.yaml", "report.html", "report.md", "shards",
    "stages.json", "stale", "summary.json", "trajectories.jsonl", "view.html", "wandb",
}  # fmt: skip


def folder_name(value: str) -> str:
    """The name, if it is one of a plain folder that every terminal and table can show. Raises ValueError."""
    if not value or value.startswith(".") or value != value.strip() or _NO_NAME.search(value):
        raise ValueError(f"{value!r} names a folder: no slashes, no leading dot, no control or invisible characters")
    if len(value.encode()) > LONGEST_NAME:
        raise ValueError(f"{value[:40]!r}... names a folder: {len(value.encode())} bytes are more than {LONGEST_NAME}")
    return value


def _variant_name(value: str) -> str:
    if folder_name(value).lower() in IN_THE_RUN_FOLDER:
        raise ValueError(f"{value!r} is the name of something in the run folder: give the variant another name")
    return value


def check_url(url: str) -> str:
    """The address of a server, as it may stand in a report. Raises ValueError."""
    if not url.startswith(("http://", "https://")) or any(sign.isspace() or not sign.isprintable() for sign in url):
        raise ValueError(f"url: {url!r} is no address; write it like http://127.0.0.1:8000")
    rest = url.partition("://")[2]
    if "@" in rest.partition("/")[0]:
        raise ValueError(
            "url: holds a name and password, which would stand in reports: take them out, and name the environment "
            "variable of the key in api_key_env"
        )
    if "?" in rest or "#" in rest:
        raise ValueError(
            "url: holds a query, which would stand in reports: give the address alone, keys by api_key_env"
        )
    return url


# Readers of files that `datasets` has, which people give in place of a data set.
READERS = {
    "arrow", "audiofolder", "csv", "generator", "imagefolder", "json", "jsonl", "pandas", "parquet", "sql", "text",
    "webdataset", "xml",
}  # fmt: skip


def check_source(section: BaseModel) -> None:
    """The hub's keys of a section with `path` and `dataset`. Raises ValueError at a reader's name in place of a hub id,
    and at keys of the hub that say nothing where there is no data set."""
    dataset = getattr(section, "dataset", None)
    if dataset in READERS:
        raise ValueError(f"dataset: {dataset!r} is a reader of `datasets`, no hub id: give the file, path: FILE.jsonl")
    if dataset:
        return
    other = next((key for key in ("path", "builder") if getattr(section, key, None)), None)
    useless_keys(section, ("split", "subset", "revision"), other, "are of a hub data set")


def useless_keys(section: BaseModel, keys: tuple[str, ...], beside: str | None, why: str) -> None:
    """Raises ValueError naming those of `keys` that are set, beside a key with which they do nothing."""
    fields = type(section).model_fields
    found = [key for key in keys if getattr(section, key) != fields[key].default]
    if found and beside:
        does = "does" if len(found) == 1 else "do"
        default = fields[found[0]].default
        back = "null" if default is None else default
        raise ValueError(
            f"{', '.join(found)} {does} nothing beside {beside} ({', '.join(keys)} {why}): leave {found[0]} out, or "
            f"take it back with {found[0]}={back}"
        )


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

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), use_attribute_docstrings=True, allow_inf_nan=False
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        for field in cls.model_fields.values():
            field.description = " ".join((field.description or "").split())  # one line, however it is wrapped here


FolderName = Annotated[str, AfterValidator(folder_name)]
VariantName = Annotated[str, AfterValidator(_variant_name)]


PlugIn = Annotated[str, AfterValidator(_module_function)]
