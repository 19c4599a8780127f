"""`cord status RUN`: how far a run is, asked from another shell. It reads; it never waits for a lock."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cord_distill.common.errors import CordError, Taken
from cord_distill.common.files import lock_folder
from cord_distill.common.progress import short_time
from cord_distill.recipe.experiment import Experiment
from cord_distill.run.first_pass import local_problems
from cord_distill.run.run import RunLog
from cord_distill.run.stages import plan_stages
from cord_distill.run_folder.journal import OPEN, ROWS, TURN
from cord_distill.run_folder.paths import RunFolder
from cord_distill.run_folder.row_files import RowFiles


@dataclass(frozen=True, slots=True)
class DecodingState:
    """One method's journal. problems: how many there are, None where the hub says. running: processes decode now.

    idle_seconds: since something was written; None before anything was."""

    method: str
    finished: int
    failed: int
    problems: int | None
    running: bool
    idle_seconds: float | None


@dataclass(frozen=True, slots=True)
class Status:
    """stages: key -> `done`, or why it would run. running: `cord run` works in the folder now."""

    folder: str
    running: bool
    stages: dict[str, str]
    decoding: tuple[DecodingState, ...]

    def lines(self) -> list[str]:
        said = [f"{self.folder}: {'cord run is working here' if self.running else 'no cord run is working here'}"]
        for one in self.decoding:
            of = f" of {one.problems}" if one.problems is not None else ""
            failed = f", {one.failed} without a trace" if one.failed else ""
            idle = f", last written {short_time(one.idle_seconds)} ago" if one.idle_seconds is not None else ""
            said.append(f"  decode {one.method}: {one.finished}{of}{failed}{', running' if one.running else ''}{idle}")
        return [*said, *(f"  {key:20s} {state}" for key, state in self.stages.items())]

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


def status(source: str, overrides: Sequence[str] = ()) -> Status:
    """source: a run folder, or its recipe. Raises CordError where there is no run."""
    given = list(overrides)
    if Path(source).is_dir():
        if not (Path(source) / "recipe.yaml").is_file():
            raise CordError(f"{source}: no run folder (no recipe.yaml there); give outputs/NAME, or the recipe")
        given.append(f"output_dir={Path(source).absolute()}")
        source = str(Path(source) / "recipe.yaml")
    experiment = Experiment.load(source, given)
    recipe = experiment.recipe
    root = RunFolder.of(recipe).root
    if not root.is_dir():
        raise CordError(f"{root}: nothing was run there yet; begin with: cord run {source}")
    log = RunLog(root)
    stages = {one.key: log.reason(one, one.fingerprint()) or "done" for one in plan_stages(experiment)}
    problems = local_problems(recipe)
    count = None if problems is None else len(problems)
    methods = [RunFolder.of(one) for one in experiment.variants]
    found = tuple(_decoding(run, count) for run in methods if (run.journal / ROWS).is_dir())
    return Status(str(root), _held(root / ".run.lock"), stages, found)


def _decoding(run: RunFolder, problems: int | None) -> DecodingState:
    rows = RowFiles(run.journal / ROWS)
    rows.refresh()
    failed = rows.failed_by_id()
    written = [file.stat().st_mtime for name in (ROWS, OPEN) for file in (run.journal / name).glob("*.jsonl")]
    idle = round(time.time() - max(written), 1) if written else None
    return DecodingState(run.method, len(failed), sum(failed.values()), problems, _decoded_now(run.folder), idle)


def _decoded_now(folder: Path) -> bool:
    """Whether a process holds a share of the folder's lock. Whoever opens the journal at this moment is not disturbed:
    it waits for its turn."""
    try:
        turn = lock_folder(folder, TURN)
    except Taken:
        return True
    except CordError:
        return False
    try:
        os.close(lock_folder(folder))
        return False
    except CordError:
        return True
    finally:
        os.close(turn)


def _held(lock: Path) -> bool:
    """Whether a living process holds the lock; taken and given back at once where none does."""
    try:
        with open(lock, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False
