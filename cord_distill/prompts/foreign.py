"""Keeps the control tokens that foreign text (questions, steps, rows of files) spells as the text that they are.

A `<|im_end|>` inside a question would else end the user's turn. Such a text gets a cut inside each control token, and
`Coder` encodes what lies between the cuts one after another: the ids decode to the same text and hold no control token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Two noncharacters of Unicode, which no text for interchange holds. One that does is cut between them and stays whole.
CUT = "\ufdd0\ufdd1"
# How the usual families write their control tokens: `<|im_end|>`, `<｜User｜>`, `<end_of_turn>`, `[/INST]`.
# The first character of each is found, so that one inside another is found too.
SPELLED = re.compile(
    r"(?=<[|｜][^<>|｜\s]{1,64}[|｜]?>|<[^<>|｜\s]{1,64}[|｜]>|</?s>|<</?SYS>>"
    r"|<(?:bos|eos|pad|unk|sop|eop|start_of_turn|end_of_turn|BOS_TOKEN|EOS_TOKEN)>"
    r"|\[/?(?:gMASK|INST|SYSTEM_PROMPT|THINK|ARGS|CALL_ID|AVAILABLE_TOOLS|TOOL_(?:CALLS|CONTENT|RESULTS))\])[<\[]"
)


class Guard:
    """Cuts texts inside the control tokens of one tokenizer. tokens: as they are written."""

    def __init__(self, tokens: Iterable[str]) -> None:
        # A token of one character cannot be cut; no published tokenizer has such a control token.
        self.tokens = {token for token in tokens if len(token) > 1} | {CUT}
        self.lengths = sorted({len(token) for token in self.tokens})
        self.starts = re.compile("|".join(sorted({re.escape(token[0]) for token in self.tokens})))

    def __call__(self, text: str) -> str:
        """`text` with a CUT behind the first character of every control token that stands in it, overlapping ones too.

        An ordinary text comes back as it is.
        """
        at = [
            match.start() + 1
            for match in self.starts.finditer(text)
            if any(text[match.start() : match.start() + length] in self.tokens for length in self.lengths)
        ]
        if not at:
            return text
        return CUT.join(text[start:end] for start, end in zip([0, *at], [*at, len(text)], strict=True))


def spaced(text: str) -> str:
    """`text` with a space inside whatever reads like a control token: for a chat server, which encodes texts itself and
    does not say what its model's tokens are."""
    return SPELLED.sub(lambda first: first[0] + " ", text)


def uncut(text: str) -> str:
    """The text without its cuts."""
    return "".join(text.split(CUT))
