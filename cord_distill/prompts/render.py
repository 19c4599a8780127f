"""Renders prompts and rows for one tokenizer: the same ids for decoding, scoring, training and evaluation.

The prompt always ends with one `<think>\\n`, whether the model's chat template writes it or not. Everything after it is
the completion: reasoning, `</think>`, final answer. A model may have other texts for the two (thought.py). Ids come
from `encode` without added special tokens, since the template itself writes BOS. Only what we and the template write
may hold control tokens: questions and steps go through `foreign`, so that a `<|im_end|>` in them stays the text that it
is.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cord_distill.common.errors import CordError
from cord_distill.common.terminal import first_line
from cord_distill.prompts.coder import Coder
from cord_distill.prompts.foreign import Guard, uncut
from cord_distill.prompts.thought import Thought
from cord_distill.types import THINK_CLOSE

if TYPE_CHECKING:
    from cord_distill.recipe.models import ModelConfig

PROBE = "cord-distill probe"
QUESTION = "What is the sum of 17 and 25?"
# What bytes that are no whole character are decoded to.
REPLACEMENT = "\ufffd"
# How templates write the tokens that mark roles: <|user|>, <start_of_turn>, [INST].
TAG = re.compile(r"<\S+>|\[\S+\]")


class Renderer:
    """Text and ids of one tokenizer under one chat template.

    system_prompt: None or "" = no system message of ours (a template may still write its own). template_args: further
    names that the template reads, e.g. {"enable_thinking": True}. thought: how the model marks it. suffix: behind every
    question.
    Raises CordError when the tokenizer has no chat template, or does not give back the text it was given.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        system_prompt: str | None = None,
        chat_template: str | None = None,
        template_args: dict[str, Any] | None = None,
        thought: Thought | None = None,
        suffix: str = "",
        name: str = "",
    ) -> None:
        self.tokenizer = tokenizer
        self.thought = thought or Thought()
        self.suffix = suffix
        self.coder = Coder(tokenizer)
        self.template_args = dict(template_args or {})
        self.system_prompt = system_prompt or ""
        self.name = name or getattr(tokenizer, "name_or_path", "tokenizer")
        if chat_template is not None:
            tokenizer.chat_template = chat_template
        if not tokenizer.chat_template:
            raise CordError(
                f"{self.name}: the tokenizer has no chat template; give one with `chat_template: ./file.jinja`"
            )

    def with_system(self, system_prompt: str) -> Renderer:
        """The same under another system prompt, as a training row may bring its own."""
        return Renderer(
            self.tokenizer,
            system_prompt=system_prompt,
            template_args=self.template_args,
            thought=self.thought,
            suffix=self.suffix,
            name=self.name,
        )

    def messages(self, question: str) -> list[dict[str, str]]:
        system = [{"role": "system", "content": self.system_prompt}] if self.system_prompt else []
        return [*system, {"role": "user", "content": question}]

    def turn_text(self, question: str) -> str:
        """The model's own template around `question`, up to where the assistant begins to write."""
        return uncut(self._turn(question))

    def turn_ids(self, question: str) -> list[int]:
        return self.coder.encode_first(self._turn(question))

    def prompt_text(self, question: str) -> str:
        """The model's own template around `question`, ending with its thought opened once."""
        return uncut(self.prompt_with_cuts(question))

    def prompt_ids(self, question: str) -> list[int]:
        return self.coder.encode_first(self.prompt_with_cuts(question))

    @cached_property
    def num_ids(self) -> int:
        """One more than the highest token id that stands for something."""
        return max(self.tokenizer.get_vocab().values(), default=-1) + 1

    def prompt_with_cuts(self, question: str) -> str:
        """As `prompt_text`, with a cut inside each control token that the question spells (foreign.py).

        A thought that the template closed stays closed: right for a judge that is not to think, and refused by
        `check_prompt` for all others.
        """
        text = self._turn(question)
        tag, opens = self.thought.tag, self.thought.open
        head = text.rstrip()
        if head.endswith(self.thought.close.strip()):
            return text
        return head[: -len(tag)] + opens if head.endswith(tag) else text + opens

    def _turn(self, question: str) -> str:
        turns = self.messages(self.foreign(question) + self.suffix)
        if self.system_prompt:
            turns[0]["content"] = self._guard_of_system(self.system_prompt)
        return self._templated(turns, add_generation_prompt=True)

    def foreign(self, text: str) -> str:
        """A text that somebody else wrote, for `encode`: with a cut inside each control token that it spells."""
        return self._guard(text)

    def step(self, text: str) -> str:
        """As `foreign`, for a step or a completion: the first `</think>` in it closes the thought, and is ours."""
        thought, close, answer = text.partition(THINK_CLOSE)
        return self._guard(thought) + close + self._guard(answer)

    def spells_control_tokens(self, question: str, completion: str) -> bool:
        """Whether one of the two texts writes a control token out."""
        return self.foreign(question) != question or self.step(completion) != completion

    @cached_property
    def _guard(self) -> Guard:
        return Guard(self.control_tokens if self.thought.ours else {*self.control_tokens, *self.thought.spellings})

    @cached_property
    def _guard_of_system(self) -> Guard:
        # A system prompt may speak of the tags, as Phi-4's does, and the model then reads its own.
        return Guard(set(self.control_tokens) - self.thought.spellings)

    def _templated(self, turns: list[dict[str, str]], *, add_generation_prompt: bool = False) -> str:
        """What the chat template makes of a conversation. Raises CordError where it raises (its author's own words)."""
        from jinja2 import TemplateError

        try:
            return self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=add_generation_prompt, **self.template_args
            )
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
            roles = ", ".join(turn["role"] for turn in turns)
            reason = " ".join(str(error).split())[:200]
            raise CordError(
                f"{self.name}: its chat template fails on the roles {roles} ({reason}); give "
                'another with `chat_template: ./file.jinja`, or `system_prompt: ""` where it takes no system message'
            ) from None

    def encode(self, text: str) -> list[int]:
        """Ids of a text that stands behind the prompt: what we write, or what `foreign` or `step` gives back."""
        return self.coder.encode(self.thought.written(text))

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids and, for each, the characters [start, end) of `text` that it covers, cuts not counted. `text` is as
        `written` gives it."""
        return self.coder.encode_with_offsets(text)

    def written(self, text: str) -> str:
        """A text of ours, such as a suffix with `</think>`, as this model reads it."""
        return self.thought.written(text)

    def decode(self, ids: list[int] | tuple[int, ...]) -> str:
        """What the model wrote, its thought closed as ours is."""
        return self.thought.read(self.coder.decode(list(ids)))

    def decode_as_is(self, ids: list[int] | tuple[int, ...]) -> str:
        """What stands in the model's context, to the letter."""
        return self.coder.decode(list(ids))

    @cached_property
    def control_tokens(self) -> dict[str, int]:
        """Tokens that steer a conversation, with their ids: those marked special, and tags that the template writes.

        An added token alone is none: Gemma's line breaks, tabs and HTML tags are added, and so are a user's own words.
        """
        tokenizer = self.tokenizer
        turn = [*self.messages(PROBE), {"role": "assistant", "content": PROBE}]
        try:
            rendered = self._templated(turn)
        except CordError:  # a template for questions alone
            rendered = self._templated(turn[:-1], add_generation_prompt=True)
        written = f"{tokenizer.chat_template} {rendered}"
        if self.system_prompt:
            written = written.replace(self.system_prompt.strip(), "")
        known = set(tokenizer.all_special_tokens) | self.thought.spellings
        # A property that is made anew at every look, of thousands of tokens.
        added = tokenizer.added_tokens_decoder
        return {
            str(token): number
            for number, token in added.items()
            if token.special or str(token) in known or (TAG.fullmatch(str(token)) and str(token) in written)
        }

    @cached_property
    def end_of_turn(self) -> str:
        """The special token that closes the assistant's turn: what a student must learn to stop on.

        Read off the template (the control token after the assistant's content), else the tokenizer's EOS.
        """
        turn = [*self.messages(PROBE), {"role": "assistant", "content": PROBE + " answer"}]
        try:
            tail = self._templated(turn).rpartition(PROBE + " answer")[2].strip()
        except CordError:
            tail = ""
        known = sorted(self.control_tokens, key=len, reverse=True)
        found = next((token for token in known if tail.startswith(token)), None)
        token = found or self.tokenizer.eos_token
        if not token:
            raise CordError(f"{self.name}: neither the chat template nor the tokenizer names an end-of-turn token")
        return token

    @cached_property
    def end_of_turn_id(self) -> int:
        return self.tokenizer.convert_tokens_to_ids(self.end_of_turn)

    def training_ids(self, question: str, completion: str) -> tuple[list[int], list[int]]:
        """(input_ids, labels), both of one length: labels are -100 on the prompt and the ids on the completion.

        completion: what follows `<think>\\n`, without the end of turn, which is appended. The prompt's ids are
        exactly those that decoding and evaluation send.
        """
        prompt = self.prompt_ids(question)
        target = [*self.encode(self.step(completion)), self.end_of_turn_id]
        return prompt + target, [-100] * len(prompt) + target

    def check_prompt(self, *, thinks: bool = True) -> None:
        """Raises CordError where the template leaves the question out, or no thought is open for one that `thinks`."""
        fix = "give another with a Jinja file (`chat_template`; for a student `train.chat_template_path`)"
        unknown = self.thought.fault(self.tokenizer.get_added_vocab(), str(self.tokenizer.chat_template))
        if thinks and unknown:
            raise CordError(f"{self.name}: {unknown}")
        _, found, tail = self.prompt_text(QUESTION).rpartition((QUESTION + self.suffix).strip())
        if not found:
            raise CordError(
                f"{self.name}: its chat template leaves the question out of the prompt (it may want a list of content "
                f"parts); {fix}"
            )
        if thinks and (self.thought.close in tail or tail.count(self.thought.tag) != 1):
            raise CordError(
                f"{self.name}: its chat template closes the thought before the model writes one; set "
                f"chat_template_kwargs, e.g. {{enable_thinking: true}}, or {fix}"
            )

    def check_seams(self, question: str, *pieces: str) -> None:
        """Raises CordError where the prompt and texts behind it, each encoded alone, do not decode to their whole."""
        fault = self.coder.seam_fault(self.prompt_with_cuts(question), *map(self.written, pieces))
        if fault:
            raise CordError(f"{self.name}: {fault}")


