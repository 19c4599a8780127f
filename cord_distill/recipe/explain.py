"""Turns pydantic's errors about a recipe into sentences: the override or the file and line, the key, what to write."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from cord_distill.common.suggest import did_you_mean
from cord_distill.recipe.recipe import Recipe
from cord_distill.recipe.train_keys import TRAININGS

# Where each key stands in a file, and which override said it.
Where = dict[tuple[str, ...], tuple[Path, int]]
Overridden = dict[tuple[str, ...], str]
# Keys of earlier versions: why each is gone and what to do instead.
REMOVED = {
    "decode.early_start": "it gained nothing measurable; remove the key",
    "data.push_to_hub": "remove the key; `hf upload USER/NAME FOLDER --type dataset --private` uploads the folder",
}
# Likewise values, beside the keys that had them.
REMOVED_VALUES = {
    ("decode.process_reward.engine", "transformers"): "vLLM loads the paper's reward model; write `engine: vllm`",
}
# A section that was given as a plain value, by its class: the key that most people mean, with an example.
PLAIN = {
    "ModelConfig": "model: ./model",
    "MetaProverConfig": "same_as: NAME_OF_A_TEACHER",
    "ProblemsConfig": "path: questions.jsonl",
    "WandbConfig": "mode: disabled",
    "TrackConfig": "wandb: {mode: disabled}",
    "SourceConfig": "path: rows.jsonl, format: messages",
    "JudgeConfig": "engine: server, url: http://127.0.0.1:8000",
    "HardForConfig": "model: ./model",
    "BudgetsConfig": "reasoning_tokens: 16384",
    "LaunchConfig": "accelerate_config: zero3",
    "FiltersConfig": "correct: true",
    "EvaluateConfig": "suites: [aime24]",
    "DataConfig": "filters: {correct: true}",
    "DecodeConfig": "beam_size: 4",
}


def explain(error: ValidationError, where: Where, path: Path, overridden: Overridden) -> str:
    """One sentence per problem: override or file and line, key path, what is wrong, what to write instead."""
    return "\n".join(
        dict.fromkeys(_sentence(item, where, path, overridden) for item in _one_branch(list(error.errors())))
    )


def _sentence(item: Any, where: Where, path: Path, overridden: Overridden) -> str:
    inner = ("function-", "dict[", "list[", "constrained-")
    loc = [str(part) for part in item["loc"] if not str(part).startswith(inner)]
    message = item["msg"].removeprefix("Value error, ")
    if loc[:1] and loc[0] in TRAININGS and message.startswith("["):
        name, _, rest = message[1:].partition("]")
        loc, message = [loc[0], name], name + rest
    place = _place(tuple(loc), where, path, overridden)
    if gone := _gone(item, ".".join(loc)):
        return f"{place}: {gone}"
    kind = item["type"]
    if kind == "extra_forbidden":
        section = _section_at(loc[:-1])
        keys = list(section.model_fields) if section else []
        deeper = _deeper(loc)
        hint = (
            f"did you mean {' or '.join(map(repr, deeper[:3]))}?"
            if deeper
            else did_you_mean(loc[-1], keys, f"known keys here: {', '.join(sorted(keys))}")
        )
        message = f"unknown key; {hint}"
    elif kind in ("model_type", "model_attributes_type") and item["ctx"]["class_name"] in PLAIN:
        message = f"has keys of its own; write {{{PLAIN[item['ctx']['class_name']]}}} (got {item['input']!r})"
    elif kind == "list_type":
        message = f"is a list; write [{item['input']}]" if isinstance(item["input"], str) else message
    elif kind != "value_error":
        message = f"{message} (got {item['input']!r})"
    return f"{place}: {'.'.join(loc)}: {message}" if loc else f"{place}: {message}"


def _place(loc: tuple[str, ...], where: Where, path: Path, overridden: Overridden) -> str:
    """Who said what is wrong: the override of this key or of a section around it, or the nearest line of a file."""
    known = loc
    while known and known not in where and known not in overridden:
        known = known[:-1]
    override = overridden.get(known) if known else None
    if override is None and loc:  # a rule of a section that an override of one of its keys broke
        override = next((text for key, text in overridden.items() if key[: len(loc)] == loc), None)
    if override is not None:
        key, _, value = override.partition("=")
        secret = any(word in key for word in ("token", "secret", "password", "api_key"))
        return f"override '{key}=...'" if secret and value else f"override {override!r}"
    if not known:
        return path.name
    file, line = where[known]
    return f"{file.name}, line {line}"


def _gone(item: Any, key: str) -> str | None:
    """What is said of a key or value that an earlier version had; None for any other mistake."""
    if item["type"] == "extra_forbidden" and key in REMOVED:
        return f"{key} is gone: {REMOVED[key]}"
    value = item.get("input")
    if isinstance(value, str) and item["type"] == "literal_error" and (key, value) in REMOVED_VALUES:
        return f"{key}: {value} is gone: {REMOVED_VALUES[key, value]}"
    return None


def _section_at(loc: list[str]) -> type[BaseModel] | None:
    """The class of the section that `loc` leads to; None where that is no section."""
    here: Any = Recipe
    free = 0  # the user's own names of a mapping that stand before the section's keys
    for part in loc:
        if free:
            free -= 1
            continue
        if part.isdigit():
            continue
        field = here.model_fields.get(part)
        here, free = _section_in(field.annotation) if field else (None, 0)
        if here is None:
            return None
    return here


def _section_in(annotation: Any) -> tuple[type[BaseModel] | None, int]:
    """(the class of the section in a key's type, how many mappings are around it)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, 0
    for part in get_args(annotation):
        found, free = _section_in(part)
        if found:
            return found, free + (get_origin(annotation) is dict)
    return None, 0


def _one_branch(items: list[Any]) -> list[Any]:
    """Of a value that may be a text or a section (`evaluate.data`), what is said of the one that was given."""
    kept = []
    for item in items:
        branch = next((i for i, part in enumerate(item["loc"]) if str(part).endswith("Config")), None)
        if branch is not None:
            if item["type"].startswith("model_"):  # neither text nor section: the text's branch says so
                continue
            item = {**item, "loc": (*item["loc"][:branch], *item["loc"][branch + 1 :])}
        elif item["loc"][-1:] == ("str",):
            if isinstance(item["input"], dict):
                continue
            item = {**item, "loc": item["loc"][:-1]}
        kept.append(item)
    return kept


def _deeper(loc: list[str]) -> list[str]:
    """The dotted names of a key of this name in the sections below the one that was given it, the nearest ones. Models
    are left out: each has the same keys."""
    level = [(loc[:-1], section)] if (section := _section_at(loc[:-1])) else []
    while level:
        level = [
            ([*at, name], below)
            for at, here in level
            for name, field in here.model_fields.items()
            if (below := _section_in(field.annotation)[0])
            and not re.search(r"(list|dict)\[", str(field.annotation))
            and "model" not in below.model_fields
        ]
        found = [".".join([*at, loc[-1]]) for at, here in level if loc[-1] in here.model_fields]
        if found:
            return found
    return []
