"""Decoding in W&B: one offline run per method with its figures, nothing under `mode: disabled`."""

import json

from made_rows import made_rows

from cord_distill.recipe_file import load_recipe
from cord_distill.run_folder import RunFolder
from cord_distill.tracking import track_decoding


def decoded(tmp_path, mode: str):
    recipe = load_recipe("quickstart", [f"output_dir={tmp_path}", f"track.wandb.mode={mode}"], variant="cord")
    path = RunFolder.of(recipe).trajectories
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in made_rows(8)))
    return recipe


def test_each_method_is_one_offline_run_with_its_figures(tmp_path):
    track_decoding([decoded(tmp_path, "offline")])
    (run,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    written = run.read_bytes()
    assert b"cord/answer_accuracy" in written and b"decode.beam_size" in written


def test_disabled_writes_nothing(tmp_path):
    """Fails the version that starts a run whatever the recipe says."""
    track_decoding([decoded(tmp_path, "disabled")])
    assert not (tmp_path / "wandb").exists()

