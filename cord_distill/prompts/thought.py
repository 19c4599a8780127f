"""Describes how a model marks its thought: `<think>` and `</think>`, `[THINK]` and `[/THINK]`, `◁think▷` and so on.

Traces hold `</think>`, whoever wrote them. Each model reads and writes its own closing text, and what it wrote is read
back into ours; so steps, scores, rows and graders know one spelling.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from cord_distill.types import THINK_CLOSE, THINK_OPEN

# How models write a token: <|channel|>, <think>, [THINK], ◁think▷.
TOKEN = re.compile(r"<\|[^|<>\s]+\|>|<[^<>\s]+>|\[[^\[\]\s]+\]|◁[^◁▷\s]+▷")


@dataclass(frozen=True, slots=True)
class Thought:
    """The two texts around a model's thought. open: what the prompt ends with. close: what stands before the answer."""

    open: str = THINK_OPEN
    close: str = THINK_CLOSE

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> Thought:
        """Of the keys of a recipe's section, which may lack both."""
        return cls(section.get("think_open", THINK_OPEN), section.get("think_close", THINK_CLOSE))

    @property
    def tag(self) -> str:
        return self.open.strip()

    @property
    def ours(self) -> bool:
        return self.close == THINK_CLOSE

    @property
    def spellings(self) -> set[str]:
        """Texts that open or close a thought, this model's and ours: nobody else may write them."""
        return {THINK_OPEN.strip(), THINK_CLOSE, self.tag, self.close}

    @property
    def stops(self) -> tuple[str, ...]:
        """What ends a thought that this model writes."""
        return (THINK_CLOSE,) if self.ours else (self.close, THINK_CLOSE)

    def written(self, text: str) -> str:
        """A text of ours as this model reads it."""
        return text if self.ours else text.replace(THINK_CLOSE, self.close)

    def read(self, text: str) -> str:
        """What this model wrote, as a text of ours."""
        return text if self.ours else text.replace(self.close, THINK_CLOSE)

    def fault(self, tokens: Collection[str], template: str) -> str | None:
        """One sentence where neither the tokenizer's added tokens nor the chat template know what marks the thought.

        `<think>` itself may be spelled out: many models learn it as text.
        """
        if self == Thought():
            return None
        for key, text in (("think_open", self.tag), ("think_close", self.close.strip())):
            for token in TOKEN.findall(text) or [text]:
                if token not in tokens and token not in template:
                    return (
                        f"{key}: neither its tokenizer nor its chat template knows {token!r}, so the model was never "
                        f"trained on it; take the text of its card, or remove think_open and think_close"
                    )
        return None
