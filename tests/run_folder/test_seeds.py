"""`seed: [0, 1, 2]`: one data set, one training per seed, their mean with an interval. No model runs here; the real run
is in test_sft.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_rows import write_run

from cord_distill.ablation.ablate import load_ablation
from cord_distill.common.errors import CordError
from cord_distill.decode.inputs import decode_inputs
from cord_distill.evaluation.figures import ModelScores, SuiteFigures
from cord_distill.evaluation.over_seeds import NOTE, mean_over_seeds, over_seeds
from cord_distill.evaluation.targets import methods, targets
from cord_distill.metrics import t_interval, t_quantile
from cord_distill.recipe.experiment import Experiment
from cord_distill.recipe.file import dump_recipe, load_recipe
from cord_distill.report.page import write_report
from cord_distill.report.summary import build_summary
from cord_distill.report.table import terminal_table
from cord_distill.run.stages import plan_stages
from cord_distill.run_folder.paths import RunFolder, training_folder
from cord_distill.training import plan as planned
from cord_distill.training.arguments import resolved_section


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text(
        "seed: [3, 1, 2]\noutput_dir: ./out\nteachers: [{name: t, engine: scripted, script: 'a.b:c'}]\n"
        "meta_prover: {same_as: t}\nproblems: {path: ./p.jsonl}\ntrain: {model_name_or_path: ./student}\n"
        "evaluate: {suites: [aime24]}\n"
    )
    (tmp_path / "student").mkdir()
    (tmp_path / "student/config.json").write_text("{}")
    return path


# The recipe.


def test_the_first_seed_decodes_and_each_trains(recipe: Path) -> None:
    """Fails for the lazy version that decodes per seed: then the runs would differ in their data too."""
    whole = load_recipe(recipe)
    assert (whole.decode_seed, [run.training_seed for run in whole.seed_runs()]) == (3, [3, 1, 2])
    assert decode_inputs(whole) == decode_inputs(load_recipe(recipe, ["seed=[3]"]))
    recipe.write_text(recipe.read_text().replace("seed: [3, 1, 2]", "seed: 3"))
    assert decode_inputs(whole) == decode_inputs(load_recipe(recipe))
    assert load_recipe(recipe).seed_runs() == [load_recipe(recipe)]


def test_a_number_picks_one_run_of_the_list_and_keeps_the_data(recipe: Path) -> None:
    picked = load_recipe(recipe, ["seed=1"])
    assert (picked.decode_seed, picked.training_seed, picked.seed_runs()) == (3, 1, [picked])
    assert resolved_section(picked, {})["seed"] == 1
    assert load_recipe(recipe, ["seed=[7, 8]", "seed=8"]).training_seed == 8
    assert load_recipe(recipe, ["seed=8", "seed=[7, 8]"]).train_seed is None


def test_a_picked_recipe_reads_back_the_same(recipe: Path, tmp_path: Path) -> None:
    for overrides in ([], ["seed=2"]):
        made = load_recipe(recipe, overrides)
        (tmp_path / "dumped.yaml").write_text(dump_recipe(made))
        assert load_recipe(tmp_path / "dumped.yaml") == made


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("seed=7", r"seed 7 is not among the recipe's \(3, 1, 2\).*seed=\[7\]"),
        ("seed=[]", "nor a list of different ones"),
        ("seed=[1, 1]", "nor a list of different ones"),
        ("seed=[1, x]", "nor a list of different ones"),
        ("seed=[true]", "nor a list of different ones"),
        ("seed=[-1]", "whole number from 0"),
        ("train.seed=4", "remove train.seed"),
    ],
)
def test_bad_seeds_name_the_fix(recipe: Path, override: str, says: str) -> None:
    with pytest.raises(CordError, match=says):
        load_recipe(recipe, [override])


def test_each_seed_has_its_own_checkpoints_and_shares_the_rest(recipe: Path, tmp_path: Path) -> None:
    out, runs = tmp_path / "out", load_recipe(recipe).seed_runs()
    assert [RunFolder.of(run).final_model for run in runs] == [out / f"checkpoints/seed-{n}/final" for n in (3, 1, 2)]
    assert {RunFolder.of(run).dataset for run in runs} == {out / "dataset"}
    elsewhere = load_recipe(recipe, ["train.output_dir=/big/disk", "seed=2"])
    assert training_folder(elsewhere) == Path("/big/disk/seed-2")
    assert resolved_section(elsewhere, {})["output_dir"] == "/big/disk/seed-2"


# Stages.


def test_one_data_set_and_one_training_per_seed(recipe: Path) -> None:
    stages = plan_stages(Experiment.load(recipe))
    assert [s.key for s in stages] == [
        "generate", "data/cord", "train/cord-seed-3", "train/cord-seed-1", "train/cord-seed-2", "evaluate",
    ]  # fmt: skip
    trained = [s for s in stages if s.group == "train"]
    assert len({s.fingerprint() for s in trained}) == 3
    assert trained[1].command is not None and trained[1].command()[0][-1] == "seed=1"


def test_adding_a_seed_trains_that_one_alone(recipe: Path) -> None:
    """Fails for the lazy version that hashes the list: all students would be trained again."""
    before = {s.key: s.fingerprint() for s in plan_stages(Experiment.load(recipe))}
    after = {s.key: s.fingerprint() for s in plan_stages(Experiment.load(str(recipe), ["seed=[3, 1, 2, 9]"]))}
    assert {key for key in after if before.get(key) != after[key]} == {"train/cord-seed-9"}


def test_variants_have_the_list_too_or_their_own(recipe: Path) -> None:
    text = "variants:\n  a: {}\n  b: {seed: 5}\n  c: {seed: [6, 7]}\n"
    recipe.write_text(recipe.read_text() + text)
    labels = ["a-seed-3", "a-seed-1", "a-seed-2", "b", "c-seed-6", "c-seed-7"]
    stages = plan_stages(Experiment.load(recipe))
    assert [s.key for s in stages if s.group == "train"] == [f"train/{x}" for x in labels]
    assert [folder.label for folder in methods(load_recipe(recipe))] == labels
    last = next(s for s in stages if s.key == "train/c-seed-7").command
    assert last is not None and last()[0][-2:] == ["variant=c", "seed=7"]
    assert load_recipe(recipe, ["variant=c", "seed=7"]).training_seed == 7


def test_a_plain_training_of_a_list_asks_for_one(recipe: Path, tmp_path: Path) -> None:
    """`accelerate launch train.py r.yaml`. Fails for the lazy version that trains the first seed and says nothing."""
    with pytest.raises(CordError, match=r"r.yaml has 3 seeds .* pick one, e.g. seed=3 \(cord train r.yaml"):
        planned.plan_training(load_recipe(recipe), "r.yaml")
    (tmp_path / "out/dataset").mkdir(parents=True)
    (tmp_path / "out/dataset/train.jsonl").write_text("{}\n")
    made = planned.plan_training(load_recipe(recipe, ["seed=2"]), "r.yaml")
    assert (made.section["seed"], made.folder.path) == (2, tmp_path / "out/checkpoints/seed-2")
    assert made.inputs != planned.plan_training(load_recipe(recipe, ["seed=1"]), "r.yaml").inputs
    assert planned.plan_training(load_recipe(recipe, ["seed=[4]"]), "r.yaml").section["seed"] == 4


def test_evaluation_knows_each_student_by_method_and_seed(recipe: Path, tmp_path: Path) -> None:
    for seed in (3, 1):
        folder = tmp_path / f"out/checkpoints/seed-{seed}/final"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    with pytest.raises(CordError, match=r"cord-seed-2: no trained student .* cord train RECIPE seed=2"):
        targets(load_recipe(recipe))
    found = targets(load_recipe(recipe), ["cord-seed-1"])
    assert [(t.label, t.method, t.seed, t.student) for t in found] == [("cord-seed-1", "cord", 1, True)]


def test_an_ablation_over_seeds_refuses_a_list(recipe: Path) -> None:
    """`seed=3` would pick a training and decode with the list's first: every seed of the ablation the same rows."""
    recipe.write_text(recipe.read_text() + "ablate: {baseline: a, seeds: [3, 1]}\nvariants: {a: {}}\n")
    with pytest.raises(CordError, match=r"decode the same again: write one number .* seed: 3"):
        load_ablation(recipe)


