"""W&B, read back from the offline runs: what each stage logs, and the chain trajectories → data set → model →
evaluation. Lazy versions that fail here: a run whatever the recipe says, artifacts of one file under two digests (no
chain), model files copied into an artifact, late results on the trainer's own step axis, or logged twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_rows import made_row, made_rows, made_summary
from wandb_offline import read_all

from cord_distill.data.build import build_dataset
from cord_distill.decode.figures import MethodFigures
from cord_distill.evaluation.targets import methods, training_of
from cord_distill.evaluation.wandb_panels import track_evaluation
from cord_distill.recipe.file import load_recipe
from cord_distill.recipe.recipe import Recipe
from cord_distill.report.summary import StudentDifference
from cord_distill.report.wandb_report import difference_figures, track_report
from cord_distill.run_folder.paths import RunFolder
from cord_distill.run_folder.training_folder import TrainingFolder
from cord_distill.tracking import lineage
from cord_distill.tracking.checkpoint_results import log_after_training, log_new_results
from cord_distill.tracking.dataset import track_dataset
from cord_distill.tracking.wandb_run import sync_line, wandb_run, write_run_file
from cord_distill.view.wandb_panels import decoding_run

TREE = b'type="text/plain" id="c'  # where a page holds the tree of one problem


def decoded(tmp_path: Path, mode: str = "offline", *overrides: str) -> Recipe:
    recipe = load_recipe("quickstart", [f"output_dir={tmp_path}", f"track.wandb.mode={mode}", *overrides], "cord")
    path = RunFolder.of(recipe).trajectories
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in made_rows(8)))
    return recipe


def trained(recipe: Recipe, steps: int = 6) -> TrainingFolder:
    """A finished training's folder, with its W&B run open for the time of the call."""
    folder = TrainingFolder.of(recipe)
    folder.final.mkdir(parents=True)
    (folder.final / "config.json").write_text("{}")
    (folder.final / "model.safetensors").write_bytes(b"w" * 100_000)
    folder.begin({"lr": 1}, 1, 0)
    with wandb_run(recipe, "training", "train", {}) as tracked:
        if tracked is not None:
            write_run_file(folder.path, tracked)
            tracked.define_metric("*", step_metric="train/global_step", step_sync=True)  # as the trainer does
            lineage.consumes(tracked, lineage.dataset(recipe))
            lineage.produces(tracked, lineage.model(recipe, folder, steps), f"checkpoint-{steps}", "final")
            log_new_results(tracked, folder)
    folder.finish({"lr": 1}, steps=steps)
    return folder


def evaluated(recipe: Recipe, label: str, share: float, step: int | None = None, **facts: Any) -> dict[str, Any]:
    folder = RunFolder.of(recipe).eval / label
    folder.mkdir(parents=True, exist_ok=True)
    training = TrainingFolder.of(recipe).fingerprint if step is not None else None
    results = {"label": label, "fingerprint": f"{label}{share}", "student": True, "step": step, "training": training}
    results |= {"suites": {"ledger": {"avg_at_k": share, "k": 4}}, **facts}
    (folder / "results.json").write_text(json.dumps(results))
    row = {"suite": "ledger", "id": "p0", "answer": "7", "predictions": ["7"], "correct": [True]}
    (folder / "problems.jsonl").write_text(json.dumps(row) + "\n")
    sample = {"suite": "ledger", "id": "p0", "sample": 0, "text": "so 7</think>\\boxed{7}"}
    (folder / "samples.jsonl").write_text(json.dumps(sample) + "\n")
    return results


def rows_of(folder: Path, table: str) -> list[list[Any]]:
    path, *_ = folder.glob(f"wandb/offline-run-*/files/{table}")  # equal tables of two runs have one name
    return json.loads(path.read_text())["data"]


