"""`cord status RUN`: how far a run is, asked from another shell. It reads; it never waits for a lock."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cord_distill.common.errors import CordError
from cord_distill.common.progress import short_time
from cord_distill.recipe.experiment import Experiment
from cord_distill.run.first_pass import local_problems
from cord_distill.run.run import RunLog
from cord_distill.run.stages import plan_stages
from cord_distill.run_folder.paths import RunFolder


@dataclass(frozen=True, slots=True)
class Decoding:
    """One method's journal. problems: how many there are, None where the hub says. running: a process holds it now.

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
    decoding: tuple[Decoding, ...]

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
    found = tuple(_decoding(run, count) for run in methods if run.journal.is_file())
    return Status(str(root), _held(root / ".run.lock"), stages, found)


def _decoding(run: RunFolder, problems: int | None) -> Decoding:
    failed: dict[str, bool] = {}  # the latest row of a problem counts
    with open(run.journal, "rb") as file:
        for line in file:
            if b'"row"' not in line:
                continue
            try:
                entry = json.loads(line)
            except ValueError:  # the line that is being written now
                continue
            if isinstance(entry, dict) and isinstance(entry.get("row"), dict):
                failed[entry["p"]] = bool(entry["row"].get("error"))
    idle = round(time.time() - run.journal.stat().st_mtime, 1)
    return Decoding(run.method, len(failed), sum(failed.values()), problems, _held(run.folder / ".lock"), idle)


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
