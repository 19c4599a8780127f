"""Begins steps at a phrase such as "wait" or "alternatively" (`decode.segmentation: prefix_phrases`).

An ablation of the paper. The phrase belongs to the step that it opens, and nobody is made to write it: whoever proposes
next is free.
"""

from __future__ import annotations

from dataclasses import dataclass

from cord_distill.search.segment import Segmentation

SENTENCE_ENDS = (".", "!", "?", "…")
WIDE_ENDS = ("。", "！", "？")  # no blank follows them
CLOSERS = "\"'”’)]*"  # quotes, brackets and emphasis that close behind a sentence's last sign


@dataclass(frozen=True, slots=True)
class PrefixPhrases(Segmentation):
    """A step ends where the next sentence, or line, begins with one of the phrases, in any of three cases.

    Blanks before the phrase are left to the next step, since tokenizers join them to its first word; line ends stay
    with the step before. A phrase in the middle of a sentence is text, and a step never ends before it has said
    something besides its own phrase.
    """

    phrases: tuple[str, ...]

    @property
    def stops(self) -> tuple[str, ...]:
        """`wait`, `Wait` and `WAIT`, with either apostrophe: engines compare stop strings letter by letter."""
        plain = map(_plain, self.phrases)
        cases = {case for p in plain for case in (p, p[:1].upper() + p[1:], p.upper())}
        cases |= {case.replace("'", "’") for case in cases}
        return tuple(sorted(cases, key=lambda case: (-len(case), case)))

    def end(self, before: str, stop: str) -> int | None:
        """Right before the phrase and the blanks in front of it."""
        bare = before.rstrip(" \t")
        return len(bare) if _begins_sentence(before, bare) and self.said(bare) else None

    def said(self, text: str) -> str:
        """A step's text without its own phrase: "Wait." says nothing."""
        said = Segmentation.said(self, text)
        own = next((p for p in self.phrases if _plain(said).startswith(_plain(p))), "")
        return said[len(own) :].lstrip(" \t\n,.:;!?…*-—–") if own else said


def _begins_sentence(before: str, bare: str) -> bool:
    """Whether what follows `before` begins a line or a sentence. bare: `before` without the blanks at its end."""
    if bare.endswith(("\n", *WIDE_ENDS)):
        return True
    return before != bare and bare.rstrip(CLOSERS).endswith(SENTENCE_ENDS)


def _plain(text: str) -> str:
    return text.lower().replace("’", "'")
