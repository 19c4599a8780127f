"""What is said of a recipe that is wrong: who said it, where, and what to write instead."""

import pytest

from cord_distill.common.errors import CordError
from cord_distill.recipe.file import load_recipe

TEXT = """\
teachers:
  - {model: ./m, name: m}
meta_prover: {same_as: m}
decode:
  beam_size: 2
variants:
  wide: {decode.beam_size: zero}
"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "base.yaml").write_text(TEXT)
    return tmp_path / "base.yaml"


def said(path, *overrides):
    with pytest.raises(CordError) as caught:
        load_recipe(path, overrides)
    return str(caught.value)


def test_an_overrides_fault_is_the_overrides(path):
    """Fails the version that names line 5 of the file, which says 2."""
    assert said(path, "decode.beam_size=four").startswith("override 'decode.beam_size=four': decode.beam_size: ")
    assert said(path, "data.filters.correct=perhaps").startswith("override 'data.filters.correct=perhaps': ")
    assert said(path, "decode.budgets.max_step_tokens=99999").startswith("override 'decode.budgets.max_step_tokens")


def test_the_files_fault_stays_the_files_beside_an_override(path):
    path.write_text(TEXT.replace("beam_size: 2", "beam_sise: 2"))
    assert said(path, "seed=3").startswith("base.yaml, line 5: decode.beam_sise: unknown key; did you mean")


def test_a_variants_value_counts_over_the_overrides(path):
    assert said(path, "decode.beam_size=3", "variant=wide").startswith("base.yaml, line 7: decode.beam_size: ")


@pytest.mark.parametrize("bring", ["variants={own: {decode.beam_sise: 3}}", "variants.own={decode.beam_sise: 3}"])
def test_a_variants_fault_is_the_overrides_that_brought_the_variant(path, bring):
    """Fails the version that blames line 1 of the file, which has no such variant."""
    assert said(path, bring, "variant=own").startswith(f"override {bring!r}: decode.beam_sise: unknown key; did you")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("teachers=[./model]", "write {model: ./model}"),
        ("problems=questions.jsonl", "write {path: questions.jsonl}"),
        ("meta_prover=qwen", "write {same_as: NAME_OF_A_TEACHER}"),
        ("track.wandb=false", "write {mode: disabled}"),
        ("evaluate.suites=math_500", "write [math_500]"),
        ("train.micro_batch_size=2", "did you mean 'per_device_train_batch_size'?"),
        ("train.num_epochs=2", "did you mean 'num_train_epochs'?"),
        ("train.lora_target_linear=true", "did you mean lora_target_modules: [all-linear]?"),
        ("train.dataset_name=x", "data.sources"),
        ("train.max_seq_length=2", "did you mean 'max_length'?"),
        ("decode.max_step_tokens=2", "did you mean 'decode.budgets.max_step_tokens'?"),
        ("reasoning_tokens=2", "did you mean 'decode.budgets.reasoning_tokens'?"),
        ("beam_size=2", "did you mean 'decode.beam_size'?"),
        ("decode.budgets={reasoning_tokens: 100", "it has not as many { and }, close what is open"),
        ("evaluate.suites=[aime24", "it has not as many [ and ], close what is open"),
        ("decode.step_marker=a: b: c", "quote it"),
        ("teachers[0].name=x", "an item of a list goes by its number: teachers.0.name=x"),
    ],
)
def test_what_people_write_from_habit_is_answered(path, override, words):
    assert words in said(path, override)


def test_a_file_that_is_no_yaml_shows_the_line_and_the_place(path):
    path.write_text("name: x\ndecode: {beam_size: 2\ntrain: {}\n")
    text = said(path)
    assert (
        text.startswith("base.yaml, line 3, column 6: not readable as YAML") and "^" in text and "<unicode" not in text
    )


def test_a_folder_is_told_from_a_file_that_is_not_there(path):
    with pytest.raises(CordError, match="is a folder; give a file in it"):
        load_recipe(path.parent)
    (path.parent / "recipe.yaml").write_text(TEXT)
    with pytest.raises(CordError, match=r"is a folder; its recipe is .*recipe\.yaml"):
        load_recipe(path.parent)
