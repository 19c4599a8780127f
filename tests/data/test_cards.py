"""The cards of data sets and models: the hub can read their header, and what they say is what was counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard
from made_rows import made_scores, made_summary
from test_dataset import trajectory

from cord_distill.common.jsonl import own_rows
from cord_distill.data.build import build_dataset
from cord_distill.data.card import size_category
from cord_distill.evaluation.figures import ModelScores
from cord_distill.recipe.evaluate import EvaluateConfig
from cord_distill.recipe.recipe import Recipe
from cord_distill.report.model_card import student_figures, write_checkpoint_card, write_model_card
from cord_distill.run_folder.paths import RunFolder
from cord_distill.run_folder.training_folder import TrainingFolder

VALUES = {
    "name": "small",
    "teachers": [{"model": "Qwen/QwQ-32B", "name": "a"}, {"model": "built:b", "name": "b"}],
    "problems": {"path": "/home/me/secret/limo.jsonl", "grader": "math"},
    "data": {"filters": {"correct": False}},
    "train": {
        "model_name_or_path": "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
        "learning_rate": 5e-6,
        "max_length": 20480,
    },
    "evaluate": {"suites": ["aime24"], "max_new_tokens": 32768},
}
AIME = made_scores(0.6083, k=16, suite="aime24", avg_at_k_ci=[0.45, 0.75], num_problems=30)
SUMMARY = made_summary(students={"cord": AIME})


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """Its run folder holds a data set of two rows, one of them wrong, and a finished model without weights."""
    recipe = Recipe.model_validate({**VALUES, "output_dir": str(tmp_path / "run")})
    run = RunFolder.of(recipe)
    run.folder.mkdir()
    rows = [trajectory("p1"), trajectory("p2", correct=False)]
    run.trajectories.write_text("".join(json.dumps(row.to_row()) + "\n" for row in rows))
    build_dataset(recipe, run.trajectories, run.dataset)
    run.final_model.mkdir(parents=True)
    (run.final_model / "config.json").write_text("{}")
    (run.checkpoints / "done.json").write_text(
        json.dumps({"steps": 10, "world_size": 8, "zero_stage": 3, "mean_loss": 0.51234})
    )
    return recipe


# The data set.


def test_the_hub_can_read_the_header_of_a_data_set(recipe: Recipe) -> None:
    card = DatasetCard.load(RunFolder.of(recipe).dataset / "README.md")
    assert card.data.to_dict() == {
        "pretty_name": "small",
        "license": "other",
        "task_categories": ["text-generation"],
        "size_categories": ["n<1K"],
        "tags": ["reasoning", "chain-of-thought", "distillation", "synthetic", "cord-distill", "cord"],
        "configs": [{"config_name": "default", "data_files": "train.jsonl"}],
    }


def test_a_data_set_is_loaded_as_its_card_says(recipe: Recipe, tmp_path: Path) -> None:
    """Fails a header whose `configs` name a file that is not there, or that lets stats.json in as rows."""
    from datasets import load_dataset

    rows = load_dataset(str(RunFolder.of(recipe).dataset), split="train", cache_dir=str(tmp_path / "cache"))
    assert sorted(rows["id"]) == ["p1", "p2"]


def test_the_card_says_what_to_beware_of_and_no_path_of_this_machine(recipe: Recipe) -> None:
    text = (RunFolder.of(recipe).dataset / "README.md").read_text()
    assert "Questions and known answers: `limo.jsonl`. Graded by `math`." in text
    limits = text.partition("## Limits\n")[2].partition("## Recipe")[0].strip().splitlines()
    assert limits == [
        "- Written by language models: it holds their mistakes, their style, and what they were trained on.",
        "- 1 of the graded rows end in a wrong answer.",
        "- A right answer says little about the steps before it: traces were chosen by how well they predict the known "
        "answer.",
        "- Questions were not compared with any benchmark.",
        "- No licence was chosen: the terms of the questions and of every model that wrote here apply.",
    ]
    assert "secret" not in text and str(recipe.output_dir) not in text


def test_a_licence_that_was_chosen_is_said(recipe: Recipe, tmp_path: Path) -> None:
    values = {**VALUES, "data": {"filters": {"correct": False}, "licence": "cc-by-4.0"}}
    build_dataset(Recipe.model_validate(values), RunFolder.of(recipe).trajectories, tmp_path / "again")
    text = (tmp_path / "again/README.md").read_text()
    assert yaml.safe_load(text.split("---")[1])["license"] == "cc-by-4.0" and "No licence" not in text


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        (1, "n<1K"),
        (999, "n<1K"),
        (1000, "1K<n<10K"),
        (10_000, "10K<n<100K"),
        (99_999_999, "10M<n<100M"),
        (10**8, "n>100M"),
    ],
)
def test_sizes_are_those_of_the_hub(rows: int, name: str) -> None:
    assert size_category(rows) == name


# The model.


def test_the_hub_can_read_the_header_of_a_model(recipe: Recipe) -> None:
    path = write_model_card(recipe, SUMMARY)
    assert path == RunFolder.of(recipe).final_model / "README.md"
    data = ModelCard.load(path).data
    assert (data.base_model, data.license) == ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "other")
    assert (data.library_name, data.pipeline_tag, data.model_name) == ("transformers", "text-generation", "small-cord")
    (result,) = data.eval_results
    assert (result.dataset_name, result.metric_type, result.metric_value) == ("aime24", "avg@16", 60.83)


def test_a_model_card_says_what_was_trained_on_what_and_how(recipe: Recipe) -> None:
    text = write_model_card(recipe, SUMMARY).read_text()
    assert (
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B, fine-tuned on 2 reasoning traces written by Qwen/QwQ-32B, b (cord)"
        in text
    )
    assert "| aime24 | 60.8 [45.0, 75.0] | 16 | 30 |" in text
    for row in (
        "| learning_rate | 5e-06 |",
        "| seed | 0 |",
        "| updates | 10 |",
        "| ZeRO stage | 3 |",
        "| mean loss | 0.5123 |",
    ):
        assert row in text
    assert "1 of the 2 graded traces end in a wrong answer." in text and "arXiv:2605.02290" in text
    assert "secret" not in text


def test_scores_are_published_as_the_hub_reads_them(recipe: Recipe) -> None:
    """Fails scores of part of a benchmark, of a file in its place, and those of a student that was not evaluated."""
    from huggingface_hub import parse_eval_result_entries

    asked = recipe.model_copy(update={"evaluate": EvaluateConfig(suites=["aime24", "math_500"])})
    write_model_card(asked, SUMMARY)
    file = RunFolder.of(recipe).final_model / ".eval_results/cord-distill.yaml"
    (entry,) = parse_eval_result_entries(yaml.safe_load(file.read_text()))
    assert (entry.task_id, entry.value) == ("aime24", 60.83) and "/" in entry.dataset_id
    assert entry.notes.startswith("avg@16, T=0.6")
    for part in ({"limit": 5}, {"data": {"aime24": "/mine.jsonl"}}):
        evaluate = EvaluateConfig(suites=["aime24"], **part)
        write_model_card(recipe.model_copy(update={"evaluate": evaluate}), SUMMARY)
        assert not file.exists()


def test_the_example_asks_a_question_of_the_run(recipe: Recipe) -> None:
    text = write_model_card(recipe, SUMMARY).read_text()
    first = next(own_rows(RunFolder.of(recipe).dataset / "train.jsonl"))["prompt"][-1]["content"]
    assert json.dumps(first) in text and "12 * 13" not in text


def test_a_model_that_was_not_evaluated_claims_nothing(recipe: Recipe) -> None:
    """Fails a card with an empty table, or with the figures of another student."""
    text = write_model_card(recipe, made_summary(students={"curation": AIME})).read_text()
    assert "## Evaluation\nNot evaluated.\n" in text
    assert not ModelCard(text).data.eval_results


def test_a_local_base_model_is_no_hub_id(recipe: Recipe) -> None:
    local = recipe.model_copy(update={"train": {"model_name_or_path": "/home/me/models/student"}})
    text = write_model_card(local).read_text()
    assert ModelCard(text).data.base_model is None and "student, fine-tuned on" in text and "/home/me" not in text


def test_each_seed_has_its_own_figures() -> None:
    recipe = Recipe.model_validate({**VALUES, "seed": [3, 1]})
    summary = made_summary(students={"cord": ModelScores(seeds={3: AIME, 1: ModelScores()})})
    assert [student_figures(run, summary) for run in recipe.seed_runs()] == [AIME.suites, {}]


def test_an_exported_checkpoint_has_a_card_with_its_own_figures(recipe: Recipe, tmp_path: Path) -> None:
    """Fails the version that exports it without a card, and the one that gives it the finished model's."""
    trained = TrainingFolder.of(recipe)
    trained.begin({"lr": 1}, 1, 0)
    (trained.path / "done.json").write_text(json.dumps({"steps": 10, "world_size": 8, "mean_loss": 0.51234}))
    evaluation = RunFolder.of(recipe).eval / "checkpoint-4"
    evaluation.mkdir(parents=True)
    figures = {"avg_at_k": 0.25, "avg_at_k_ci": [0.1, 0.4], "k": 4, "num_problems": 30}
    results = {"step": 4, "training": trained.fingerprint, "suites": {"aime24": figures}}
    (evaluation / "results.json").write_text(json.dumps(results))
    write_checkpoint_card(recipe, tmp_path, 4)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.model_name == "small-cord-checkpoint-4" and card.data.eval_results[0].metric_value == 25.0
    assert "| updates | 4 |" in " ".join(card.text.split()) and "mean loss" not in card.text
    write_checkpoint_card(recipe, tmp_path, 8)
    assert "Not evaluated." in (tmp_path / "README.md").read_text()


def test_without_a_finished_model_there_is_no_card(tmp_path: Path) -> None:
    recipe = Recipe.model_validate({**VALUES, "output_dir": str(tmp_path / "none")})
    assert write_model_card(recipe) is None and not (tmp_path / "none").exists()