def renderer_of(section: ModelConfig, path: str) -> Renderer:
    """Renderer of a recipe's model section, whose files are at `path` (a folder or hub id). Raises CordError."""
    return load_renderer(
        path,
        revision=section.revision,
        system_prompt=section.system_prompt,
        chat_template=section.chat_template,
        template_args=section.chat_template_kwargs,
        thought=Thought(section.think_open, section.think_close),
        suffix=section.prompt_suffix,
        trust_remote_code=section.trust_remote_code,
        name=section.label,
    )


def load_renderer(
    path: str,
    *,
    revision: str | None = None,
    system_prompt: str | None = None,
    chat_template: str | None = None,
    template_args: dict[str, Any] | None = None,
    thought: Thought | None = None,
    suffix: str = "",
    trust_remote_code: bool = False,
    name: str = "",
) -> Renderer:
    """Renderer of a model folder or hub id. chat_template: path of a jinja file that replaces the model's own.

    system_prompt None = what the model's card recommends (cards.yaml). Raises CordError with the fix.
    """
    from pathlib import Path

    from transformers import AutoTokenizer

    from cord_distill.prompts.cards import recommended_system_prompt
    from cord_distill.prompts.template_check import file_fault

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=trust_remote_code)
    except Exception as error:  # whatever a file of another architecture makes the library raise
        raise CordError(f"{name or path}: no tokenizer could be loaded from {path!r}: {first_line(error)}") from error
    if not tokenizer.is_fast:
        raise CordError(f"{name or path}: needs a fast tokenizer (tokenizer.json); this one is slow")
    if chat_template and (unreadable := file_fault(chat_template)):
        raise CordError(f"{name or path}: chat_template {chat_template} {unreadable}")
    template = Path(chat_template).read_text(encoding="utf-8") if chat_template else None
    system = recommended_system_prompt(path) if system_prompt is None else system_prompt
    return Renderer(
        tokenizer,
        system_prompt=system,
        chat_template=template,
        template_args=template_args,
        thought=thought,
        suffix=suffix,
        name=name or path,
    )
