"""A model that judges open-ended answers. Replies are kept in `judgements.jsonl`, by all that decides them.

It is asked once per different answer, with the suite's prompt, and must end with `Verdict: correct` or `Verdict:
incorrect`. A reply without a verdict counts as wrong, and its share is reported (`unjudged`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cord_distill.grading.extract import after_thought
from cord_distill.types import THINK_CLOSE

VERDICT = re.compile(r"(?i)verdict[\s*_]{0,9}:[\s*_\"]{0,9}(correct|incorrect)\b")
Keep = Callable[[str, str], None]
# Asks all prompts and hands each (prompt, reply) over as soon as it is there.
Ask = Callable[[list[str], Keep], Awaitable[None]]


def verdict_of(reply: str) -> bool | None:
    """The last verdict outside the judge's own thought, None where there is none."""
    found = VERDICT.findall(after_thought(reply) if THINK_CLOSE in reply else reply)
    return found[-1].lower() == "correct" if found else None


@dataclass
class Judge:
    """Verdicts on answers. identity: the judge's model and sampling. ask: see `judge_engines.py`."""

    identity: dict[str, Any]
    path: Path
    ask: Ask
    replies: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8", errors="replace").split("\n"):
                try:
                    row = json.loads(line)
                except ValueError:
                    continue  # the torn line of a killed run: it is asked again
                self.replies[row["key"]] = row["reply"]

    async def decide(self, prompts: Iterable[str]) -> None:
        """Asks for what is not known yet. CordError when the judge cannot be asked; replies so far are kept."""
        missing = [p for p in dict.fromkeys(prompts) if self._key(p) not in self.replies]
        if not missing:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write("\n" if file.tell() else "")

            def keep(prompt: str, reply: str) -> None:
                key = self._key(prompt)
                file.write(json.dumps({"key": key, "verdict": verdict_of(reply), "reply": reply}) + "\n")
                file.flush()
                self.replies[key] = reply

            await self.ask(missing, keep)

    def verdict(self, prompt: str) -> bool | None:
        return verdict_of(self.replies.get(self._key(prompt), ""))

    def _key(self, prompt: str) -> str:
        text = json.dumps([self.identity, prompt], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:24]