# Figures.


def test_students_t() -> None:
    """Values of the printed tables. Fails for the lazy version with 1.96, which is three times too narrow for three."""
    assert [round(t_quantile(n), 3) for n in (1, 2, 3, 4, 9, 30)] == [12.706, 4.303, 3.182, 2.776, 2.262, 2.042]
    assert t_interval([0.5]) is None
    assert t_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)
    low, high = t_interval([0.50, 0.52, 0.54]) or (0, 0)  # 0.52 -+ 4.3027 * 0.02 / sqrt(3)
    assert (round(low, 4), round(high, 4)) == (0.4703, 0.5697)
    assert mean_over_seeds([0.1, 0.9]) == (0.5, [0.0, 1.0])  # a share does not go beyond 0 and 1
    assert mean_over_seeds([0.5, 0.5, 0.5]) == (0.5, None)  # equal runs do not make the next one certain


def of_seeds(folder: Path, seeds: str = "[0, 1, 2]", shares: tuple[float, ...] = (0.50, 0.52, 0.54)) -> Path:
    """The run of made_rows.py with a list of seeds, its student `cord` evaluated per seed."""
    path = write_run(folder)
    path.write_text(path.read_text() + f"seed: {seeds}\n")
    evaluated = folder / "out/eval"
    for seed, share in enumerate(shares):
        results: dict[str, Any] = json.loads((evaluated / "cord/results.json").read_text())
        results |= {"label": f"cord-seed-{seed}", "method": "cord", "seed": seed, "student": True}
        results["suites"]["ledger"] |= {"avg_at_k": share, "avg_at_k_ci": [share - 0.1, share + 0.1]}
        (evaluated / f"cord-seed-{seed}").mkdir()
        (evaluated / f"cord-seed-{seed}/results.json").write_text(json.dumps(results))
    (evaluated / "cord/results.json").unlink()
    return path


