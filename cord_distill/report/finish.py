"""The end of a run: figures, report, view page and cards are written, and what was found is said on the terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from typing import Any

from cord_distill.common.paths import short_path
from cord_distill.recipe.experiment import method_recipes
from cord_distill.recipe.file import load_recipe
from cord_distill.report.model_card import write_model_cards
from cord_distill.report.page import write_report
from cord_distill.report.story import story
from cord_distill.report.summary import write_summary
from cord_distill.report.table import terminal_table
from cord_distill.report.wandb_report import track_report
from cord_distill.run_folder.paths import RunFolder
from cord_distill.tracking.wandb_run import sync_line
from cord_distill.view.page import VIEW_FILE, write_view


def finish(source: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Writes summary.json, report.html, report.md, view.html and the cards of a run, and tells Weights & Biases;
    returns the summary."""
    summary = write_summary(source, overrides)
    write_report(source, overrides, summary=summary)
    write_model_cards(source, overrides, summary)
    if any(RunFolder.of(recipe).trajectories.is_file() for recipe in method_recipes(source, overrides)):
        write_view(source, overrides)
    track_report(load_recipe(source, overrides), summary)
    return summary


def closing_lines(source: str, overrides: Sequence[str], summary: dict[str, Any]) -> str:
    """What a terminal shows of a finished run: the story, the tables, and where everything lies."""
    recipe = load_recipe(source, overrides)
    folder = RunFolder.of(recipe)
    width = min(shutil.get_terminal_size((120, 24)).columns, 100)
    parts = ["", *(textwrap.fill(text, width) for text in story(summary).sentences), terminal_table(summary)]
    places = {"figures": folder.summary, "report": folder.report, "view": folder.root / VIEW_FILE}
    parts += [f"{name:8s} {short_path(path)}" for name, path in places.items() if path.is_file()]
    sync = sync_line(recipe)
    return "\n".join([*parts, *([f"wandb    {sync}"] if sync else [])])
