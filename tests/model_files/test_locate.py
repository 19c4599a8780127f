"""Where models lie and what their paths stand for."""

from __future__ import annotations

from pathlib import Path

import pytest

from cord_distill.common.errors import CordError
from cord_distill.model_files import locate
from cord_distill.model_files.content import by_content
from cord_distill.model_files.look import folder_facts, folder_faults, vocabulary_size
from cord_distill.model_files.tensors import module_names
from cord_distill.recipe.models import ModelsConfig


@pytest.mark.parametrize("module, label", [("models", "models"), ("my.builder", "my"), ("zoo.small", "small")])
def test_a_builder_may_be_called_like_the_section(module: str, label: str) -> None:
    """`models.py` beside a recipe is an ordinary name. Fails the version that looks for a better one: StopIteration."""
    assert locate.models_folder(ModelsConfig(builder=f"{module}:make")).name.rpartition("-")[0] == label


@pytest.mark.parametrize("value", ["~~~ Step {t}.", "~nobody-of-this-name/x", "/" + "x" * 5000])
def test_a_text_that_is_no_path_stays_as_it_is(value: str) -> None:
    """Fails the version that asks whose home `~~` is: a RuntimeError where a step marker begins with it."""
    assert by_content(value) == value


def test_an_error_of_the_hub_without_words_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the version that takes the first of no lines: an IndexError in place of the name of the model."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(CordError, match=r"org/model: neither a folder nor a model that the hub gives \(OSError\)"):
        locate.local_folder("org/model", None)


@pytest.mark.parametrize("part", ["text_config", "language_config", "llm_config"])
def test_heads_and_vocabulary_of_a_nested_config(tmp_path: Path, part: str) -> None:
    """Fails the version that knows one of the three names in each place."""
    inner = {"num_attention_heads": 6, "vocab_size": 99}
    (tmp_path / "config.json").write_text(f'{{"{part}": {str(inner).replace(chr(39), chr(34))}}}')
    assert folder_facts(tmp_path, "teachers.0.model").heads == 6
    assert vocabulary_size({part: inner, "vocab_size": 1}) == 99


def test_files_that_are_nested_too_deep_are_named(tmp_path: Path) -> None:
    """Fails the version that forgets RecursionError beside ValueError: a traceback in place of the file's name."""
    for name in ("config.json", "model.safetensors.index.json"):
        (tmp_path / name).write_text("[" * 100_000)
    with pytest.raises(CordError, match=r"teachers.0.model: .*config.json cannot be read as a JSON object"):
        folder_facts(tmp_path, "teachers.0.model")
    assert any("is no index of weights" in fault for fault in folder_faults(tmp_path, "k", weights=True))
    assert module_names(tmp_path) == frozenset()
