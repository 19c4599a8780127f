"""Checks a model folder's chat template before anything is loaded, with jinja2 alone: no tokenizer, no engine.

`cord check` and `cord generate` call `template_fault` for every local model, so that a template that cannot be used is
named in seconds and not behind minutes of loading.
"""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path
from typing import Any

from cord_distill.common.jsonl import read_object
from cord_distill.common.suggest import did_you_mean
from cord_distill.common.terminal import first_line
from cord_distill.prompts.thought import Thought
from cord_distill.prompts.tokenizer_file import added_tokens, tokenizer_head

PROBE = "What is the sum of 17 and 25?"
# Marks where a template writes the assistant's part, for training; it writes nothing.
GENERATION = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")
# Texts of tokenizer_config.json that templates write.
TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")
# Names by which templates let the user ask for a thought.
SWITCHES = ("enable_thinking", "thinking")


def template_fault(
    folder: Path,
    *,
    chat_template: str | None = None,
    template_args: dict[str, Any] | None = None,
    system_prompt: str = "",
    key: str = "chat_template",
    thinks: bool = True,
    thought: Thought | None = None,
) -> str | None:
    """One sentence about what makes the folder's chat template unusable, None where nothing does.

    chat_template: path of a Jinja file that replaces the model's own. template_args: what it is told besides
    (`chat_template_kwargs`). system_prompt: what the recipe puts first. key: the recipe's key for such a file. thinks:
    the model is to write a thought (a reward model reads one). thought: how it marks it.
    """
    config = read_object(folder / "tokenizer_config.json") or {}
    if chat_template and (unreadable := file_fault(chat_template)):
        return f"{key} {chat_template} {unreadable}"
    template = template_text(folder, config, chat_template)
    if not template:
        return f"the tokenizer has no chat template; give one with `{key}: ./file.jinja`, or take a chat model"
    fix = f"give another with `{key}: ./file.jinja`"
    user = {"role": "user", "content": PROBE}
    told = template_args or {}
    unread = _unread(template, told)
    if unread:
        return unread
    try:
        prompt = rendered(template, [user], config, told)
    except Exception as error:
        return f"its chat template fails on a plain question ({first_line(error)}); {fix}"
    if PROBE not in prompt:
        return f"its chat template leaves the question out of the prompt (it may want a list of content parts); {fix}"
    thought = thought or Thought()
    unknown = thought.fault(added_tokens(tokenizer_head(folder)), template)
    if thinks and unknown:
        return unknown
    if thinks and prompt.rstrip().endswith(thought.close.strip()):
        return f"its chat template closes the thought before the model writes one; {_switch(template)}{fix}"
    if system_prompt:
        try:
            rendered(template, [{"role": "system", "content": system_prompt}, user], config, told)
        except Exception as error:
            return f'its chat template takes no system message ({first_line(error)}); set system_prompt: "", or {fix}'
    return None


def file_fault(chat_template: str) -> str | None:
    """Why a Jinja file that the recipe names cannot be read, as the end of a sentence; None where it can."""
    try:
        Path(chat_template).read_text(encoding="utf-8")
    except FileNotFoundError:
        return "is not there"
    except OSError as error:
        return f"cannot be read ({error.strerror}); give a Jinja file"
    except UnicodeError:
        return "is no UTF-8 text; save it as UTF-8"
    return None


def template_text(folder: Path, config: dict[str, Any], chat_template: str | None = None) -> str:
    """The template that counts: of the file that the recipe names, else the folder's own (chat_template.jinja, then
    tokenizer_config.json, then chat_template.json), else "". Bytes that are no UTF-8 become replacement signs."""
    file = Path(chat_template) if chat_template else folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8", errors="replace")
    beside = read_object(folder / "chat_template.json") or {}
    found = config.get("chat_template") or beside.get("chat_template") or ""
    if isinstance(found, list):
        named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
        return str(named.get("default") or "")
    return str(found)


def _unread(template: str, told: dict[str, Any]) -> str | None:
    """A sentence about a key of `chat_template_kwargs` that the template never reads, so that it would do nothing."""
    known = read_names(template) if told else set()
    for key in told:
        if known and key not in known:
            reads = did_you_mean(key, known, f"it reads {', '.join(sorted(known - set(TOKENS)))}")
            return f"chat_template_kwargs.{key}: its chat template reads no such name; {reads}"
    return None


def _switch(template: str) -> str:
    """The advice to set the template's own switch, where it has one."""
    found = [name for name in SWITCHES if name in read_names(template)]
    return f"set `chat_template_kwargs: {{{found[0]}: true}}`, or " if found else ""


def read_names(template: str) -> set[str]:
    """Names that a template reads from outside; empty where it cannot be parsed (rendering says why)."""
    from jinja2 import TemplateError, meta

    try:
        return set(meta.find_undeclared_variables(_environment().parse(GENERATION.sub("", template))))
    except TemplateError:
        return set()


def _environment() -> Any:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])


def rendered(
    template: str,
    messages: list[dict[str, str]],
    config: dict[str, Any],
    told: dict[str, Any],
    *,
    asks: bool = True,
) -> str:
    """What the template makes of `messages`, as transformers would. config: tokenizer_config.json. told: further names.

    asks: up to where the assistant begins to write. Raises whatever the template raises.
    """
    from jinja2 import TemplateError

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    environment = _environment()
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    tokens = {name: written_token(config.get(name)) for name in TOKENS}
    text = environment.from_string(GENERATION.sub("", template))
    return text.render(messages=messages, add_generation_prompt=asks, **{**tokens, **told})


def written_token(value: Any) -> str:
    """A token of tokenizer_config.json as it is written, "" where there is none."""
    return str(value["content"]) if isinstance(value, dict) and "content" in value else str(value or "")
