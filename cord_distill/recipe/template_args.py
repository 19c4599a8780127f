"""What a recipe may give a chat template (`chat_template_kwargs`), and what it may not."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator

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
