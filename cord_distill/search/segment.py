"""Decides where one step ends and the next begins: by the `### Step N.` marker here (section 3 of the paper).

A segmentation is one rule that is asked twice: a generation stops by it, and a complete trace is split by it. The
other rules are in `line_break.py` and `prefix_phrases.py`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from cord_distill.types import THINK_CLOSE, Step, Stop


class Segmentation(ABC):
    """The rule of where steps end (`decode.segmentation`): one of our three, or a subclass of the user's.

    stops: the strings that may end a step; a generation is stopped by them, longest first.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def stops(self) -> tuple[str, ...]: ...

    @abstractmethod
    def end(self, before: str, stop: str) -> int | None:
        """How many characters of `before + stop` are the step, or None: this stop is text, and the step goes on.

        before: the step so far, from its first character (what we wrote included) up to the stop string.
        """

    def opening(self, steps: Sequence[Step]) -> str:
        """What we write before the next proposal."""
        return ""

    def said(self, text: str) -> str:
        """What a step says, without what only marks it: empty means that nothing was said."""
        return text.removesuffix(THINK_CLOSE).strip()

    def split(self, reasoning: str) -> list[str]:
        """The steps of a complete trace; they join to `reasoning`."""
        pieces, start = [], 0
        for found in re.finditer("|".join(map(re.escape, self.stops)), reasoning):
            end = self.end(reasoning[start : found.start()], found.group())
            if end is not None and reasoning[start : start + end].strip():
                pieces.append(reasoning[start : start + end])
                start += end
        return [*pieces, reasoning[start:]] if start < len(reasoning) else pieces


@dataclass(frozen=True, slots=True)
class StepMarker(Segmentation):
    """Steps begin with a marker that we write; a model's own numbering is dropped.

    A marker counts only at the start of a line. A step that was cut by its token cap is continued without a new
    marker, so that no marker lands in the middle of a sentence.

    template: marker with `{t}` for the step's number, such as `### Step {t}.`
    """

    template: str

    def marker(self, number: int) -> str:
        return self.template.replace("{t}", str(number))

    @property
    def stop(self) -> str:
        """The part before the number: what a model writes when it begins the next step."""
        return self.template.partition("{t}")[0].rstrip()

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,)

    def opening(self, steps: Sequence[Step]) -> str:
        """The next marker, or nothing after a step that was cut by length."""
        if steps and steps[-1].stop is Stop.LENGTH:
            return ""
        return self.marker(1 + sum(step.stop is not Stop.LENGTH for step in steps))

    def end(self, before: str, stop: str) -> int | None:
        """Right before a marker at the start of a line; a deeper heading (`#### Step 4.` for `### Step`) is one too."""
        deeper = before.rstrip("#") if stop.startswith("#") else before
        return len(deeper) if self.at_line_start(deeper) else None

    @staticmethod
    def at_line_start(text: str) -> bool:
        """Whether a marker that follows `text` begins a line."""
        return not text.rstrip(" \t") or text.rstrip(" \t").endswith("\n")

    def said(self, text: str) -> str:
        """A step's text without its marker and without `</think>`."""
        body = text.removesuffix(THINK_CLOSE)
        if body.startswith(self.stop):
            number_and_more = body[len(self.stop) :].lstrip()
            body = number_and_more.lstrip("0123456789")
            tail = self.template.partition("{t}")[2]
            body = body.removeprefix(tail)
        return body.strip()