def test_the_table_gives_mean_interval_and_every_run(tmp_path: Path) -> None:
    """Fails for the lazy version that shows the best run, or pools problems of all runs as if they were independent."""
    path = of_seeds(tmp_path)
    summary = build_summary(Experiment.load(path))
    table = terminal_table(summary, 160, colour=False)
    data, *rows = [line.split("|") for line in table.splitlines() if "cord" in line]
    assert [[row[1].strip(), row[2].strip()] for row in rows] == [
        ["student on cord, mean of 3 seeds", "52.0 [47.0, 57.0]"],
        ["student on cord, seed 0", "50.0 [40.0, 60.0]"],
        ["student on cord, seed 1", "52.0 [42.0, 62.0]"],
        ["student on cord, seed 2", "54.0 [44.0, 64.0]"],
    ]
    assert " ".join(table.split()).endswith(NOTE)
    assert data[1].strip() == "cord"  # the data are one
    assert list(summary.students["cord"].seeds) == [0, 1, 2]
    assert summary.protocol.train_seeds == [0, 1, 2]
    page = write_report(Experiment.load(path))
    for text in (page.read_text(), page.with_suffix(".md").read_text()):
        assert "cord, mean of 3 seeds" in text and NOTE in text and "Trained with seeds 0, 1, 2." in text
    assert build_summary(Experiment.load(path, ["seed=1"])) == summary  # the report is about all of them


def test_half_done_seeds_are_said_and_one_run_has_no_interval(tmp_path: Path) -> None:
    summary = build_summary(Experiment.load(of_seeds(tmp_path, shares=(0.5,))))
    assert "cord, mean of 1 of 3 seeds" in terminal_table(summary, 160, colour=False)
    student = summary.students["cord"].first
    assert (student.avg_at_k, student.avg_at_k_ci) == (0.5, None)
    (tmp_path / "none").mkdir()
    assert "cord" not in build_summary(Experiment.load(of_seeds(tmp_path / "none", shares=()))).students


def test_runs_measured_differently_have_no_mean() -> None:
    """Fails for the lazy version that averages avg@1 with avg@16, or 30 problems with 5."""
    runs = {
        seed: ModelScores({"s": SuiteFigures(avg_at_k=0.5, k=4, num_problems=n)}, seconds=1.0)
        for seed, n in ((0, 30), (1, 5))
    }
    found = over_seeds(runs, of=2)
    assert found.first == SuiteFigures(k=4, num_problems=30) and found.seconds == 2.0
    alone = SuiteFigures(avg_at_k=0.5, k=4, num_problems=30)
    runs = {0: ModelScores({"s": alone, "t": alone}), 1: ModelScores({"s": alone})}
    suites = over_seeds(runs, of=2).suites
    assert (suites["s"].avg_at_k, suites["t"].avg_at_k) == (0.5, None)  # not the mean of one run, called that of two
