"""What a model is sent, read from its folder's files: one line, no library, and the kinds that are odd."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cord_distill.decode.model_facts import facts_line, model_facts
from cord_distill.prompts.coder import puts_blanks
from cord_distill.prompts.tokenizer_file import added_tokens, changes_text, tokenizer_head
from cord_distill.worlds.random_models import FAMILIES, build_tokenizer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}


def folder_of(path: Path, *, tokens: dict[str, int], known: Any, config: Any, ends: Any = None, **parts: Any) -> Path:
    """A model folder of which the tokenizer's head, its names and its lengths matter."""
    path.mkdir()
    added = [{"id": number, "content": token, "special": True} for token, number in tokens.items()]
    head = {"version": "1.0", "truncation": None, "added_tokens": added, **parts, "model": {"vocab": {"a": 0}}}
    (path / "tokenizer.json").write_text(json.dumps(head, indent=2))
    (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHATML, **known}))
    (path / "config.json").write_text(json.dumps(config))
    if ends is not None:
        (path / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    return path


TOKENS = {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}


def test_the_line_of_an_ordinary_model(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path / "m",
        tokens=TOKENS,
        known={"bos_token": "<|im_start|>", "eos_token": {"content": "<|im_end|>"}, "pad_token": "<|im_end|>"},
        config={"model_type": "llama", "vocab_size": 49152, "max_position_embeddings": 8192},
    )
    assert facts_line(model_facts(folder)) == (
        "llama, vocabulary 49,152, context 8,192; BOS <|im_start|> (1), EOS <|im_end|> (2), pad <|im_end|> (2), ends a "
        "turn with <|im_end|> (2); <think> as text </think> as text, opened by us; system message none sent (would be "
        "kept)"
    )


def test_odd_models_are_told_as_they_are(tmp_path: Path) -> None:
    """EOS as a list, no pad and no BOS, a nested config, YaRN, tags that are tokens, a blank before every text.

    Fails for a line that takes EOS from one file, lengths from the top of the config, or prints None.
    """
    yarn = {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}}
    folder = folder_of(
        tmp_path / "m",
        tokens={**TOKENS, "<think>": 7, "</think>": 8},
        known={"eos_token": "<|endoftext|>", "chat_template": CHATML + "<think>\n"},
        config={
            "model_type": "pictures",
            "text_config": {"model_type": "qwen3", "vocab_size": 9, "max_position_embeddings": 32768, **yarn},
        },
        ends=[2, 0, 106],
        pre_tokenizer=METASPACE,
    )  # fmt: skip
    line = facts_line(model_facts(folder, template_args={"enable_thinking": True}, system="Be brief."))
    assert line.startswith("qwen3, vocabulary 9, context 131,072 (YaRN, from 32,768); ")
    assert "BOS none, EOS <|endoftext|> (0), pad none, ends a turn with <|im_end|> (2), also ended by 106" in line
    assert "<think> (7) </think> (8), opened by its template; system message kept (9 characters)" in line
    assert "puts a blank before every text" in line


def test_a_system_message_that_a_template_drops_or_refuses_is_said(tmp_path: Path) -> None:
    shared: Any = {"tokens": TOKENS, "config": {}}
    drops = "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}"
    raises = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + CHATML
    for name, template, said in (("a", drops, "left out"), ("b", raises, "refused")):
        facts = model_facts(folder_of(tmp_path / name, known={"chat_template": template}, **shared), system="Be brief.")
        assert facts.system == f"{said} (9 characters)"
        assert "context not stated" in facts_line(facts)


def test_the_head_is_the_library_s_own(tmp_path: Path) -> None:
    """A file as `save_pretrained` writes it. Fails for a reader that knows one order or one spacing of the file."""
    tokenizer = build_tokenizer(FAMILIES["r1"], "r1")
    tokenizer.save_pretrained(tmp_path)
    head = tokenizer_head(tmp_path)
    assert added_tokens(head) == tokenizer.get_added_vocab()
    assert "model" not in head and head["decoder"]["type"] == "ByteLevel"
    compact = json.dumps(json.loads((tmp_path / "tokenizer.json").read_text()), separators=(",", ":"))
    (tmp_path / "tokenizer.json").write_text(compact)
    assert tokenizer_head(tmp_path) == head
    for broken in ("", "[", '{"added_tokens": [', '{"added_tokens": "x"}', "[" * 100_000):
        (tmp_path / "tokenizer.json").write_text(broken)
        assert not added_tokens(tokenizer_head(tmp_path))


@pytest.mark.parametrize(
    ("part", "blank", "changes"),
    [
        ({"pre_tokenizer": METASPACE}, True, None),
        ({"pre_tokenizer": {**METASPACE, "prepend_scheme": "never"}}, False, None),
        ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}]}}, True, None),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}}, True, None),
        ({"normalizer": {"type": "NFC"}}, False, None),
        ({"normalizer": {"type": "Lowercase"}}, False, "lower-cases it"),
        ({"pre_tokenizer": {"type": "BertPreTokenizer"}}, False, "drops line breaks and blanks"),
        ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "Strip"}]}}, False, "strips blanks"),
    ],
)  # fmt: skip
def test_what_a_tokenizer_does_to_blanks_and_text(part: dict[str, Any], blank: bool, changes: str | None) -> None:
    assert (puts_blanks(part), changes_text(part)) == (blank, changes)


def test_check_names_a_tokenizer_that_changes_text_and_a_model_without_an_end(tmp_path: Path) -> None:
    """Fails where that is said by the engine pool, after minutes of loading, or by a student that never stops."""
    from cord_distill.decode.check_templates import template_faults
    from cord_distill.recipe.recipe import Recipe

    shared: Any = {"tokens": TOKENS, "config": {}}
    endless = "{% for m in messages %}{{ m.content }}{% endfor %}"
    lower = folder_of(tmp_path / "lower", known={}, normalizer={"type": "Lowercase"}, **shared)
    open_end = folder_of(tmp_path / "open", known={"chat_template": endless}, **shared)
    good = folder_of(tmp_path / "good", known={"eos_token": "<|im_end|>", "chat_template": endless}, **shared)
    teachers = [{"model": str(path)} for path in (lower, open_end, good)]
    faults = template_faults(Recipe.model_validate({"name": "r", "teachers": teachers}))
    assert [fault.partition(": ")[0] for fault in faults] == ["teachers.0", "teachers.1"]
    assert "it lower-cases it, so a trace would change" in faults[0] and "names an end of turn" in faults[1]


def test_the_facts_are_read_without_a_library() -> None:
    heavy = "{'torch', 'transformers', 'tokenizers'}"
    code = f"import sys, cord_distill.decode.model_facts; print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
