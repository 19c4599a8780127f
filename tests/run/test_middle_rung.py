"""The recipes between the toy and the large models: real text on one GPU, and on none."""

import json
from pathlib import Path

import pytest

from cord_distill.cli import main
from cord_distill.common.paths import bundled
from cord_distill.decode.problems import load_candidates
from cord_distill.evaluation.suites import find_suites, load_suite
from cord_distill.recipe.experiment import Experiment
from cord_distill.recipe.file import load_recipe

# A row as openai/gsm8k has it.
ROW = {"question": "What is 9 * 2 * 1000?", "answer": "9 * 2 * 1000 = <<9*2*1000=18000>>18,000.\n#### 18,000"}


@pytest.mark.parametrize(
    ("name", "methods"),
    [
        ("gsm8k_1gpu", ["cord", "curation", "single"]),
        ("gsm8k_cpu", ["cord", "curation"]),
        ("gsm8k_cpu_gemma", ["cord", "curation"]),
    ],
)
def test_cord_stands_against_baselines_on_the_hubs_questions(name, methods, capsys):
    """`cord check` needs no network. Fails the recipe whose meta-prover is none of its teachers, and the one that
    trains on what it is evaluated on."""
    assert main(["check", name, "--gpus", "1", "--gpu-memory", "24"]) == 0
    said = capsys.readouterr().out
    assert "not looked up, from the hub: " in said and "memory, predicted" in said
    recipes = Experiment.load(name).methods
    assert [recipe.decode.pipeline for recipe in recipes] == methods
    one = recipes[0]
    assert all(not teacher.chat_template or Path(teacher.chat_template).is_file() for teacher in one.teachers)
    assert len({teacher.model.split("/")[0] for teacher in one.teachers}) == len(one.teachers)
    assert one.meta_prover.same_as in [teacher.label for teacher in one.teachers]
    assert one.decode.step_instructions and (one.problems.dataset, one.problems.split) == ("openai/gsm8k", "train")


@pytest.mark.parametrize("name", ["gsm8k_1gpu", "gsm8k_cpu"])
def test_gsm8k_comes_from_files_by_key(name, tmp_path):
    """Fails the recipe whose known answer is the whole solution when its questions come from a file."""
    file = tmp_path / "gsm8k.jsonl"
    file.write_text(json.dumps(ROW))
    keys = ["problems.dataset=null", f"problems.path={file}", f"evaluate.data.gsm8k={file}"]
    recipe = load_recipe(bundled("recipes") / f"{name}.yaml", keys)
    suite = load_suite(find_suites(recipe.evaluate)["gsm8k"], recipe.evaluate)
    for problem in (*load_candidates(recipe), *suite.problems):
        assert (problem.question, problem.answer) == (ROW["question"], "18000")


def test_the_papers_recipes_are_without_step_instructions():
    for file in sorted(bundled("recipes").glob("r1_*.yaml")):
        assert load_recipe(file).decode.step_instructions == ""
