"""Looks at a model folder's chat template before anything is loaded: a few files and jinja2, no tokenizer, no engine.

`cord check` and `cord generate` call `template_fault` for every local model, so that a template that cannot be used is
named in seconds and not behind minutes of loading.
"""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path
from typing import Any

PROBE = "What is the sum of 17 and 25?"
# Marks where a template writes the assistant's part, for training; it writes nothing.
GENERATION = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")
# Texts of tokenizer_config.json that templates write.
TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")


def template_fault(folder: Path, *, chat_template: str | None = None, system_prompt: str = "") -> str | None:
    """One sentence about what makes the folder's chat template unusable, None where nothing does.

    chat_template: path of a Jinja file that replaces the model's own. system_prompt: what the recipe puts first.
    """
    config = _json(folder / "tokenizer_config.json")
    if chat_template and not Path(chat_template).is_file():
        return f"chat_template {chat_template} is not there"
    template = Path(chat_template).read_text(encoding="utf-8") if chat_template else _own_template(folder, config)
    if not template:
        return "the tokenizer has no chat template; give one with `chat_template: ./file.jinja`, or take a chat model"
    fix = "give another with `chat_template: ./file.jinja`"
    user = {"role": "user", "content": PROBE}
    try:
        prompt = _rendered(template, [user], config)
    except Exception as error:
        return f"its chat template fails on a plain question ({_first_line(error)}); {fix}"
    if PROBE not in prompt:
        return f"its chat template leaves the question out of the prompt (it may want a list of content parts); {fix}"
    if prompt.rstrip().endswith("</think>"):
        return f"its chat template closes the thought before the model writes one; {fix} that leaves it open"
    if system_prompt:
        try:
            _rendered(template, [{"role": "system", "content": system_prompt}, user], config)
        except Exception as error:
            return f'its chat template takes no system message ({_first_line(error)}); set system_prompt: "", or {fix}'
    return None


def _own_template(folder: Path, config: dict[str, Any]) -> str:
    """The text of chat_template.jinja, else what tokenizer_config.json or chat_template.json holds, else ""."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    found = config.get("chat_template") or _json(folder / "chat_template.json").get("chat_template") or ""
    if isinstance(found, list):
        named = {entry["name"]: entry["template"] for entry in found}
        return str(named.get("default", ""))
    return str(found)


def _rendered(template: str, messages: list[dict[str, str]], config: dict[str, Any]) -> str:
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    tokens = {name: _token(config.get(name)) for name in TOKENS}
    text = environment.from_string(GENERATION.sub("", template))
    return text.render(messages=messages, add_generation_prompt=True, **tokens)


def _token(value: Any) -> str:
    return str(value["content"]) if isinstance(value, dict) else str(value or "")


def _json(path: Path) -> dict[str, Any]:
    """The object in a file, {} where the folder has no such file. A broken one is the tokenizer's to complain of."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
