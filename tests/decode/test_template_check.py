"""Chat templates that cannot be used are named from a folder's files, before a tokenizer or an engine is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from cord_distill.common.errors import CordError
from cord_distill.decode.check_templates import check_templates, template_faults
from cord_distill.decode.generate import generate
from cord_distill.prompts.template_check import template_fault
from cord_distill.recipe.file import load_recipe
from cord_distill.run.first_pass import STAGES, first_pass

CHATML = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHATML
)
PARTS = "{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}"


def folder_of(path: Path, template: object, *, jinja: bool = False) -> Path:
    """A model folder of which only the template matters."""
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    config: dict[str, object] = {"bos_token": {"content": "<s>"}}
    if jinja:
        (path / "chat_template.jinja").write_text(str(template))
    elif template:
        config["chat_template"] = template
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("jinja", [False, True])
def test_an_ordinary_template_has_no_fault(tmp_path: Path, jinja: bool) -> None:
    assert template_fault(folder_of(tmp_path / "m", CHATML, jinja=jinja), system_prompt="Be brief.") is None


def test_an_open_thought_and_a_named_list_have_no_fault(tmp_path: Path) -> None:
    thinking = [
        {"name": "tool_use", "template": "{{ no_such() }}"},
        {"name": "default", "template": CHATML + "<think>\n"},
    ]
    assert template_fault(folder_of(tmp_path / "m", thinking)) is None


def test_marks_for_training_and_loop_controls_are_read(tmp_path: Path) -> None:
    template = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% break %}{% endfor %}"
    assert template_fault(folder_of(tmp_path / "m", template)) is None


@pytest.mark.parametrize(
    ("template", "system", "words"),
    [
        (None, "", "has no chat template"),
        (PARTS, "", "leaves the question out"),
        (CHATML + "<think>\n\n</think>\n\n", "", "closes the thought"),
        (NO_SYSTEM, "Be brief.", "takes no system message (System role not supported)"),
        ("{{ messages[0].content.nothing.at_all }}", "", "fails on a plain question"),
        ("{% if %}", "", "fails on a plain question"),
    ],
)
def test_each_fault_is_one_sentence_with_its_fix(tmp_path: Path, template: str | None, system: str, words: str) -> None:
    """Fails for a check that only asks whether a template is there."""
    fault = template_fault(folder_of(tmp_path / "m", template), system_prompt=system)
    assert fault is not None and words in fault and "chat_template" in fault and "\n" not in fault


def test_a_system_role_is_tried_only_where_one_is_sent(tmp_path: Path) -> None:
    assert template_fault(folder_of(tmp_path / "m", NO_SYSTEM)) is None


def test_check_and_generate_name_it_before_an_engine_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where the second teacher's template is looked at when the first teacher's engine has loaded."""
    good, bad = folder_of(tmp_path / "good", CHATML), folder_of(tmp_path / "bad", None)
    (tmp_path / "p.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n')
    recipe_file = tmp_path / "r.yaml"
    recipe_file.write_text(
        yaml.safe_dump(
            {
                "teachers": [{"model": str(good)}, {"model": str(bad)}],
                "meta_prover": {"same_as": "good"},
                "problems": {"path": str(tmp_path / "p.jsonl")},
                "output_dir": str(tmp_path / "out"),
            }
        )
    )
    recipe = load_recipe(str(recipe_file))
    (fault,) = template_faults(recipe)
    assert fault.startswith("teachers.1: bad: the tokenizer has no chat template")
    assert fault in first_pass([recipe]).of(STAGES)
    monkeypatch.setattr("cord_distill.decode.generate.EnginePool", None)
    with pytest.raises(CordError, match=r"teachers\.1: bad: the tokenizer has no chat template"):
        generate([recipe])
    own = load_recipe(str(recipe_file), [f"teachers.1.chat_template={tmp_path / 'own.jinja'}"])
    (tmp_path / "own.jinja").write_text(CHATML)
    check_templates(own)


def test_a_template_that_is_no_utf8_is_one_sentence(tmp_path: Path) -> None:
    """Fails the version that reads it as it comes: a UnicodeDecodeError in the midst of `cord check`."""
    folder, file = folder_of(tmp_path / "m", CHATML), tmp_path / "mine.jinja"
    file.write_bytes("Frage: ü".encode("latin-1"))
    assert template_fault(folder, chat_template=str(file)) == f"chat_template {file} is no UTF-8 text; save it as UTF-8"
    (folder / "chat_template.jinja").write_bytes(CHATML.encode() + b"\xff")
    assert template_fault(folder) is None


def test_a_list_of_templates_may_lack_a_name(tmp_path: Path) -> None:
    listed = [{"template": "no name"}, "no template", {"name": "default", "template": CHATML}]
    assert template_fault(folder_of(tmp_path / "m", listed)) is None


def test_a_judge_that_shares_nobodys_engine_is_named_with_all_other_faults(tmp_path: Path) -> None:
    """Fails the version that asks for every model's section: the first fault would be the only line of `cord check`."""
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump({"teachers": [{"model": str(folder_of(tmp_path / "m", PARTS)), "name": "t"}]}))
    judge = ["decode.selector=binary_judgment", "decode.binary_judgment.judge={same_as: nobody}"]
    assert "leaves the question out" in template_faults(load_recipe(path, judge))[0]
