"""One line about what a model is sent, from its folder's files alone: for `cord check` and `cord show`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cord_distill.common.jsonl import read_object
from cord_distill.model_files.context import Context, context_of, language_model
from cord_distill.prompts.coder import puts_blanks
from cord_distill.prompts.template_check import PROBE, rendered, template_text, written_token
from cord_distill.prompts.thought import Thought
from cord_distill.prompts.tokenizer_file import added_tokens, tokenizer_head

ANSWER = "The sum is 42."
SYSTEM = "Answer in one word."


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model's files say of its prompts. tokens: BOS, EOS, pad and the end of turn as they are written, "" where
    the model has none. ids: of the tokenizer's added tokens. ends: further ids that end a generation, from
    generation_config.json. blanks: the tokenizer puts one before every text. opens: the template opens the thought
    itself. system: what it does with a system message.
    """

    family: str
    vocabulary: int | None
    context: Context
    tokens: dict[str, str]
    ids: dict[str, int]
    ends: tuple[int, ...]
    blanks: bool
    opens: bool
    thought: Thought
    system: str


def model_facts(
    folder: Path, *, chat_template: str | None = None, template_args: dict[str, Any] | None = None, system: str = "",
    thought: Thought | None = None,
) -> ModelFacts:  # fmt: skip
    """Reads the facts from a model's folder. Arguments as for template_check.template_fault; a template that fails
    leaves its facts out."""
    config = read_object(folder / "config.json") or {}
    known = read_object(folder / "tokenizer_config.json") or {}
    head = tokenizer_head(folder)
    ids = added_tokens(head)
    template = template_text(folder, known, chat_template)
    told, thought = template_args or {}, thought or Thought()
    tokens = {name: written_token(known.get(f"{name}_token")) for name in ("bos", "eos", "pad")}
    user = {"role": "user", "content": PROBE}
    prompt, said = _tried(template, [user], known, told), {"role": "assistant", "content": ANSWER}
    tail = _tried(template, [user, said], known, told, asks=False).rpartition(ANSWER)[2].strip()
    ending = next((token for token in sorted(ids, key=len, reverse=True) if token and tail.startswith(token)), "")
    tokens["turn"] = ending or tokens["eos"]
    ends = (read_object(folder / "generation_config.json") or {}).get("eos_token_id")
    listed = ends if isinstance(ends, list) else [] if ends is None else [ends]
    named = {ids.get(tokens["eos"]), ids.get(tokens["turn"])}
    text = language_model(config)
    return ModelFacts(
        family=str(text.get("model_type") or config.get("model_type") or "unknown family"),
        vocabulary=text.get("vocab_size") or config.get("vocab_size"),
        context=context_of(config),
        tokens=tokens,
        ids=ids,
        ends=tuple(int(i) for i in listed if i not in named),
        blanks=puts_blanks(head),
        opens=prompt.rstrip().endswith(thought.tag),
        thought=thought,
        system=_system(template, user, known, told, system),
    )


def facts_line(facts: ModelFacts) -> str:
    """Returns the line of `cord check`: `llama, vocabulary 49,152, context 8,192; BOS <|im_start|> (1), ends a turn
    with <|im_end|> (2); ...`"""
    context = facts.context
    length = "not stated" if context.positions is None else f"{context.positions:,}"
    if context.stated and context.positions and context.positions > context.stated:
        length += f" (YaRN, from {context.stated:,})"
    vocabulary = f"{facts.vocabulary:,}" if facts.vocabulary else "not stated"
    names = {"bos": "BOS", "eos": "EOS", "pad": "pad"}
    tokens = [f"{name} {_token(facts, facts.tokens[key])}" for key, name in names.items()]
    tokens.append(f"ends a turn with {_token(facts, facts.tokens['turn'])}")
    if facts.ends:
        tokens.append(f"also ended by {', '.join(map(str, facts.ends))}")
    tags = " ".join(
        f"{tag} ({facts.ids[tag]})" if tag in facts.ids else f"{tag} as text"
        for tag in (facts.thought.tag, facts.thought.close)
    )
    thought = "opened by its template" if facts.opens else "opened by us"
    blanks = "; puts a blank before every text, which steps are freed of" if facts.blanks else ""
    return (
        f"{facts.family}, vocabulary {vocabulary}, context {length}; {', '.join(tokens)}; {tags}, {thought}; "
        f"system message {facts.system}{blanks}"
    )


def _token(facts: ModelFacts, token: str) -> str:
    return (f"{token} ({facts.ids[token]})" if token in facts.ids else token) or "none"


def _tried(template: str, turns: list[dict[str, str]], config: dict[str, Any], told: Any, *, asks: bool = True) -> str:
    """Renders the turns; "" where the template fails: that is a fault of its own, which template_check names."""
    try:
        return rendered(template, turns, config, told, asks=asks)
    except Exception:
        return ""


def _system(template: str, user: dict[str, str], config: dict[str, Any], told: Any, system: str) -> str:
    """Says what the template makes of the recipe's system message, or of one that a user might give."""
    sent = system or SYSTEM
    found = _tried(template, [{"role": "system", "content": sent}, user], config, told)
    does = "refused" if not found else "kept" if sent.strip() in found else "left out"
    return f"{does} ({len(system)} characters)" if system else f"none sent (would be {does})"
