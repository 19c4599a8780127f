"""Weights & Biases for decoding, data and evaluation: offline unless the recipe says else. Training has the trainer's
callback, and `training/callbacks.py` beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cord_distill.common.files import write_atomic
from cord_distill.common.jsonl import read_object
from cord_distill.common.paths import short_path
from cord_distill.common.quiet import keep_private
from cord_distill.common.terminal import plain
from cord_distill.recipe.file import recipe_hash
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.paths import RunFolder
from cord_distill.tracking.live import faults_are_warnings, warn_of
from cord_distill.tracking.wandb_mode import Mode, wandb_mode

DATA_DIR = "WANDB_DATA_DIR"
# In a training folder: which W&B run it is logged to.
RUN_FILE = "wandb.json"
SAMPLES = 4
MAX_TAG = 64  # W&B refuses longer ones


@contextmanager
def wandb_run(
    recipe: Recipe,
    what: str,
    job_type: str,
    config: dict[str, Any],
    known: dict[str, Any] | None = None,
    **facts: Any,
) -> Iterator[Any]:
    """A W&B run in the recipe's group, or None under `mode: disabled`, which does not load wandb. One that cannot be
    opened online is an offline one, with a warning; where that fails too, None.

    known: a run to take up again (a training's `wandb.json`), in place of a new one. facts: method, model, seed: what
    tells this run from others of its kind. They stand in config and tags, never in the names of metrics, so that the
    runs of all methods, recipes and seeds fall into one panel.
    """
    settings, mode = recipe.track.wandb, wandb_mode(recipe)
    if mode == "disabled":
        yield None
        return
    # `cord run` itself comes here too, and W&B's telemetry reads this when it is first imported.
    keep_private()
    import wandb

    root = RunFolder.of(recipe).wandb
    known_facts = {"recipe": recipe.name, "recipe_hash": recipe_hash(recipe.model_dump(mode="json")), **facts}
    tags = dict.fromkeys(str(x)[:MAX_TAG] for x in (recipe.name, facts.get("method"), facts.get("model")) if x)
    root.mkdir(parents=True, exist_ok=True)
    run = _opened(
        mode,
        project=known["project"] if known else settings.project,
        entity=known["entity"] if known else settings.entity,
        dir=str(root),
        id=known["id"] if known else None,
        resume="allow" if known else None,
        name=known["name"] if known else f"{recipe.name} {what}",
        job_type=job_type,
        group=recipe.name,
        tags=[*settings.tags, *(tag for tag in tags if tag not in settings.tags)],
        config={**known_facts, **config},
        settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
    )
    with artifacts_kept_in(root):
        try:
            yield run
        except BaseException:
            if run is not None:
                with faults_are_warnings("the end of a run"):
                    run.finish(exit_code=1)
            raise
        if run is not None:
            with faults_are_warnings("the end of a run"):
                run.finish()


def _opened(mode: Mode, **options: Any) -> Any:
    """A run of W&B, None where it gives none. What it raises is said; the work that it would tell of goes on."""
    import wandb

    kinds: dict[Mode, str] = {mode: "an online run, which is kept offline", "offline": "a run, which is left out"}
    for kind, what in kinds.items():
        try:
            return wandb.init(mode=kind, **options)
        except Exception as error:
            warn_of(what, error)
    return None


def write_run_file(folder: Path, run: Any) -> None:
    """Keeps in a training folder which run it is logged to, for whoever goes on with it."""
    known = {"id": run.id, "name": run.name, "project": run.project, "entity": run.entity or None}
    write_atomic(folder / RUN_FILE, json.dumps(known) + "\n")


def read_run_file(folder: Path) -> dict[str, Any] | None:
    """The W&B run of a training folder; None where it has none."""
    return read_object(folder / RUN_FILE)


def end_service() -> None:
    """For a process that starts others later, as `cord run` does: they are not to share its W&B service."""
    import wandb

    with faults_are_warnings("the end of its service"):
        wandb.teardown()


def sync_line(recipe: Recipe) -> str:
    """How to send the offline runs of a recipe's folder, or "" where there are none."""
    root = RunFolder.of(recipe).wandb
    count = sum(1 for _ in root.glob("wandb/offline-run-*"))
    return f"{count} offline runs; send them: wandb sync {short_path(root)}/wandb/offline-run-*" if count else ""


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    import wandb

    return wandb.Table(columns=list(columns), data=[[x if x is None else cell(x) for x in row] for row in rows])


def cell(value: Any) -> str:
    """A value as a table's cell. A text that a spreadsheet would take for a formula gets an apostrophe before it."""
    text = plain(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


@contextmanager
def artifacts_kept_in(root: Path) -> Iterator[None]:
    """The few bytes that artifacts are made of lie beside the runs, where `wandb sync` finds them later."""
    before = os.environ.get(DATA_DIR)
    os.environ.setdefault(DATA_DIR, str(root / "wandb"))
    try:
        yield
    finally:
        if before is None:
            del os.environ[DATA_DIR]
