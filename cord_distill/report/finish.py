"""The end of a run: figures, report, view page and cards are written, and what was found is said on the terminal."""

from __future__ import annotations

import shutil
import textwrap

from cord_distill.common.errors import CordError
from cord_distill.common.paths import short_path
from cord_distill.recipe.experiment import Experiment
from cord_distill.report.model_card import write_model_cards
from cord_distill.report.page import write_report
from cord_distill.report.story import story
from cord_distill.report.summary import Summary, write_summary
from cord_distill.report.table import terminal_table
from cord_distill.report.wandb_report import track_report
from cord_distill.run_folder.paths import RunFolder
from cord_distill.tracking.wandb_run import sync_line
from cord_distill.view.gather import run_of
from cord_distill.view.page import VIEW_FILE, write_view


def finish(experiment: Experiment) -> Summary:
    """Writes summary.json, report.html, report.md, view.html and the cards of a run, and tells Weights & Biases;
    returns the summary."""
    summary = write_summary(experiment)
    write_report(experiment, summary=summary)
    write_model_cards(experiment, summary)
    if any(RunFolder.of(recipe).trajectories.is_file() for recipe in experiment.methods):
        write_view(run_of(experiment))
    track_report(experiment.recipe, summary)
    return summary


def refuse_nothing(experiment: Experiment) -> None:
    """Raises CordError where no stage of the recipe has left anything that a report could be about."""
    runs = [RunFolder.of(recipe) for recipe in experiment.methods]
    left = [path for run in runs for path in (run.journal, run.trajectories, run.dataset, run.checkpoints, run.eval)]
    if not any(path.exists() for path in left):
        raise CordError(f"{runs[0].root}: nothing was run there yet; begin with: cord run {experiment.source}")


def closing_lines(experiment: Experiment, summary: Summary) -> str:
    """What a terminal shows of a finished run: the story, the tables, and where everything lies."""
    folder = RunFolder.of(experiment.recipe)
    width = min(shutil.get_terminal_size((120, 24)).columns, 100)
    parts = ["", *(textwrap.fill(text, width) for text in story(summary)), terminal_table(summary)]
    places = {"figures": folder.summary, "report": folder.report, "view": folder.root / VIEW_FILE}
    parts += [f"{name:8s} {short_path(path)}" for name, path in places.items() if path.is_file()]
    sync = sync_line(experiment.recipe)
    return "\n".join([*parts, *([f"wandb    {sync}"] if sync else [])])
