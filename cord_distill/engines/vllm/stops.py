"""Stop strings are looked for when a token can end one, in place of decoding every token of every request.

vLLM turns each token into text as it comes and searches that text, in the process of the event loop. A search wants
the text once, at the end: only a token that may complete a stop string is decoded before, with the few before it.
Tokenizers whose tokens are bytes (ByteLevel: Qwen, Llama 3, Phi-4, DeepSeek) can say which those are; others keep
vLLM's way.

One difference: a stop string is found at its last byte, where vLLM waits while a character behind it is incomplete.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tokenizers import Tokenizer, decoders
from transformers.convert_slow_tokenizer import bytes_to_unicode
from vllm.v1.engine.detokenizer import IncrementalDetokenizer, check_stop_strings

from cord_distill.engines.vllm.shims import BY_BYTES
from cord_distill.prompts.render import REPLACEMENT


def install() -> None:
    """Harmless twice."""
    made = IncrementalDetokenizer.from_new_request
    if getattr(made, "cord_stops", False):
        return

    def from_new_request(cls: Any, tokenizer: Any, request: Any) -> Any:
        asked = tokenizer is not None and (request.sampling_params.extra_args or {}).get(BY_BYTES)
        core = getattr(tokenizer, "_tokenizer", None)
        if not asked or not isinstance(core, Tokenizer) or not isinstance(core.decoder, decoders.ByteLevel):
            return made(tokenizer, request)
        return StopFinder(core, list(request.sampling_params.stop or ()))

    from_new_request.cord_stops = True  # type: ignore[attr-defined]
    IncrementalDetokenizer.from_new_request = classmethod(from_new_request)


class StopFinder(IncrementalDetokenizer):
    """The detokeniser of one request. stop: the one that is complete first ends the text."""

    def __init__(self, core: Tokenizer, stop: list[str]) -> None:
        super().__init__()
        self._core, self._stop = core, stop
        self._enders = enders(core, tuple(stop))
        # A token is one byte at least.
        self._window = max((len(s.encode()) for s in stop), default=0)
        self._text: str | None = None
        self._ends_in_stop_token = False

    def update(self, new_token_ids: list[int], stop_terminated: bool) -> str | None:
        for i, token in enumerate(new_token_ids):
            self.token_ids.append(token)
            if stop_terminated and i == len(new_token_ids) - 1:  # by a token that is no text
                self._ends_in_stop_token = True
            elif token in self._enders and (found := self._found()):
                return found
        return None

    def _found(self) -> str | None:
        near = self._core.decode(self.token_ids[-self._window :], skip_special_tokens=False)
        if not any(stop in near for stop in self._stop):
            return None
        text = self._core.decode(self.token_ids, skip_special_tokens=False)
        found = check_stop_strings(text, len(text), self._stop, include_in_output=False)
        if found is None:
            return None
        self._text = text[: found[1]]
        return found[0]

    def get_next_output_text(self, finished: bool, delta: bool) -> str:
        if self._text is None:
            ids = self.token_ids[:-1] if self._ends_in_stop_token else self.token_ids
            # As vLLM's stream, which never gives out a character before it is whole.
            self._text = self._core.decode(ids, skip_special_tokens=False).rstrip(REPLACEMENT)
        return self._text


@lru_cache(maxsize=64)
def enders(core: Tokenizer, stop: tuple[str, ...]) -> frozenset[int]:
    """The tokens that may be the last of a stop string: that hold it, or begin with an end of it."""
    whole = [s.encode() for s in stop]
    ends = tuple({s[i:] for s in whole for i in range(len(s))})
    return frozenset(
        token for token, said in token_bytes(core).items() if said.startswith(ends) or any(s in said for s in whole)
    )


@lru_cache(maxsize=16)
def token_bytes(core: Tokenizer) -> dict[int, bytes]:
    """Every token's bytes. ByteLevel writes a byte as one character; added tokens stand for their own text."""
    byte_of = {char: byte for byte, char in bytes_to_unicode().items()}
    added = {token: one.content.encode() for token, one in core.get_added_tokens_decoder().items()}
    plain = {
        token: bytes(byte_of[char] for char in said)
        for said, token in core.get_vocab(with_added_tokens=False).items()
        if all(char in byte_of for char in said)
    }
    return {**plain, **added}
