"""One rule for W&B's mode in every stage: the stricter of the recipe's and the shell's."""

import pytest

from cord_distill.recipe.recipe import Recipe
from cord_distill.tracking import wandb_mode as module
from cord_distill.tracking.wandb_mode import wandb_mode
from cord_distill.tracking.wandb_run import cell, wandb_run
from cord_distill.training.launch import training_command


@pytest.mark.parametrize(
    ("asked", "shell", "mode"),
    [
        ("offline", "online", "offline"),
        ("disabled", "online", "disabled"),
        ("disabled", "offline", "disabled"),
        ("online", "offline", "offline"),
        ("online", "disabled", "disabled"),
        ("online", "dryrun", "offline"),
        ("online", None, "online"),
        ("offline", "", "offline"),
        ("offline", "nonsense", "offline"),
        ("offline", " ONLINE ", "offline"),
    ],
)
def test_nothing_leaves_the_machine_that_the_recipe_keeps(monkeypatch, tmp_path, capsys, asked, shell, mode):
    """Fails the version in which training alone goes by an `online` that was left in the shell."""
    module._say.cache_clear()
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if shell is not None:
        monkeypatch.setenv("WANDB_MODE", shell)
    values = {"track": {"wandb": {"mode": asked}}, "train": {"model_name_or_path": "m"}}
    recipe = Recipe.model_validate({"name": "r", "output_dir": str(tmp_path), **values})
    assert wandb_mode(recipe) == mode
    assert training_command("r.yaml", recipe)[1]["WANDB_MODE"] == mode
    order, said = ["disabled", "offline", "online"], (shell or "").strip().lower()
    weaker = said in order and order.index(said) > order.index(asked)
    assert ("is left aside" in capsys.readouterr().err) == weaker
    if mode == "disabled":
        with wandb_run(recipe, "x", "test", {}) as run:
            assert run is None


def test_a_cell_is_no_formula_and_no_control_sequence():
    """An exported table is opened in a spreadsheet."""
    assert cell('=HYPERLINK("http://x")') == '\'=HYPERLINK("http://x")'
    assert [cell(x) for x in ("@a", "+1", "-b", "a=b", -0.5, None)] == ["'@a", "'+1", "'-b", "a=b", "-0.5", "None"]
    assert cell("\x1b[31mred") == "\\x1b[31mred"
