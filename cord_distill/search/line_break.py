"""Ends steps at an empty line (`decode.segmentation: line_break`): nothing of ours is inserted.

An ablation of the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

from cord_distill.search.segment import Segmentation

BREAK = "\n\n"


@dataclass(frozen=True, slots=True)
class LineBreak(Segmentation):
    """A step is the text up to the first `\\n\\n` after something was said; the break belongs to the step.

    A single line of LaTeX is a step. Further line ends are the next step's, so that the cut does not hang on how a
    tokenizer groups them; a step never ends before it has said anything.
    """

    @property
    def stops(self) -> tuple[str, ...]:
        return (BREAK,)

    def end(self, before: str, stop: str) -> int | None:
        """Right after the break."""
        return len(before) + len(stop) if self.said(before) else None
