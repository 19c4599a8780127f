"""A reward model = an engine with a reward head, its tokenizer, and how it reads a trace.

It reads its own chat template around the question, up to where the assistant begins to write, then the steps. With a
separator (Qwen2.5-Math-PRM's `<extra_0>`) a step is stripped of the white space behind it and the separator follows;
its reward is read at the separator's last token. Without one the steps stand as they are, each rewarded at its own
last token. `</think>` is left out: what is rewarded is the reasoning. Ids are made step by step.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from cord_distill.engines.base import RewardEngine
from cord_distill.prompts.render import Renderer
from cord_distill.types import THINK_CLOSE

# The separator of Qwen2.5-Math-PRM: taken where a tokenizer has this token and the recipe says nothing else.
EXTRA = "<extra_0>"


@dataclass(frozen=True)
class RewardModel:
    """The started reward model of a run. separator: text behind every step, "" for none. longest: tokens that the
    engine holds, None = not known.

    segments: ids of texts that were encoded before (shared by the requests of one problem, then dropped).
    """

    name: str
    identity: str
    engine: RewardEngine
    renderer: Renderer
    separator: str = ""
    longest: int | None = None
    segments: dict[str, list[int]] = field(default_factory=dict)

    def for_problem(self, engine: RewardEngine) -> RewardModel:
        """Returns the same model behind `engine` (a replay of the problem's journal) with its own memory of
        segments."""
        return replace(self, engine=engine, segments={})

    async def rewards(self, question: str, steps: list[str]) -> tuple[list[float], int]:
        """Returns (one reward per step, tokens fed). A trace that is too long for the model loses its first steps, and
        these have no reward.

        steps: their texts, the last one possibly with `</think>`.
        """
        ids, at = self.reading(question, steps)
        return await self.engine.reward(ids, at), len(ids)

    def reading(self, question: str, steps: list[str]) -> tuple[list[int], list[int]]:
        """Returns (ids, position of each step's reward): the question, then as many of the last steps as the model
        holds."""
        prompt = self._prompt(question)
        pieces = [self._encode(self._piece(step)) for step in steps]
        if self.longest is not None:
            pieces = last_that_fit(pieces, self.longest - len(prompt))
        ids, at = list(prompt), []
        for piece in pieces:
            ids += piece
            at.append(len(ids) - 1)
        return ids, at

    def _piece(self, step: str) -> str:
        text = step.removesuffix(THINK_CLOSE)
        foreign = self.renderer.foreign
        return foreign(text.rstrip()) + self.separator if self.separator else foreign(text)

    def _prompt(self, question: str) -> list[int]:
        key = "\0prompt\0" + question
        if key not in self.segments:
            self.segments[key] = self.renderer.turn_ids(question)
        return self.segments[key]

    def _encode(self, text: str) -> list[int]:
        if text not in self.segments:
            self.segments[text] = self.renderer.encode(text)
        return self.segments[text]


def last_that_fit(pieces: list[list[int]], room: int) -> list[list[int]]:
    """Returns the last pieces whose lengths sum to at most `room`; of a last piece that alone is longer, its end."""
    first, total = len(pieces), 0
    while first > 0 and total + len(pieces[first - 1]) <= room:
        first -= 1
        total += len(pieces[first])
    return pieces[first:] or [pieces[-1][-room:]]


def separator_of(renderer: Renderer, given: str | None) -> str:
    """Returns the recipe's `step_separator`, or what the tokenizer suggests."""
    return given if given is not None else EXTRA if EXTRA in renderer.tokenizer.get_added_vocab() else ""
