"""A model that judges open-ended answers. Replies are kept in `judgements.jsonl`, by all that decides them.

It is asked once per different answer, with the suite's prompt, and must end with `Verdict: correct` or `Verdict:
incorrect` (or, where the recipe says so, with the JSON of the paper). A reply without a verdict is asked for again; an
answer that stays without one is left out of the figures, and its share is reported (`unjudged`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cord_distill.grading.extract import THINK_OPEN, after_thought
from cord_distill.types import THINK_CLOSE

Form = Literal["verdict", "json"]
# Raised when replies are read in another way: what was judged before is asked again.
READING = 2
VERDICT_LINE = 'End with one line: "Verdict: correct" or "Verdict: incorrect".'
JSON_LINE = 'Reply with JSON only: {"correctness": "True"} or {"correctness": "False"}.'
LAST_LINE = 400
# At the end of the reply, at the beginning of a line or sentence: a quoted one stands behind its quotation mark.
VERDICT = re.compile(
    r"(?i)(?:^|(?<=[.!?;:)])\s)[\s*_#>-]{0,9}(?:final\s)?verdict[\s*_]{0,9}:[\s*_\"]{0,9}(correct|incorrect)[\W_]{0,9}$"
)
JSON_VERDICT = re.compile(r"(?i)\{\s{0,9}\"correctness\"\s{0,9}:\s{0,9}\"?(true|false)\"?\s{0,9}\}[\s`]{0,9}$")
Keep = Callable[[str, str, bool | None], None]
# Asks all prompts and hands each (prompt, reply, verdict) over as soon as it is there.
Ask = Callable[[list[str], Keep], Awaitable[None]]


def in_form(prompt: str, form: Form) -> str:
    """The suite's prompt with the request for the form in which the verdict is wanted."""
    if form == "verdict":
        return prompt
    return prompt.replace(VERDICT_LINE, JSON_LINE) if VERDICT_LINE in prompt else f"{prompt}\n\n{JSON_LINE}"


def verdict_of(reply: str, form: Form = "verdict", *, cut: bool = False) -> bool | None:
    """The verdict that ends a reply, behind the judge's own thought; None where there is none.

    cut: the reply was cut off, so that its end is no end: what stands there may be quoted from the answer.
    """
    spoken = after_thought(reply) if THINK_CLOSE in reply else reply
    if cut or THINK_OPEN in spoken:
        return None
    if form == "json":
        found = JSON_VERDICT.search(spoken.rstrip()[-LAST_LINE:])
        return found[1].lower() == "true" if found else None
    line = spoken.rstrip().rpartition("\n")[2][-LAST_LINE:].strip()
    found = VERDICT.search(line)
    return found[1].lower() == "correct" if found else None


@dataclass
class Judge:
    """Gives verdicts on answers, and keeps them in the file `path`. identity: the judge's model and sampling. ask: of
    `judge_engines.asker`."""

    identity: dict[str, Any]
    path: Path
    ask: Ask
    verdicts: dict[str, bool | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8", errors="replace").split("\n"):
                try:
                    row = json.loads(line)
                except ValueError:
                    continue  # the torn line of a killed run: it is asked again
                self.verdicts[row["key"]] = row["verdict"]

    async def decide(self, prompts: Iterable[str]) -> None:
        """Asks for what is not known yet. CordError when the judge cannot be asked; replies so far are kept."""
        missing = [p for p in dict.fromkeys(prompts) if self._key(p) not in self.verdicts]
        if not missing:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write("\n" if file.tell() else "")

            def keep(prompt: str, reply: str, verdict: bool | None) -> None:
                key = self._key(prompt)
                file.write(json.dumps({"key": key, "verdict": verdict, "reply": reply}) + "\n")
                file.flush()
                self.verdicts[key] = verdict

            await self.ask(missing, keep)

    def verdict(self, prompt: str) -> bool | None:
        return self.verdicts.get(self._key(prompt))

    def _key(self, prompt: str) -> str:
        text = json.dumps([self.identity, prompt], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:24]
