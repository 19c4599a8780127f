"""Whether two models write the same tokens under the same ids, from their tokenizer files alone: nothing is loaded.

Distillation compares two distributions over ids. Where an id means another token to the teacher, its opinion is about
another text; TRL itself looks only at the number of ids.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError

TOKENIZER, CONFIG = "tokenizer.json", "config.json"


@dataclass(frozen=True)
class Vocabulary:
    """tokens: by id, added ones included. size: ids that the model's head covers; None = the config does not say."""

    tokens: dict[int, str]
    size: int | None

    @property
    def ids(self) -> dict[str, int]:
        return {token: number for number, token in self.tokens.items()}


def difference(student: Vocabulary, teacher: Vocabulary) -> str | None:
    """Why a teacher of one vocabulary cannot correct a student of the other, as half a sentence; None where it can.

    Tokens that only one of the two knows, at ids that the other has no token for, are no hindrance.
    """
    for number in sorted({*student.tokens} & {*teacher.tokens}):
        ours, theirs = student.tokens[number], teacher.tokens[number]
        if ours != theirs:
            return f"id {number} is {theirs!r} to the teacher and {ours!r} to the student"
    known = teacher.ids
    for token, number in student.ids.items():
        if known.get(token, number) != number:
            return f"{token!r} is id {known[token]} to the teacher and {number} to the student"
    if student.size is not None and teacher.size is not None and student.size != teacher.size:
        return (
            f"the teacher's head has {teacher.size} words and the student's {student.size} (vocab_size in config.json)"
        )
    return None


@cache
def vocabulary(path: str, revision: str | None = None) -> Vocabulary:
    """The vocabulary of a model folder, or of a hub id, of which only two files are fetched. Raises CordError."""
    tokenizer, config = _file(path, TOKENIZER, revision), _file(path, CONFIG, revision)
    try:
        values = json.loads(tokenizer.read_text(encoding="utf-8"))
        sizes = json.loads(config.read_text(encoding="utf-8"))
        tokens = {number: token for token, number in _pairs(values["model"]["vocab"])}
        tokens |= {int(added["id"]): str(added["content"]) for added in values.get("added_tokens") or []}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CordError(f"{path}: its vocabulary cannot be read ({type(error).__name__}: {error})") from None
    text = sizes.get("text_config") or sizes
    return Vocabulary(tokens, text.get("vocab_size"))


def _pairs(vocab: Any) -> list[tuple[str, int]]:
    """BPE and words: a mapping; unigram: a list of (token, score) by id."""
    if isinstance(vocab, dict):
        return list(vocab.items())
    return [(entry[0], number) for number, entry in enumerate(vocab)]


def _file(path: str, name: str, revision: str | None) -> Path:
    folder = Path(path)
    if folder.is_dir():
        if not (folder / name).is_file():
            raise CordError(f"{path} holds no {name}: the vocabulary is read from it")
        return folder / name
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(path, name, revision=revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise CordError(f"{path}: {name} is not on this machine and cannot be fetched ({reason})") from None