def test_from_trajectories_to_evaluation_each_stage_uses_what_the_one_before_made(tmp_path: Path) -> None:
    recipe = decoded(tmp_path)
    with decoding_run(recipe):
        pass
    run = RunFolder.of(recipe)
    track_dataset(recipe, build_dataset(recipe, run.trajectories, run.dataset))
    trained(recipe)
    whole = load_recipe("quickstart", [f"output_dir={tmp_path}"])
    track_evaluation(whole, evaluated(recipe, "untrained", 0.0))
    track_evaluation(whole, evaluated(recipe, "cord", 0.5))
    found = read_all(tmp_path)
    base = next(x for x in found if x.job_type == "eval")
    runs = {x.job_type: x for x in found}
    assert list(runs) == ["generate", "data", "train", "eval"]
    made = {job: set(x.made) for job, x in runs.items()}
    assert made["generate"] >= {"quickstart-cord-trajectories"}
    for before, after, name in (
        ("generate", "data", "quickstart-cord-trajectories"),
        ("data", "train", "quickstart-cord-dataset"),
        ("train", "eval", "quickstart-cord-model"),
    ):
        assert runs[before].made[name] == runs[after].used[name]
    assert "quickstart-untrained-evaluation" in base.made and "quickstart-untrained-evaluation" not in made["eval"]
    assert "quickstart-cord-evaluation" in made["eval"]
    assert {"checkpoint-6", "final"} <= set(runs["train"].aliases["quickstart-cord-model"])
    assert runs["generate"].config["decode.beam_size"] == 4 and runs["generate"].column("decode/answer_accuracy")
    assert runs["data"].column("data/kept") == [8]
    # One name for all methods and models; which one it is stands in the config.
    assert base.column("eval/ledger/avg_at_k") == [0.0] and runs["eval"].column("eval/ledger/avg_at_k") == [0.5]
    assert [x.config["model"] for x in (base, runs["eval"])] == ["untrained", "cord"]
    assert runs["generate"].config["method"] == runs["data"].config["method"] == runs["eval"].config["method"] == "cord"
    tables = (("generate", "trajectories"), ("data", "rows"), ("eval", "samples"))
    shown = [rows_of(tmp_path, runs[job].column(f"{key}.path")[0]) for job, key in tables]
    assert [len(rows) for rows in shown] == [8, 4, 1]
    assert shown[2][0] == ["ledger", "p0", "7", "so 7</think>\\boxed{7}", "7", "True"]
    # The model is known by reference.
    kept = [path.read_bytes() for path in tmp_path.glob("wandb/**/*") if path.is_file()]
    assert not any(b"w" * 1000 in written for written in kept)
    # Small files go with their artifact.
    assert any(b'"trajectory' in written or b'"candidates"' in written for written in kept)


def test_a_method_comes_up_as_a_table_with_its_beam_trees_and_two_charts(tmp_path: Path) -> None:
    """Fails the version that logs numbers alone, and the one that breaks on a failed problem or on half a surrogate."""
    recipe = decoded(tmp_path)
    path = RunFolder.of(recipe).trajectories
    odd = [made_row(20, text="half \ud800"), made_row(21, error="the engine went away")]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*odd, *made_rows(12)]))
    with decoding_run(recipe):
        pass
    (run,) = read_all(tmp_path)
    shown = rows_of(tmp_path, run.column("trajectories.path")[0])
    assert [row[0] for row in shown[:3]] == ["p20", "p21", "p0"] and len(shown) == 14
    # Offline the table's own cells lie in its artifact, to be sent with it; the panel of all trees is a page as it is.
    assert [row[-1] for row in shown] == ["Html", None, *["Html"] * 6, *[None] * 6]
    cells = [path.read_bytes() for path in tmp_path.glob("wandb/artifacts/staging/*")]
    assert sum(cell.count(TREE) == 1 for cell in cells) == 7
    files = next(tmp_path.glob("wandb/offline-run-*/files"))
    assert (files / run.column("beam trees.path")[0]).read_bytes().count(TREE) == 14
    assert len(rows_of(tmp_path, run.column("S of the traces_table.path")[0])) == 13
    authors = rows_of(tmp_path, run.column("who wrote which part_table.path")[0])
    assert sum(y for x, _, y in authors if x == 5.0) == pytest.approx(100, abs=0.01)


def test_other_rows_and_another_training_are_other_versions(tmp_path: Path) -> None:
    """Fails the version whose digest is that of a path: the chain would lead to a data set that is gone."""
    recipe = decoded(tmp_path)
    run = RunFolder.of(recipe)
    build_dataset(recipe, run.trajectories, run.dataset)
    folder = trained(recipe)
    before = (lineage.trajectories(recipe).digest, lineage.model(recipe, folder).digest)
    assert before == (lineage.trajectories(recipe).digest, lineage.model(recipe, folder, 6).digest)
    run.trajectories.write_text("".join(json.dumps(row) + "\n" for row in made_rows(3)))
    assert lineage.trajectories(recipe).digest != before[0]
    assert lineage.model(recipe, folder, 4).digest != before[1]
    folder.begin({"lr": 2}, 1, 0)
    assert lineage.model(recipe, folder, 6).digest != before[1]


def test_a_large_file_is_known_by_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = decoded(tmp_path)
    (name,) = lineage.trajectories(recipe).manifest.entries.values()
    assert name.ref is None
    monkeypatch.setattr(lineage, "SMALL", 10)
    (name,) = lineage.trajectories(recipe).manifest.entries.values()
    assert name.ref.startswith("file://")


