"""`chat_template_kwargs`: what a recipe tells a chat template reaches every prompt that is made from it, and counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cord_distill.common.errors import CordError
from cord_distill.decode.hard_problems import try_inputs
from cord_distill.decode.inputs import decode_inputs
from cord_distill.evaluation.targets import targets
from cord_distill.prompts.render import load_renderer, renderer_of
from cord_distill.prompts.template_check import template_fault
from cord_distill.recipe.models import ModelConfig
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.checkpoints import training_inputs
from cord_distill.worlds.random_models import CHATML_TEMPLATE, ONE_DIGIT, Family, build_tokenizer

# As DeepSeek-V3.1: without being told, the prompt ends with a closed thought.
SWITCHED = CHATML_TEMPLATE.rstrip() + (
    "{%- if add_generation_prompt -%}{{- '<think>' if thinking else '</think>' -}}{%- endif -%}"
)
FAMILY = Family(
    vocab=640, split=ONE_DIGIT, template=SWITCHED, architecture="qwen3",
    special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"), eos="<|im_end|>", pad="<|endoftext|>",
)  # fmt: skip
OPEN = "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n<think>\n"
THINKING = {"thinking": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("switched")
    build_tokenizer(FAMILY, "switched").save_pretrained(path)
    (path / "config.json").write_text(json.dumps({"model_type": "qwen3"}))
    return path


def recipe_with(folder: Path, **told: Any) -> Recipe:
    section = {"model": str(folder), "chat_template_kwargs": told}
    return Recipe.model_validate(
        {
            "name": "r",
            "teachers": [{**section, "name": "t"}],
            "meta_prover": {**section, "name": "m"},
            "decode": {"integration": section, "process_reward": section, "binary_judgment": {"judge": section}},
            "problems": {"hard_for": section},
            "train": {"model_name_or_path": str(folder), "chat_template_kwargs": told},
            "evaluate": {"suites": ["aime24"], "models": [{**section, "name": "e"}], "judge": section},
        }
    )


def test_a_template_that_closes_the_thought_is_named_with_its_own_switch(folder: Path) -> None:
    """Fails for a check that does not hand the keys on, and for advice that names a switch of another template."""
    fault = template_fault(folder)
    assert fault is not None and "closes the thought" in fault and "`chat_template_kwargs: {thinking: true}`" in fault
    assert template_fault(folder, template_args=THINKING) is None
    assert template_fault(folder, thinks=False) is None


def test_a_key_that_the_template_never_reads_is_named(folder: Path) -> None:
    """Templates pass over unknown names in silence, so a typing error would be a key without effect."""
    fault = template_fault(folder, template_args={"think_ing": True})
    assert fault == "chat_template_kwargs.think_ing: its chat template reads no such name; did you mean 'thinking'?"


def test_decoding_training_and_evaluation_send_the_same_open_thought(folder: Path, tmp_path: Path) -> None:
    """Fails where one of the users of the renderer forgets the key, or a row with a system message of its own does."""
    from cord_distill.training.rows import render

    recipe = recipe_with(folder, **THINKING)
    assert renderer_of(recipe.teachers[0], str(folder)).prompt_text("1+1?") == OPEN
    (untrained,) = targets(recipe, ["untrained"])
    assert untrained.model.chat_template_kwargs == THINKING
    student = load_renderer(str(folder), template_args=recipe.train["chat_template_kwargs"], name="student")
    answer = {"role": "assistant", "content": "<think>\n2\n</think>\n\n2"}
    user = {"role": "user", "content": "1+1?"}
    rows = [[user], [{"role": "system", "content": "Be brief."}, user]]
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps({"prompt": turns, "completion": [answer]}) + "\n" for turns in rows))
    ids = render(file, student, max_length=999, max_tokens=None, context=None).columns["input_ids"]
    assert [student.decode(row) for row in ids] == [
        head + OPEN + "2\n</think>\n\n2<|im_end|>" for head in ("", "<|im_start|>system\nBe brief.<|im_end|>\n")
    ]


def test_the_key_is_part_of_every_fingerprint(folder: Path, tmp_path: Path) -> None:
    """Fails where a run goes on from answers to another prompt."""
    told, plain = recipe_with(folder, **THINKING), recipe_with(folder)
    ours = {key for key, value in decode_inputs(told).items() if decode_inputs(plain).get(key) != value}
    parts = ("teachers.0", "meta_prover", "decode.integration", "decode.process_reward", "decode.binary_judgment.judge")
    assert ours == {f"{part}.chat_template_kwargs.thinking" for part in parts}
    assert try_inputs(told) != try_inputs(plain)
    # A name that elsewhere only says where a model runs is a word to the template here.
    assert decode_inputs(recipe_with(folder, url="a")) != decode_inputs(recipe_with(folder, url="b"))
    data = tmp_path / "train.jsonl"
    data.write_text("{}\n")
    assert training_inputs(dict(told.train), data, None, "s") != training_inputs(dict(plain.train), data, None, "s")


def test_evaluation_and_judge_are_bound_to_it(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cord_distill.evaluation.jobs import make_job
    from cord_distill.grading.judge_engines import identity

    monkeypatch.setattr("cord_distill.evaluation.jobs.weights_hash", lambda *_: "w")
    monkeypatch.setattr("cord_distill.grading.judge_engines.weights_hash", lambda *_: "w")
    found = []
    for recipe in (recipe_with(folder, **THINKING), recipe_with(folder)):
        (target,) = targets(recipe, ["e"])
        judge = recipe.evaluate.judge
        assert judge is not None
        found.append((make_job(recipe, target, [], [], tmp_path).fingerprint, identity(judge, tmp_path / "w.json")))
    assert found[0][0] != found[1][0] and found[0][1] != found[1][1]


def test_a_server_is_told_in_the_body_as_vllm_takes_it() -> None:
    from cord_distill.engines.chat import ServedChat
    from cord_distill.recipe.models import ChatModelConfig

    section = ChatModelConfig(
        engine="server", url="http://127.0.0.1:1/v1", model="m", chat_template_kwargs={"enable_thinking": False}
    )
    assert ServedChat(section, timeout=1, wait=0).extra == {"chat_template_kwargs": {"enable_thinking": False}}
    own = section.model_copy(update={"engine_args": {"chat_template_kwargs": {"enable_thinking": True}}})
    assert ServedChat(own, timeout=1, wait=0).extra == {"chat_template_kwargs": {"enable_thinking": True}}


def test_every_user_of_the_renderer_refuses_a_closed_thought_and_a_lost_question(folder: Path) -> None:
    """A hub model's template is first seen when its tokenizer is loaded. Fails where training alone looks at it, and
    where a judge that is not to think gets a second, open thought behind its closed one."""
    renderer = load_renderer(str(folder), template_args={"thinking": False}, name="m")
    with pytest.raises(CordError, match=r"m: its chat template closes the thought .*chat_template_kwargs"):
        renderer.check_prompt()
    renderer.check_prompt(thinks=False)
    assert renderer.decode(renderer.prompt_ids("1+1?")).endswith("assistant\n</think>")
    renderer.tokenizer.chat_template = (
        "{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}"
    )
    with pytest.raises(CordError, match="leaves the question out of the prompt"):
        renderer.check_prompt(thinks=False)


@pytest.mark.parametrize("key", ["tokenize", "add_generation_prompt", "not a name"])
def test_names_that_are_not_the_templates_own_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r"chat_template_kwargs|enable_thinking"):
        ModelConfig(model="m", chat_template_kwargs={key: 1})
    with pytest.raises(ValueError, match=r"chat_template_kwargs|enable_thinking"):
        Recipe.model_validate({"name": "r", "train": {"chat_template_kwargs": {key: 1}}})
    with pytest.raises(ValueError, match="no mapping"):
        Recipe.model_validate({"name": "r", "train": {"chat_template_kwargs": "thinking"}})


def test_a_template_that_raises_is_one_sentence(folder: Path) -> None:
    """Fails where jinja's own exception crosses the seam: 40 lines, after the tokenizer of a hub model was loaded."""
    renderer = load_renderer(str(folder), system_prompt="Be brief.", template_args=THINKING, name="m")
    renderer.tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(CordError, match=r"m: its chat template fails on the roles system, user \(System role not supp"):
        renderer.prompt_text("1+1?")
