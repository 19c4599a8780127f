"""The keys that say how a model is prompted: what its chat template is told (`chat_template_kwargs`), how it marks its
thought (`think_open`, `think_close`), and what stands behind its question (`prompt_suffix`)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator

from cord_distill.types import THINK_CLOSE, THINK_OPEN

# What the renderer itself says to `apply_chat_template`, and what would make ids or another object of its text.
TAKEN = {
    "add_generation_prompt", "chat_template", "continue_final_message", "conversation", "max_length", "messages",
    "padding", "return_assistant_tokens_mask", "return_dict", "return_tensors", "tokenize", "tokenizer_kwargs",
    "truncation",
}  # fmt: skip


def check_template_args(value: dict[str, Any]) -> dict[str, Any]:
    """Returns `value` as it is. Raises ValueError where a key is not one of the template's own."""
    for key in value:
        if key in TAKEN:
            raise ValueError(f"{key!r} is set by cord-distill itself: remove it from chat_template_kwargs")
        if not key.isidentifier():
            raise ValueError(f"{key!r} is no name that a template can read; write e.g. enable_thinking: true")
    return value


TemplateArgs = Annotated[dict[str, Any], AfterValidator(check_template_args)]

# What the recipe says of a model's thought and question, with the defaults. Results are bound to other values alone.
PROMPT_DEFAULTS = {"think_open": THINK_OPEN, "think_close": THINK_CLOSE, "prompt_suffix": ""}


def in_quotes(value: Any) -> Any:
    """Returns `value` as it is. Raises ValueError for what YAML makes of an unquoted `[THINK]`."""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        raise ValueError(f"brackets are a list in YAML; put the text in quotes: '\"[{', '.join(value)}]\"'")
    return value


def check_thought(section: dict[str, Any]) -> None:
    """Raises ValueError where a section's opening and closing text could not be told apart, or are no texts."""
    for key, default in PROMPT_DEFAULTS.items():
        in_quotes(section.get(key, default))
        if not isinstance(section.get(key, default), str):
            raise ValueError(f"[{key}] {section[key]!r} is no text")
    opens, closes = (section.get(key, PROMPT_DEFAULTS[key]).strip() for key in ("think_open", "think_close"))
    for key, text in (("think_open", opens), ("think_close", closes)):
        if not text:
            raise ValueError(f"[{key}] is empty; write the text of the model's card, such as [THINK], or leave it out")
    if closes in opens or opens in closes:
        raise ValueError(f"[think_close] {closes!r} and think_open {opens!r} could not be told apart")
    if (opens == THINK_OPEN.strip()) != (closes == THINK_CLOSE):
        lacking = "think_close" if closes == THINK_CLOSE else "think_open"
        raise ValueError(f"[{lacking}] is missing: a model that has another one of the two has another pair")


def student_prompt(train: dict[str, Any]) -> dict[str, Any]:
    """The keys of `train` that a `Model` section has too: how the student is prompted, wherever it is."""
    return {"chat_template_kwargs": train.get("chat_template_kwargs") or {}, **told_of_prompt(train)}


def told_of_prompt(section: dict[str, Any]) -> dict[str, Any]:
    """The keys of a section that say more of its prompt than the defaults do."""
    return {key: section[key] for key, default in PROMPT_DEFAULTS.items() if section.get(key, default) != default}