def test_the_report_is_a_run_of_its_own_and_is_sent_once(tmp_path: Path) -> None:
    """Fails the version that makes one more run at every `cord report`."""
    recipe = decoded(tmp_path)
    run = RunFolder.of(recipe)
    one = StudentDifference("cord", "curation", "ledger", 0.6, 0.2, 0.4, [0.3, 0.5], 0.001, 4, True)
    method = MethodFigures(8, answer_accuracy=0.9)
    summary = made_summary(methods={"cord": method, "curation": method}, differences=[one])
    for path in (run.report, run.report.with_suffix(".md"), run.summary):
        path.write_text("what was found")
    for _ in range(2):
        track_report(recipe, summary)
    (tracked,) = read_all(tmp_path)
    assert tracked.job_type == "report" and "quickstart-report" in tracked.made
    assert rows_of(tmp_path, tracked.column("data.path")[0])[0][:2] == ["cord", "90.0"]
    assert sync_line(recipe).startswith("1 offline runs; send them: wandb sync")
    track_report(recipe, replace(summary, methods={"cord": method}))
    assert len(read_all(tmp_path)) == 2
    assert difference_figures(summary)["difference/points"] == 0.4 and difference_figures(made_summary()) == {}


def test_weights_are_copied_only_when_asked_for(tmp_path: Path) -> None:
    recipe = decoded(tmp_path)
    run = RunFolder.of(recipe)
    build_dataset(recipe, run.trajectories, run.dataset)
    folder = trained(recipe)
    assert list(lineage.model(recipe, folder).manifest.entries) == ["model.json"]
    assert set(lineage.weights(recipe, run).manifest.entries) == {"config.json", "model.safetensors"}


def test_late_results_have_their_own_step_axis_in_the_run_of_the_training(tmp_path: Path) -> None:
    """Results that come after the end of training, and out of order: the same W&B run, each once, by step."""
    recipe = decoded(tmp_path)
    run = RunFolder.of(recipe)
    build_dataset(recipe, run.trajectories, run.dataset)
    TrainingFolder.of(recipe).begin({"lr": 1}, 1, 0)
    evaluated(recipe, "cord-checkpoint-2", 0.2, step=2)
    evaluated(recipe, "cord-checkpoint-99", 0.9, step=99, training="one that was set aside")
    trained(recipe)
    evaluated(recipe, "cord-checkpoint-10", 0.6, step=10)
    evaluated(recipe, "cord-checkpoint-4", 0.4, step=4)
    whole = load_recipe("quickstart", [f"output_dir={tmp_path}"])
    (mine,) = [x for x in methods(whole) if x.label == "cord"]
    for _ in range(2):
        log_after_training(whole, [training_of(whole, mine)])
    first, second = read_all(tmp_path)
    assert first.id == second.id and first.job_type == second.job_type == "train"
    for tracked, steps, shares in ((first, [2], [0.2]), (second, [4, 10], [0.4, 0.6])):
        assert tracked.column("checkpoint/step") == steps
        assert tracked.column("checkpoint/ledger/avg_at_k") == shares
        assert tracked.step_of["checkpoint/ledger/avg_at_k"] == "checkpoint/step"
    assert first.step_of["*"] == "train/global_step"


@pytest.mark.parametrize("stage", ["decoding", "data", "evaluation"])
def test_disabled_writes_nothing(tmp_path: Path, stage: str) -> None:
    """Fails the version that starts a run whatever the recipe says."""
    recipe = decoded(tmp_path, "disabled")
    run = RunFolder.of(recipe)
    if stage == "decoding":
        with decoding_run(recipe):
            pass
    elif stage == "data":
        track_dataset(recipe, build_dataset(recipe, run.trajectories, run.dataset))
    else:
        track_evaluation(recipe, evaluated(recipe, "cord", 0.5))
    assert not (tmp_path / "wandb").exists()


def test_a_fault_of_wandb_is_a_warning_and_loses_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fails the version in which an artifact that the service refuses ends the evaluation, or a training before
    `done.json` is written."""
    from cord_distill.training.callbacks import InWandb

    def refused(*_: Any) -> None:
        raise ConnectionError("the service went away")

    monkeypatch.setattr(lineage, "produces", refused)
    recipe = decoded(tmp_path)
    run = RunFolder.of(recipe)
    track_dataset(recipe, build_dataset(recipe, run.trajectories, run.dataset))
    track_evaluation(recipe, evaluated(recipe, "cord", 0.5))
    for path in (run.report, run.report.with_suffix(".md"), run.summary):
        path.write_text("what was found")
    track_report(recipe, made_summary(methods={"cord": MethodFigures(8, answer_accuracy=0.9)}))
    folder = TrainingFolder.of(recipe)
    folder.begin({"lr": 1}, 1, 0)
    callback = InWandb(recipe, folder, {})
    callback.tracked = object()
    callback.on_finish(6)
    said = capsys.readouterr().err
    for what in ("the figures of the data set", "the evaluation of cord", "the report", "the finished model"):
        assert f"Weights & Biases did not take {what} (the service went away)" in said
    assert not (run.wandb / "report_sent.json").exists(), "it is sent again once the service is back"
