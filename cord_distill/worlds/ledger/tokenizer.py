"""The ledger's words, and its Hugging Face tokenizer: WordLevel + Split + Fuse, exact in both directions.

Every look-up of the task is one token: an operation (` Add 5`), a digit (`2`), the number of a box with its blank
(` 2`). So is what is always said in the same words: a trace of six steps has about 80 tokens.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from cord_distill.types import THINK_CLOSE
from cord_distill.worlds.ledger.world import OPS, RULE, say

PAD, UNKNOWN, END, USER, ASSISTANT, THINK = "<|pad|>", "<|unknown|>", "<|end|>", "<|user|>", "<|assistant|>", "<think>"
_SPECIAL = (PAD, UNKNOWN, END, USER, ASSISTANT)
_TAGS = (THINK, THINK_CLOSE)  # added tokens, but not special: decoding must not skip them
BOX = "The answer is \\boxed{"
_PHRASES = (
    *(RULE, ". Box ", ". What is in boxes", ". What is in box", "### Step", BOX),
    *(". It was ", ". We", " have ", ", so box", ", hence box", ". Wait, box", ". Check: box", " = "),
    *(f" {say(op)}" for op in OPS),
)
_WORDS = (
    *_PHRASES,
    *("}", "\n\n", "\n", " ", ".", ":", ",", "?"),
    *(str(i) for i in range(10)),
    *(f" {i}" for i in range(10)),
)
# Words of the world with tails alone. They come last, so that all others have the same ids in both worlds.
_AGAIN = (" Check again: box", " Hold on: box", " In sum: box", ", box")
VOCABULARY = {word: i for i, word in enumerate((*_SPECIAL, *_TAGS, *_WORDS))}
WITH_TAILS = {word: i for i, word in enumerate((*VOCABULARY, *_AGAIN))}
MAX_LENGTH = 512


def _split(*phrases: str) -> str:
    return "|".join(re.sub(r"([\\{.?+])", r"\\\1", phrase) for phrase in phrases) + r"|\n\n| ?[A-Za-z]+| \d|[\s\S]"


SPLIT, SPLIT_WITH_TAILS = _split(*_PHRASES), _split(*_PHRASES, *_AGAIN)
_ENCODE = re.compile("|".join(map(re.escape, (*_SPECIAL, *_TAGS))) + "|" + SPLIT_WITH_TAILS)

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'user' -%}{{- '<|user|>' + message['content'] -}}"
    "{%- elif message['role'] == 'assistant' -%}{{- '<|assistant|>' + message['content'] + '<|end|>' -}}"
    "{%- else -%}{{- raise_exception('the ledger template knows the roles user and assistant only') -}}"
    "{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|><think>\n' -}}{%- endif -%}"
)


@lru_cache(maxsize=4096)
def encode(text: str) -> tuple[int, ...]:
    """The ids that the saved tokenizer gives, without loading it (training makes thousands of traces).

    Of a text with tails those of the world with tails.
    """
    return tuple(WITH_TAILS.get(word, WITH_TAILS[UNKNOWN]) for word in _ENCODE.findall(text))


def save_tokenizer(folder: Path, tails: bool = False) -> None:
    """Write tokenizer.json, tokenizer_config.json and chat_template.jinja, as `save_pretrained` would.

    Written without transformers, whose import would be a tenth of the whole build.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    words, split = (WITH_TAILS, SPLIT_WITH_TAILS) if tails else (VOCABULARY, SPLIT)
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(split), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in _SPECIAL])
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=False) for t in _TAGS])
    tokenizer.save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": PAD,
        "unk_token": UNKNOWN,
        "eos_token": END,
        "clean_up_tokenization_spaces": False,
        "model_max_length": MAX_LENGTH,
        "padding_side": "right",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
