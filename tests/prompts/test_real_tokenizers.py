"""Tokenizers with the manners of published models that the toy world does not have, each trained on the spot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cord_distill.common.errors import CordError
from cord_distill.prompts.render import Renderer
from cord_distill.worlds.random_models import CHATML_TEMPLATE, FAMILIES, ONE_DIGIT, Family, build_tokenizer

GEMMA_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
{{- '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\\n' -}}
{{- message['content'] + '<end_of_turn>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<start_of_turn>model\\n' -}}
{%- endif -%}
"""
# As in Gemma: added, and not marked special.
TEXT_TOKENS = ("\n", "\n\n", "\n\n\n", "\t", "▁▁", "<table>", "<td>", "</td>", "[multimodal]", "triangle")
GEMMA = Family(
    vocab=640, split=ONE_DIGIT, template=GEMMA_TEMPLATE, architecture="llama",
    special=("<pad>", "<eos>", "<bos>", "<unused0>"), eos="<eos>", pad="<pad>", bos="<bos>", adds_bos=True,
    thought_tokens=False,
)  # fmt: skip
SMOLLM = Family(
    vocab=640, split=ONE_DIGIT, template=CHATML_TEMPLATE, architecture="llama",
    special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"), eos="<|im_end|>", pad="<|im_end|>", bos="<|im_start|>",
    thought_tokens=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def gemma() -> Renderer:
    tokenizer = build_tokenizer(GEMMA, "gemma")
    # The roles' tags of some published tokenizers are not marked special either.
    tokenizer.add_tokens([*TEXT_TOKENS, "<start_of_turn>", "<end_of_turn>"])
    return Renderer(tokenizer, name="gemma")


def bans(renderer: Renderer) -> set[str]:
    from cord_distill.decode.model import Model
    from cord_distill.engines.base import Sampling

    model = Model(renderer.name, renderer.name, None, renderer, Sampling(0, 0))  # type: ignore[arg-type]
    return set(renderer.tokenizer.convert_ids_to_tokens(list(model.banned_ids)))


def row(question: str = "What is 1+2?", completion: str = "### Step 1. 3\n\n</think>\n\n\\boxed{3}") -> dict[str, Any]:
    answer = {"role": "assistant", "content": f"<think>\n{completion}"}
    return {"prompt": [{"role": "user", "content": question}], "completion": [answer]}


def rendered(tmp_path: Path, renderer: Renderer, *rows: dict[str, Any]) -> Any:
    from cord_distill.training.rows import render

    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return render(path, renderer, max_length=4096, max_tokens=None, context=None)


def test_a_gemma_teacher_may_write_line_breaks_tabs_and_tags(gemma: Renderer) -> None:
    """Fails the version that bans every added token: lines never end, so that no step marker can open one."""
    assert bans(gemma) == {"<pad>", "<bos>", "<unused0>", "<start_of_turn>"}
    step = gemma.encode("### Step 1. A triangle\n\n\t<table><td>3</td>\n### Step 2.")
    assert {gemma.tokenizer.convert_tokens_to_ids(t) for t in ("\n\n", "\t", "<table>", "triangle")} <= set(step)
    assert not set(step) & set(gemma.tokenizer.convert_tokens_to_ids(sorted(bans(gemma))))


def test_the_end_of_a_gemma_turn_is_its_tag_and_no_line_break(gemma: Renderer) -> None:
    """Fails the version that knows tokens marked special only: the tag here is not."""
    assert gemma.end_of_turn == "<end_of_turn>"


def test_tags_of_the_users_own_system_prompt_are_text() -> None:
    """Fails the version that takes every tag in the rendered conversation for one of the template."""
    tokenizer = build_tokenizer(GEMMA, "gemma")
    tokenizer.add_tokens(["<table>", "<start_of_turn>"])
    renderer = Renderer(tokenizer, system_prompt="Write a <table>.", name="gemma")
    assert "<table>" not in renderer.control_tokens and "<start_of_turn>" in renderer.control_tokens


def test_a_second_think_is_banned_whether_marked_special_or_not() -> None:
    """Fails the version that bans special tokens alone: `<think>` is added without the mark in published tokenizers."""
    for special in (False, True):
        tokenizer = build_tokenizer(replace(SMOLLM, special=SMOLLM.special), "think")
        tokenizer.add_tokens(["<think>", "</think>"], special_tokens=special)
        assert bans(Renderer(tokenizer, name="think")) == {"<|endoftext|>", "<|im_start|>", "<think>"}


def test_a_bos_that_opens_every_turn_can_be_trained(tmp_path: Path) -> None:
    """SmolLM2's BOS is `<|im_start|>`. Fails the version that counts: "BOS stands 3 times"."""
    renderer = Renderer(build_tokenizer(SMOLLM, "smollm"), system_prompt="Be brief.", name="smollm")
    row_with_system = row()
    row_with_system["prompt"].insert(0, {"role": "system", "content": "Be brief."})
    (ids,) = rendered(tmp_path, renderer, row_with_system).columns["input_ids"]
    assert ids.count(renderer.tokenizer.bos_token_id) == 3


@pytest.mark.parametrize("where", ["added", "lost"])
def test_a_bos_that_the_template_did_not_write_is_refused(tmp_path: Path, where: str) -> None:
    """Fails the version that allows any count, or that checks for too many alone."""
    renderer = Renderer(build_tokenizer(FAMILIES["r1"], "r1"), name="r1")
    bos = renderer.tokenizer.bos_token_id
    honest = renderer.coder.encode_first
    renderer.coder.encode_first = lambda text: (  # type: ignore[method-assign]
        ([bos] if where == "added" and "User" in text else [])
        + [i for i in honest(text) if where == "added" or i != bos]
    )
    with pytest.raises(CordError, match=f"stands {2 if where == 'added' else 0} times in the prompt's ids and 1 times"):
        rendered(tmp_path, renderer, row())


def test_a_student_whose_think_tags_are_special_tokens_can_be_trained(tmp_path: Path) -> None:
    """Fails the version that takes every special token for a control token: no row would be left."""
    tokenizer = build_tokenizer(SMOLLM, "special")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    out = rendered(tmp_path, Renderer(tokenizer, name="special"), row())
    assert len(out.columns["labels"]) == 1 and not out.dropped


def test_a_path_that_begins_with_a_variable_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the version that takes `$HOME/x` for a hub id."""
    from cord_distill.model_files.locate import is_on_the_hub, model_path
    from cord_distill.recipe.recipe import Recipe

    monkeypatch.setenv("MODELS_HERE", str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    recipe: Recipe = None  # type: ignore[assignment]
    assert model_path(recipe, "$MODELS_HERE", "k") == str(tmp_path)
    assert not is_on_the_hub("$MODELS_HERE")
    with pytest.raises(CordError, match="holds no model"):
        model_path(recipe, "$MODELS_HERE/no", "k")
