"""An experiment is a recipe file that was read once, with the recipes that a command works on."""

from pathlib import Path

import pytest

from cord_distill.recipe import file
from cord_distill.recipe.experiment import Experiment

RECIPE = """
extends: base.yaml
seed: [1, 2]
variants:
  wide: {decode.beam_size: 4}
  narrow: {decode.beam_size: 1}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text("decode: {budgets: {answer_tokens: 7}}\n")
    (tmp_path / "r.yaml").write_text(RECIPE)
    return tmp_path / "r.yaml"


def test_each_file_is_read_once_whatever_is_asked(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails a loader that reads the file again for every variant: an edit between two readings would make a run whose
    variants are of two recipes."""
    read = []
    monkeypatch.setattr(
        file, "compose", lambda text, name, compose=file.compose: (read.append(name), compose(text, name))[1]
    )
    experiment = Experiment.load(recipe)
    assert [one.decode.beam_size for one in experiment.variants] == [4, 1]
    assert [one.variant for one in experiment.methods] == ["wide", "narrow"]
    assert list(experiment.whole.variants) == ["wide", "narrow"]
    assert read == ["r.yaml", "base.yaml"]


def test_resolving_a_variant_leaves_the_others_alone(recipe: Path) -> None:
    """Fails overrides that are written into the tree that all variants share."""
    loaded = file.RecipeFile.read(recipe)
    assert loaded.resolve(["decode.budgets.answer_tokens=9"], "wide").decode.budgets.answer_tokens == 9
    assert loaded.resolve((), "narrow").decode.budgets.answer_tokens == 7


def test_a_picked_variant_is_what_stages_work_on_and_reports_show_all(recipe: Path) -> None:
    experiment = Experiment.load(recipe, ["variant=narrow", "seed=2"])
    (one,) = experiment.variants
    assert (one.variant, one.train_seed) == ("narrow", 2)
    assert [(method.variant, method.train_seed) for method in experiment.methods] == [("wide", None), ("narrow", None)]
    assert list(experiment.whole.variants) == ["wide", "narrow"] and experiment.recipe.variants == {}
