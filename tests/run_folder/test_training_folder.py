"""What a training's folder says of itself, state by state, and that no step on the way loses a finished model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from trainings import checkpoint, training_at

from cord_distill.common.errors import CordError
from cord_distill.recipe.file import load_recipe
from cord_distill.run_folder.training_folder import TrainingFolder, TrainingState


@pytest.fixture
def training(tmp_path: Path) -> TrainingFolder:
    return training_at(tmp_path / "checkpoints")


def model(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    return folder


def test_a_training_tells_its_state_from_the_first_step_to_the_archive(training: TrainingFolder) -> None:
    """Fails the version that takes the end of the training before for the end of this one, and the one that takes a
    finished `done.json` without a model for a finished training."""
    ours, others = {"seed": 1}, {"seed": 2}
    assert (training.state(ours), training.fingerprint, training.figures) == (TrainingState("absent"), None, {})
    assert not training.is_over and not training.has_model and training.checkpoints == []
    training.begin(ours, 1, 0)
    assert (training.state(ours).name, training.is_over) == ("partial", False)
    saved = checkpoint(training.path, 2)
    assert (training.state(ours).name, training.checkpoints) == ("partial", [saved])
    training.finish(ours, steps=2)
    assert (training.state(ours).name, training.is_over, training.figures["steps"]) == ("partial", True, 2)
    training.publish(model(training.path / ".final.tmp"))
    assert (training.state(ours).name, training.has_model) == ("done", True)
    found = training.state(others)
    assert (found.name, found.changed) == ("stale", ("seed: 1 -> 2",))
    kept = training.set_aside()
    assert kept is not None and (kept / "final/config.json").is_file()
    assert training.state(ours) == TrainingState("absent") and not training.has_model
    training.begin(others, 1, 0)
    assert not training.is_over and training.fingerprint != training_at(kept).fingerprint


def test_over_is_this_training_and_not_one_before(training: TrainingFolder) -> None:
    training.begin({"lr": 1}, 1, 0)
    training.finish({"lr": 1})
    assert training.is_over
    training.begin({"lr": 2}, 1, 0)
    assert not training.is_over


def test_a_folder_in_which_no_step_was_trained_is_nobodys(training: TrainingFolder) -> None:
    """A training that failed before its first step leaves `training.json`: the mended one begins there. Fails the
    version that asks to set aside what is nothing, and the one that takes a checkpoint for nothing."""
    training.begin({"seed": 1}, 1, 0)
    assert training.state({"seed": 2}) == TrainingState("absent")
    assert training.state({"seed": 1}).name == "partial"
    checkpoint(training.path, 2)
    assert training.state({"seed": 2}).name == "stale"


def test_half_written_checkpoints_are_passed_over_and_removed_at_the_next_begin(training: TrainingFolder) -> None:
    """Fails for transformers' get_last_checkpoint, which takes the highest number."""
    folder = training.path
    good = [checkpoint(folder, 2), checkpoint(folder, 10, deepspeed=True)]
    half = checkpoint(folder, 12, state="")
    checkpoint(folder, 14, state='{"global_')
    (checkpoint(folder, 16, deepspeed=True) / "latest").unlink()
    # A power cut loses pages of the weights, while the small files written after them are there.
    torn = checkpoint(folder, 18) / "model.safetensors"
    head = b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}'
    torn.write_bytes(len(head).to_bytes(8, "little") + head + bytes(15))
    assert training.checkpoints == good
    torn.write_bytes(torn.read_bytes() + bytes(1))
    assert training.checkpoints == [*good, torn.parent]
    (torn.parent / "optimizer.pt").unlink()
    assert training.checkpoints == good
    training.begin({}, 1, 0)
    assert not half.exists() and good[0].exists()


def test_a_training_that_is_begun_anew_leaves_the_old_one_in_stale_by_number(training: TrainingFolder) -> None:
    """The same archive as that of decoding and data. Fails the version that writes over what was set aside before."""
    assert training.set_aside() is None
    places = []
    for _ in range(2):
        training.begin({"seed": 1}, 1, 0)
        label = str(training.fingerprint)[:12]
        places.append(training.set_aside())
        assert not training.path.exists()
    assert places == [training.path.parent / "stale" / name / "checkpoints" for name in (label, f"{label}-2")]
    assert all(place and (place / "training.json").is_file() for place in places)


@pytest.mark.parametrize(
    ("written", "now", "said"),
    [((1, 0), (1, 3), "under ZeRO stage 0 and this run has 3"), ((2, 3), (1, 3), "by 2 processes and this run has 1")],
)
def test_checkpoints_of_another_world_are_refused(
    training: TrainingFolder, written: tuple[int, int], now: tuple[int, int], said: str
) -> None:
    training.begin({}, *written)
    with pytest.raises(CordError, match=said):
        training.state({}).refuse_other_world(*now)
    training.state({}).refuse_other_world(*written)


def test_without_deepspeed_any_number_of_processes_goes_on(training: TrainingFolder) -> None:
    training.begin({}, 2, 0)
    training.state({}).refuse_other_world(1, 0)


@pytest.mark.parametrize("other_disk", [False, True])
def test_a_model_trained_elsewhere_comes_into_the_run_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_disk: bool
) -> None:
    """`train.output_dir` names another place, often another disk, and nothing has made `checkpoints/` in the run
    folder: the version that renames `final/` into it fails once all of the training is done."""
    recipe = load_recipe("r1_qwen_14b", [f"output_dir={tmp_path}/run", f"train.output_dir={tmp_path}/big"])
    training = TrainingFolder.of(recipe)
    assert (training.path, training.final) == (tmp_path / "big", tmp_path / "run/checkpoints/final")
    made = model(training.path / ".final.tmp")
    if other_disk:
        rename = os.rename

        def same_disk(source: object, to: object) -> None:
            if ("/big/" in str(source)) != ("/big/" in str(to)):
                raise OSError(18, "Invalid cross-device link")
            rename(str(source), str(to))

        monkeypatch.setattr(os, "rename", same_disk)
        monkeypatch.setattr(os, "replace", same_disk)
    training.publish(made)
    assert training.has_model and not made.exists()
    model(made)
    (made / "new").touch()
    training.publish(made)
    assert sorted(path.name for path in training.final.parent.iterdir()) == ["final"]
    assert (training.final / "new").is_file()
