"""What W&B is told while decoding goes on, offline, and what becomes of a fault there."""

from __future__ import annotations

import json
from pathlib import Path

from scripted_world import write_recipe
from wandb_offline import read_all

from cord_distill.cli import main
from cord_distill.decode import progress_note
from cord_distill.decode.progress_note import DecodeNote
from cord_distill.decode.replay import Meter
from cord_distill.tracking.live import Live


def test_one_run_takes_the_live_figures_and_the_last_ones(tmp_path, weightless_models, monkeypatch):
    """Fails the version that opens its run when all is over, and one that opens a second run for the end."""
    monkeypatch.setattr(progress_note, "LIVE_SECONDS", 0.0)
    monkeypatch.setattr(progress_note, "EVERY_SECONDS", 0.01)
    path = write_recipe(tmp_path, weightless_models)
    assert not main(["generate", str(path), "--no-check"])
    (run,) = read_all(tmp_path / "run")
    done = run.column("live/problems")
    rows = [json.loads(line) for line in (tmp_path / "run/trajectories.jsonl").open()]
    assert len(done) > 2 and done == sorted(done) and done[-1] == 7 and run.column("live/failed")[-1] == 0
    assert abs(run.column("live/S")[-1] - sum(row["score"] for row in rows) / 7) < 1e-6
    assert run.column("live/tokens_per_second/r1")[-1] > 0 and run.column("decode/answer_accuracy")


def test_figures_count_failures_and_cache_hits():
    meter = Meter(prompt_tokens=100, cached_tokens=80)
    note = DecodeNote({"r1": meter}, {"p": 3})
    note.figures(0.0, 0)
    meter.generated_tokens = 50
    note.finished("p", {"error": "gone", "score": None})
    note.finished("q", {"error": None, "score": 0.5})
    assert note.figures(10.0, 2) == {
        "problems": 2, "failed": 1, "tokens_per_second/r1": 5.0, "cache_hit_share": 0.8, "S": 0.5,
    }  # fmt: skip
    assert note.live == {}


def test_a_run_that_cannot_be_opened_online_is_an_offline_one_and_decoding_goes_on(
    tmp_path: Path, weightless_models, monkeypatch, capsys
):
    """No key: W&B raises. Fails the version that ends in its traceback, before or after the decoding."""
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    path = write_recipe(tmp_path, weightless_models)
    assert not main(["generate", str(path), "--no-check", "track.wandb.mode=online"])
    said = capsys.readouterr().err
    assert "Weights & Biases did not take an online run, which is kept offline" in said and "Traceback" not in said
    (run,) = read_all(tmp_path / "run")
    assert run.column("live/problems")[-1] == 7


def test_a_fault_while_it_goes_on_is_said_once(capsys):
    class Gone:
        def log(self, values):
            raise ConnectionError("the service went away")

    live = Live(Gone())
    live.log({"problems": 1})
    live.log({"problems": 2})
    assert capsys.readouterr().err.count("did not take the live figures (the service went away)") == 1
