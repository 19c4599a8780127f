"""A model = an engine, its renderer and how it samples. The only place where text becomes ids and ids become text.

Text is the canonical state. Every tokenizer encodes it segment by segment (prompt, then one segment per step, cut
where steps end), so no prefix is ever encoded twice; a proposer keeps the ids that it generated itself, which are
what its KV cache holds. Scores are read from texts alone (`reading`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import TypeVar

from cord_distill.engines.base import Engine, EngineError, Generation, Sampling
from cord_distill.prompts.render import REPLACEMENT, Renderer
from cord_distill.search.seeds import keyed_seed
from cord_distill.search.segment import Segmentation
from cord_distill.search.select import predictive_perplexity
from cord_distill.types import THINK_CLOSE, Step, Stop

# How much of what follows a step is looked at to encode its end.
AHEAD = 16
Ids = TypeVar("Ids", list[int], tuple[int, ...])


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote. text: as it stands in the context. ids: of `text`, in the writer's vocabulary.

    generated: tokens sampled for it, those thrown away included.
    """

    text: str
    ids: tuple[int, ...]
    stop: Stop
    generated: int


@dataclass(frozen=True, slots=True)
class Scored:
    """What a model says of a prefix. score: S in [0, 1] (eq. 3). num_tokens: of the new step, in this model's
    vocabulary. fed: tokens sent."""

    score: float
    num_tokens: int
    fed: int


