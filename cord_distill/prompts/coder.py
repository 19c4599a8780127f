"""Encodes the pieces of a trace so that their ids, one after another, are the ids of the whole text, and decodes them.

Tokenizers of the SentencePiece kind (Llama 2, Mistral v0.3: Metaspace, or a normaliser that prepends) put a blank
before every text that they are given, and their decoders take one away; GPT-2's kind has such a switch as well. A
trace is encoded step by step, so each step would get a blank of its own. Here that blank is switched off in a copy of
the tokenizer. A prompt begins a text and is read as the model's own tokenizer reads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cord_distill.prompts.foreign import CUT, uncut

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Offsets = list[tuple[int, int]]


class Coder:
    """Encodes and decodes the pieces of a prompt and a trace for a Renderer. tokenizer: a fast one of transformers,
    which is left as it is."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    @cached_property
    def _without_blank(self) -> Tokenizer | None:
        return without_blank(self.tokenizer.backend_tokenizer)

    @cached_property
    def _decode(self) -> Any:
        """The Rust decoder, None where the tokenizer's class decodes in a way of its own.

        It gives the same text at a third of the cost, and decoding runs twice for each proposal.
        """
        if self._without_blank is not None:
            return self._without_blank.decode
        from transformers import TokenizersBackend

        kind = type(self.tokenizer)
        own = any(getattr(kind, name) is not getattr(TokenizersBackend, name) for name in ("decode", "_decode"))
        return None if own else self.tokenizer.backend_tokenizer.decode

    def encode(self, text: str) -> list[int]:
        """Ids of a text that stands behind another one. It may hold cuts (foreign.py)."""
        if CUT in text:
            return [i for piece in text.split(CUT) for i in self.encode(piece)]
        if self._without_blank is not None:
            return self._without_blank.encode(text, add_special_tokens=False).ids
        return self.tokenizer.encode(text, add_special_tokens=False)

    def encode_first(self, text: str) -> list[int]:
        """Ids of a text that begins all, as the model's own tokenizer reads it. It may hold cuts."""
        head, cut, rest = text.partition(CUT)
        return [*self.tokenizer.encode(head, add_special_tokens=False), *(self.encode(rest) if cut else ())]

    def encode_with_offsets(self, text: str) -> tuple[list[int], Offsets]:
        """As `encode`, and for each id the characters [start, end) that it covers, cuts not counted."""
        ids: list[int] = []
        offsets: Offsets = []
        begun = 0
        for piece in text.split(CUT):
            out = (self._without_blank or self.tokenizer.backend_tokenizer).encode(piece, add_special_tokens=False)
            ids += out.ids
            offsets += [(begun + start, begun + end) for start, end in out.offsets]
            begun += len(piece)
        return ids, offsets

    def decode(self, ids: list[int]) -> str:
        if self._decode is not None:
            return self._decode(ids, skip_special_tokens=False)
        return self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def seam_fault(self, first: str, *pieces: str) -> str | None:
        """What goes wrong where texts that are encoded alone meet, as one sentence; None where all comes back.

        first: what all begins with (a prompt). The model's own tokenizer may read blanks into it, and nothing else.
        """
        ids = self.encode_first(first)
        for piece in pieces:
            ids += self.encode(piece)
        head, tail = uncut(first), uncut("".join(pieces))
        back = self.decode(ids)
        if back.endswith(tail):
            begun = back.removesuffix(tail)
            if begun == head or "".join(begun.split()) == "".join(head.split()):
                return None
        text = head + tail
        at = next((i for i, (a, b) in enumerate(zip(back, text, strict=False)) if a != b), min(len(back), len(text)))
        near = slice(max(0, at - 20), at + 20)
        return (
            f"its tokenizer gives back {back[near]!r} for {text[near]!r}, so a trace would change on its way "
            "from model to model; take a model whose tokenizer keeps its text, and if this one should, see that "
            "config.json lies beside its tokenizer files (without it another class is loaded) and that transformers is "
            "new enough for it"
        )


def without_blank(backend: Tokenizer) -> Tokenizer | None:
    """A copy that puts no blank before a text and takes none away; None where the tokenizer is such a one already."""
    parts = {name: _state(getattr(backend, name)) for name in ("normalizer", "pre_tokenizer", "decoder")}
    if not puts_blanks(parts):
        return None
    from tokenizers import Tokenizer

    whole = json.loads(backend.to_str()) | {name: _no_prefix(part) for name, part in parts.items()}
    return Tokenizer.from_str(json.dumps(whole))


def _state(component: Any) -> Any:
    return None if component is None else json.loads(component.__getstate__())


def puts_blanks(parts: Mapping[str, Any]) -> bool:
    """Whether a tokenizer, by the components of its tokenizer.json, puts a blank before every text that it is given."""
    return any(_no_prefix(parts.get(name)) != parts.get(name) for name in ("normalizer", "pre_tokenizer"))


def _no_prefix(part: Any) -> Any:
    """One component of a tokenizer.json, without the members that put a blank first or strip it."""
    if not isinstance(part, dict):
        return part
    kind = part.get("type")
    if kind == "Prepend" or (kind == "Strip" and part.get("start")):
        return None
    if kind == "Metaspace" and part.get("prepend_scheme") != "never":
        return {**{key: value for key, value in part.items() if key != "add_prefix_space"}, "prepend_scheme": "never"}
    if kind == "ByteLevel" and part.get("add_prefix_space"):
        return {**part, "add_prefix_space": False}
    for members in ("normalizers", "pretokenizers", "decoders"):
        if part.get(members):
            kept = [changed for member in part[members] if (changed := _no_prefix(member)) is not None]
            return {**part, members: kept}
    return part
