"""Where one step ends and the next begins: the `### Step N.` marker (section 3 of the paper: `<think>` prefill).

Markers are written by us; a model's own numbering is dropped. A marker counts only at the start of a line. A step that
was cut by its token cap is continued without a new marker, so that no marker lands in the middle of a sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cord_distill.types import THINK_CLOSE, Step, Stop


@dataclass(frozen=True, slots=True)
class StepMarker:
    """template: marker with `{t}` for the step's number, such as `### Step {t}.`"""

    template: str

    def marker(self, number: int) -> str:
        return self.template.replace("{t}", str(number))

    @property
    def stop(self) -> str:
        """The part before the number: what a model writes when it begins the next step."""
        return self.template.partition("{t}")[0].rstrip()

    def opening(self, steps: Sequence[Step]) -> str:
        """What we write before the next proposal: the next marker, or nothing after a step that was cut by length."""
        if steps and steps[-1].stop is Stop.LENGTH:
            return ""
        return self.marker(1 + sum(step.stop is not Stop.LENGTH for step in steps))

    @staticmethod
    def at_line_start(text: str) -> bool:
        """Whether a marker that follows `text` begins a line."""
        return not text.rstrip(" \t") or text.rstrip(" \t").endswith("\n")

    def split(self, reasoning: str) -> list[str]:
        """Cuts a complete trace right before each marker at the start of a line; the pieces join to `reasoning`."""
        cuts = [0]
        at = reasoning.find(self.stop, 1)
        while at != -1:
            if self.at_line_start(reasoning[cuts[-1] : at]) and reasoning[cuts[-1] : at].strip():
                cuts.append(at)
            at = reasoning.find(self.stop, at + len(self.stop))
        return [reasoning[a:b] for a, b in zip(cuts, [*cuts[1:], len(reasoning)], strict=True) if a < b]

    def said(self, text: str) -> str:
        """A step's text without its marker and without `</think>`: empty means that nothing was said."""
        body = text.removesuffix(THINK_CLOSE)
        if body.startswith(self.stop):
            number_and_more = body[len(self.stop) :].lstrip()
            body = number_and_more.lstrip("0123456789")
            tail = self.template.partition("{t}")[2]
            body = body.removeprefix(tail)
        return body.strip()