@dataclass(frozen=True)
class Model:
    """One teacher or meta-prover.

    vocabulary: names the tokenizer; models of one vocabulary hand ids on to each other, others hand on text.
    instructions: stand behind every question (`decode.step_instructions`). score_ending: as in `decode`.
    segments: ids of texts that were encoded before (shared by the requests of one problem, then dropped).
    """

    name: str
    vocabulary: str
    engine: Engine
    renderer: Renderer
    sampling: Sampling
    max_model_len: int | None = None
    vocabularies: dict[str, str] = field(default_factory=dict)
    instructions: str = ""
    score_ending: bool = False
    segments: dict[str, list[int]] = field(default_factory=dict)

    def for_problem(self, engine: Engine) -> Model:
        """Returns the same model behind `engine` (a replay of the problem's journal) with its own memory of
        segments."""
        return replace(self, engine=engine, segments={})

    @cached_property
    def banned_ids(self) -> tuple[int, ...]:
        """Control tokens that have no place inside an assistant's turn (BOS, roles, a second `<think>`)."""
        tokenizer = self.renderer.tokenizer
        eos = {self.renderer.end_of_turn_id, tokenizer.eos_token_id}
        return tuple(sorted(set(self.renderer.control_tokens.values()) - eos - set(self.close_ids)))

    @cached_property
    def close_ids(self) -> tuple[int, ...]:
        """The control tokens of `</think>`, as this vocabulary has it: they end a thought and stand in no answer."""
        control = set(self.renderer.control_tokens.values()) - {self.renderer.end_of_turn_id}
        return tuple(i for i in dict.fromkeys(self.renderer.encode(THINK_CLOSE)) if i in control)

    async def _generate(self, ids: list[int], sampling: Sampling) -> Generation:
        """Asks the engine. A model that closes its thought by another text is stopped by that one, and it is read as
        `</think>`."""
        thought = self.renderer.thought
        if thought.ours or not sampling.stop:
            return await self.engine.generate(ids, sampling)
        stops = [x for stop in sampling.stop for x in (thought.stops if stop == THINK_CLOSE else (stop,))]
        out = await self.engine.generate(ids, replace(sampling, stop=tuple(stops)))
        closed = out.matched in thought.stops
        matched, stop = (THINK_CLOSE, Stop.THINK_END) if closed else (out.matched, out.stop)
        return replace(out, text=thought.read(out.text), matched=matched, stop=stop)

    def encode(self, text: str) -> list[int]:
        if text not in self.segments:
            self.segments[text] = self.renderer.encode(text)
        return self.segments[text]

    def context_ids(self, question: str, steps: tuple[Step, ...]) -> list[int]:
        """Returns prompt and steps as this model reads them: steps of its own vocabulary as generated, others
        encoded."""
        ids = list(self._prompt_ids(question))
        for step in steps:
            ids.extend(self.step_ids(step))
        return ids

    def step_ids(self, step: Step) -> tuple[int, ...] | list[int]:
        own = self.vocabularies.get(step.teacher) == self.vocabulary
        return step.ids if own and step.ids else self.encode(self.renderer.step(step.text))

    def open_ids(self, step: Step) -> list[int]:
        """Returns the step's ids with the thought still open: cut before its `</think>`, where it has one."""
        open_text = step.text.removesuffix(THINK_CLOSE)
        return list(self.step_ids(step)) if open_text == step.text else self._foreign_ids(open_text)

    def _own_ids(self, text: str) -> list[int]:
        return self.renderer.encode(self.renderer.step(text))

    def _foreign_ids(self, text: str) -> list[int]:
        return self.renderer.encode(self.renderer.foreign(text))

    def _prompt_ids(self, question: str) -> list[int]:
        key = "\0prompt\0" + question
        if key not in self.segments:
            self.segments[key] = self.renderer.prompt_ids(question + self.instructions)
        return self.segments[key]

    async def propose(
        self, question: str, steps: tuple[Step, ...], segmentation: Segmentation, *, max_tokens: int, seed: int
    ) -> Completion:
        """Writes one next step after `steps`: our opening, then what the model writes up to the step's end or
        `</think>`.

        A stop string that ends no step (a marker in the middle of a line) is text: generation goes on behind it.
        """
        opening = segmentation.opening(steps)
        head = self.encode(opening) if opening else []
        context = self.context_ids(question, steps) + head
        made: list[int] = []
        generated = begun = 0
        while True:
            out = await self._generate(
                context + made,
                replace(
                    self.sampling,
                    max_tokens=max(1, max_tokens - len(made)),
                    seed=seed if not made else keyed_seed(seed, len(made)),
                    stop=(*segmentation.stops, THINK_CLOSE),
                    stop_ids=(self.renderer.end_of_turn_id,),
                    banned_ids=self.banned_ids,
                ),
            )
            generated += len(out.ids)
            before = None if made else self._before_stop(out)
            text = opening + out.text
            if before is not None and segmentation.end(text, out.matched or "") == len(text):
                return Completion(text, (*head, *before), out.stop, generated)
            ids = [*made, *(out.ids[:-1] if out.stop is Stop.EOS else out.ids)]
            body = self.renderer.decode(ids)
            at = self._end(body, out, begun)
            end: int | None = at
            if out.stop is Stop.STEP and out.matched is not None:
                end = segmentation.end(opening + body[:at], out.matched)
                end = end if end is None else end - len(opening)
            if end is not None or len(made) + len(out.ids) >= max_tokens:
                break
            if not out.ids:
                raise EngineError(f"{self.name}: an answer without a token, which would be asked for again for ever")
            made.extend(out.ids)
            begun = len(body.rstrip(REPLACEMENT))
        body, kept = self._cut(ids, body, at if end is None else end)
        text = opening + body
        ids = [*head, *kept] if kept is not None else self._own_ids(text)
        stop = Stop.LENGTH if end is None else out.stop
        return Completion(text, tuple(ids), stop, generated)

    async def write(
        self, question: str, steps: tuple[Step, ...], opening: str, *, max_tokens: int, seed: int
    ) -> Completion:
        """Reasons freely after `steps` and `opening`, up to `</think>`, the end of the turn or the budget."""
        context = self.context_ids(question, steps) + self.renderer.encode(opening)
        return await self._run(context, opening, max_tokens=max_tokens, seed=seed, stop=(THINK_CLOSE,))

    async def answer(
        self, question: str, steps: tuple[Step, ...], opening: str = "", *, max_tokens: int, seed: int
    ) -> Completion:
        """Writes the final answer after the closed thought and `opening`, up to the end of the turn or the budget."""
        context = self.context_ids(question, steps) + (self.encode(opening) if opening else [])
        return await self._run(context, opening, max_tokens=max_tokens, seed=seed, stop=())

    async def conclude(
        self, question: str, steps: tuple[Step, ...], conclusion: str, *, max_tokens: int, seed: int
    ) -> Completion:
        """Writes on behind `steps` (the thought cut open) and `conclusion`, up to the end of the turn.

        The text begins with `conclusion`: told that time is up, the model finishes.
        """
        ids, _ = self.reading(question, steps, conclusion)
        context = ids + self.encode(conclusion)
        return await self._run(context, conclusion, max_tokens=max_tokens, seed=seed, stop=())

    async def _run(
        self, context: list[int], opening: str, *, max_tokens: int, seed: int, stop: tuple[str, ...]
    ) -> Completion:
        out = await self._generate(
            context,
            replace(
                self.sampling,
                max_tokens=max_tokens,
                seed=seed,
                stop=stop,
                stop_ids=(self.renderer.end_of_turn_id,),
                banned_ids=self.banned_ids if stop else (*self.banned_ids, *self.close_ids),
            ),
        )
        ids = list(out.ids[:-1] if out.stop is Stop.EOS else out.ids)
        body = self.renderer.decode(ids)
        body, kept = self._cut(ids, body, self._end(body, out))
        text = opening + body
        ids = [*self.renderer.encode(opening), *kept] if kept is not None else self._own_ids(text)
        return Completion(text, tuple(ids), out.stop, len(out.ids))

    def _before_stop(self, out: Generation) -> tuple[int, ...] | None:
        """Returns the ids of `out.text`, where a step's stop string begins with a token of its own: nearly always.

        One decoding in place of the two that the general way needs; long runs feel it.
        """
        if out.stop is not Stop.STEP or out.matched is None:
            return None
        return self._without(out.ids, out.matched, out.text)

    def _without(self, ids: Ids, tail: str, text: str) -> Ids | None:
        """Returns the ids of `text`, where `ids` are of `text + tail` and the tail's tokens are those it has on its
        own."""
        keep = len(ids) - len(self.encode(tail))
        return ids[:keep] if keep >= 0 and self.renderer.decode(ids[:keep]) == text else None

    @staticmethod
    def _end(full: str, out: Generation, begun: int = 0) -> int:
        """Finds where the text of a generation ends in `full`: before the stop string, or behind `</think>`.

        begun: where the text of this request begins in `full`; a stop string before it did not stop anything.
        """
        if out.matched is not None:
            found = full.find(out.matched, begun)
            return found + (len(out.matched) if out.stop is Stop.THINK_END else 0) if found >= 0 else len(full)
        # A cap may fall inside a character: its first bytes would decode to a replacement sign.
        return len(full.rstrip(REPLACEMENT)) if out.stop.cut_off else len(full)

    def _cut(self, ids: list[int], full: str, end: int) -> tuple[str, list[int] | None]:
        """Returns (full[:end], its ids), where `ids` decode to `full`.

        The ids are None when the text ends inside a token: then the text has to be encoded anew.
        """
        if end == len(full):
            return full, ids
        # Nearly always the tokens of what is cut are those that it has on its own: one look instead of one per token.
        kept = self._without(ids, full[end:], full[:end])
        if kept is not None:
            return full[:end], kept
        keep = len(ids)
        while keep > 0 and len(self.renderer.decode(ids[keep:])) < len(full) - end:
            keep -= 1
        exact = self.renderer.decode(ids[:keep]) == full[:end]
        return full[:end], ids[:keep] if exact else None

    async def fit(self, question: str, steps: tuple[Step, ...]) -> Scored:
        """Says how likely this model finds the last of `steps` behind the others: `score` is the geometric mean
        probability of the step's tokens, in [0, 1]."""
        ids, target = self.context_ids(question, steps[:-1]), list(self.step_ids(steps[-1]))
        logprobs = await self.engine.logprobs(ids, target)
        return Scored(predictive_perplexity(logprobs), len(target), len(ids) + len(target))

    async def ranked(self, question: str, steps: tuple[Step, ...]) -> tuple[list[tuple[float, int]], int]:
        """Returns (log p and rank, 1 = the likeliest, that this model gives each token of `steps`; how many tokens it
        read)."""
        ids, target = self.context_ids(question, ()), [token for step in steps for token in self.step_ids(step)]
        return await self.engine.ranked(ids, target), len(ids) + len(target)

    async def score(self, question: str, steps: tuple[Step, ...], suffix: str, answer: str) -> Scored:
        """Scores the known answer after `steps` by S (eq. 3). A closed thought is cut before its `</think>`; no steps:
        of the bare question.

        suffix holds `{A}`. The string from the suffix to the end of A is encoded in one go, without what follows A (but
        with it, and an end of turn, under `score_ending`); the answer's tokens are all from the first that overlaps A.
        """
        ids, length = self.reading(question, steps, suffix.partition("{A}")[0])
        before, target = self.answer_ids(suffix, answer)
        ids = ids + before
        logprobs = await self.engine.logprobs(ids, target)
        return Scored(predictive_perplexity(logprobs), length, len(ids) + len(target))

    def reading(self, question: str, steps: tuple[Step, ...], following: str) -> tuple[list[int], int]:
        """Returns (ids of the prompt and the steps with the thought still open, how many of them are the last step's).

        Every step is encoded from its text, whoever wrote it and in whichever tokens, so that equal texts have equal
        scores. following: what will stand behind them.
        """
        ids = list(self._prompt_ids(question))
        last: list[int] = []
        texts = [step.text for step in steps]
        texts[-1:] = [text.removesuffix(THINK_CLOSE) for text in texts[-1:]]
        for text, ahead in pairwise([*texts, following]):
            last = self._in_context(text, ahead)
            ids += last
        return ids, len(last)

    def _in_context(self, text: str, following: str) -> list[int]:
        """Returns the ids of `text` as it is read before `following`: GPT-2's kind cuts white space by what comes
        behind it."""
        key = f"\0before {following[:AHEAD]}\0{text}"
        if key not in self.segments:
            own = self.renderer.foreign(text)
            ids, offsets = self.renderer.encode_with_offsets(own + self.renderer.written(following)[:AHEAD])
            first = next((i for i, (_, end) in enumerate(offsets) if end > len(text)), len(ids))
            across = first < len(ids) and offsets[first][0] < len(text)
            self.segments[key] = self.renderer.encode(own) if across else ids[:first]
        return self.segments[key]

    def answer_ids(self, suffix: str, answer: str) -> tuple[list[int], list[int]]:
        """Returns (ids before the answer, ids of the answer) of the scoring suffix."""
        head, _, tail = self.renderer.written(suffix).partition("{A}")
        key = ("\0before\0" + head + answer, "\0target\0" + head + answer)
        if key[1] not in self.segments:
            scored = self.renderer.foreign(answer) + (tail if self.score_ending else "")
            ids, offsets = self.renderer.encode_with_offsets(head + scored)
            first = next((i for i, (_, end) in enumerate(offsets) if end > len(head)), len(ids))
            ending = [self.renderer.end_of_turn_id] if self.score_ending else []
            self.segments[key[0]], self.segments[key[1]] = ids[:first], ids[first:] + ending
        return self.segments[key[0]], self.segments[key[1]]
