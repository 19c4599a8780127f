"""`cord run`: every stage in a process of its own, each skipped when nothing that it reads has changed (stages.py).

Stages are processes so that engines free their memory, and a crash of one leaves the others' results.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from cord_distill.common.die_with_parent import PARENT, child_environment
from cord_distill.common.errors import CordError, TooManyFailed
from cord_distill.common.exit_codes import FINE, SOME_FAILED, TOO_MANY_FAILED
from cord_distill.common.files import lock_folder, write_atomic
from cord_distill.common.jsonl import read_object
from cord_distill.common.paths import short_path
from cord_distill.common.terminal import plain
from cord_distill.common.verbosity import note
from cord_distill.recipe.experiment import Experiment
from cord_distill.recipe.file import dump_recipe
from cord_distill.report.summary import Summary
from cord_distill.run.first_pass import refuse
from cord_distill.run.stages import NEW, Command, Stage, plan_stages, watch_command
from cord_distill.run_folder import archive
from cord_distill.run_folder.archive import set_aside
from cord_distill.run_folder.paths import RunFolder

# How often the children of one group are looked at.
POLL_SECONDS = 0.1


class RunLog:
    """`stages.json` of a run: per stage its fingerprint, when it ended and the seconds it took."""

    def __init__(self, root: Path) -> None:
        self.path = root / "stages.json"
        found = _entries(self.path)
        self.damaged = found is None
        self.entries = found or {}

    def reason(self, stage: Stage, fingerprint: str) -> str | None:
        """Why the stage has to run, or None when it is done."""
        entry = self.entries.get(stage.key)
        if entry is None:
            return NEW
        if entry["fingerprint"] != fingerprint:
            return "what it reads has changed"
        missing = [path.name for path in stage.outputs if not path.exists()]
        if missing:
            return f"{missing[0]} is gone"
        return stage.again() if stage.again else None

    def done(self, stage: Stage, fingerprint: str, seconds: float) -> None:
        self.entries[stage.key] = {
            "fingerprint": fingerprint,
            "seconds": round(seconds, 1),
            "ended": time.strftime("%Y-%m-%dT%H:%M:%S"),
        }
        if self.damaged:
            say(f"the damaged {self.path.name} is kept in {short_path(set_aside([self.path], 'damaged'))}")
            self.damaged = False
        write_atomic(self.path, json.dumps(self.entries, indent=1) + "\n")


def _entries(path: Path) -> dict[str, dict[str, Any]] | None:
    """What an earlier run wrote; None where the file is damaged: then every stage looks for itself what is done."""
    if not os.path.lexists(path):
        return {}
    found = read_object(path)
    if found is not None and all(isinstance(one, dict) and "fingerprint" in one for one in found.values()):
        return found
    return None


def run(experiment: Experiment, overwrite: bool = False) -> Summary:
    """Runs what is not done; returns the summary that the report shows.

    overwrite: decoding sets a changed recipe's results aside instead of refusing. Raises CordError when a stage fails,
    TooManyFailed where more problems failed than `decode.max_failed_share`.
    """
    recipe = experiment.recipe
    root = RunFolder.of(recipe).root
    refuse(experiment.variants, still_to_run(plan_stages(experiment), RunLog(root)))
    root.mkdir(parents=True, exist_ok=True)
    lock = lock_folder(root, ".run.lock")
    try:
        write_atomic(root / "recipe.yaml", dump_recipe(recipe))
        log = RunLog(root)
        for kind, group in groupby(plan_stages(experiment, overwrite), key=attrgetter("group")):
            watched = kind == "train" and recipe.evaluate.when == "with_training"
            beside = watch_command(experiment) if watched else None
            _run_group(list(group), log, recipe.launch.parallel_jobs, beside)
        from cord_distill.report.finish import finish

        return finish(experiment)
    finally:
        os.close(lock)


def started_by_run() -> bool:
    """Whether this process is a stage of `cord run`."""
    return PARENT in os.environ


def record_stage(experiment: Experiment, group: str, seconds: float) -> None:
    """What `cord run` would have left behind a stage: the resolved recipe, and that the stage is done. Nothing in a
    child of `cord run`, which does so itself."""
    if started_by_run():
        return
    recipe = experiment.recipe
    root = RunFolder.of(recipe).root
    if recipe.variant is None and recipe.train_seed is None:
        write_atomic(root / "recipe.yaml", dump_recipe(recipe))
    log = RunLog(root)
    for stage in plan_stages(experiment):
        if stage.group == group and all(path.exists() for path in stage.outputs):
            log.done(stage, stage.fingerprint(), seconds)


def still_to_run(stages: Sequence[Stage], log: RunLog) -> list[str]:
    """The kinds of the stages from the first unfinished one on. Those before it are done: nothing that they would load
    has to be there any more."""
    for number, stage in enumerate(stages):
        if log.reason(stage, stage.fingerprint()) is not None:
            kinds = dict.fromkeys(one.group for one in stages[number:])
            return list(dict.fromkeys("generate" if kind in ("models", "problems") else kind for kind in kinds))
    return []


def _run_group(stages: list[Stage], log: RunLog, parallel: int, beside: Command | None = None) -> None:
    """beside: a process that runs as long as there is something to do."""
    todo = []
    for stage in stages:
        fingerprint = stage.fingerprint()
        reason = log.reason(stage, fingerprint)
        if reason is None:
            say(f"{stage.key}: done before, skipped")
        else:
            if log.entries.get(stage.key, {}).get("fingerprint", fingerprint) != fingerprint:
                set_stage_aside(stage, log.entries[stage.key]["fingerprint"])
                if bring_stage_back(stage, fingerprint):
                    say(f"{stage.key}: done before with these settings, brought back")
                    log.done(stage, fingerprint, 0.0)
                    continue
            todo.append((stage, fingerprint, reason))
    with _beside(beside if todo else None):
        while todo:
            now, todo = todo[:parallel], todo[parallel:]
            _run_side_by_side(now, log)


@contextlib.contextmanager
def _beside(command: Command | None) -> Iterator[None]:
    """Waits for the process in the end; stops it when the stages fail. Its own failure stops nothing: what a watcher
    did not evaluate, `cord evaluate` does after it."""
    if command is None:
        yield
        return
    argv, environment = command
    watcher = subprocess.Popen(argv, env=child_environment(environment))
    with children_stopped([watcher]):
        yield
        if watcher.wait() != 0:
            say(f"the watcher stopped with exit code {watcher.returncode}; what it left is evaluated after training")


def _run_side_by_side(stages: list[tuple[Stage, str, str]], log: RunLog) -> None:
    """Runs stages that do not read each other's results. Each one's seconds count from its own start to its own end.

    Raises CordError as soon as one fails; the others are stopped then.
    """
    children: list[tuple[Stage, str, float, subprocess.Popen[bytes]]] = []
    processes: list[subprocess.Popen[bytes]] = []
    with children_stopped(processes):
        for stage, fingerprint, reason in stages:
            begun = time.monotonic()
            say(stage.key if reason == NEW else f"{stage.key}: again, {reason}")
            if stage.call is not None:
                say(f"{stage.key}: {stage.call()}")
                log.done(stage, fingerprint, time.monotonic() - begun)
            elif stage.command is not None:
                argv, environment = stage.command()
                processes.append(subprocess.Popen(argv, env=child_environment(environment)))
                children.append((stage, fingerprint, begun, processes[-1]))
        while children:
            ended = [child for child in children if child[-1].poll() is not None]
            # What ended well beside one that failed is recorded first, and so not run again.
            for stage, fingerprint, begun, process in sorted(ended, key=lambda child: child[-1].returncode != FINE):
                _refuse_failure(stage, process.returncode)
                log.done(stage, fingerprint, time.monotonic() - begun)
            children = [child for child in children if child not in ended]
            time.sleep(POLL_SECONDS if children else 0)


def _refuse_failure(stage: Stage, code: int) -> None:
    """Raises CordError unless a stage ended well, or within the share of problems that may fail."""
    if code == TOO_MANY_FAILED and stage.again:
        raise TooManyFailed(
            f"{stage.key}: more problems failed than decode.max_failed_share allows, so nothing is made of the "
            "others; mend the cause and run the same command again: what failed is tried again"
        )
    if code != FINE and not (code == SOME_FAILED and stage.again):
        raise CordError(f"{stage.key} stopped with exit code {code}; mend what it said and run the same command again")


@contextlib.contextmanager
def children_stopped(children: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Whatever ends this process early, its children get the time to write what they have, and end too."""
    try:
        yield
    finally:
        running = [child for child in children if child.poll() is None]
        for child in running:
            child.terminate()
        for child in running:
            try:
                child.wait(timeout=20)
            except subprocess.TimeoutExpired:
                child.kill()


def set_stage_aside(stage: Stage, fingerprint: str) -> None:
    """Sets a stage's old results aside. `generate` does its own; evaluation keeps what still holds."""
    for folder in filter(Path.exists, stage.folders):
        say(f"{stage.key}: the old results are in {short_path(set_aside([folder], fingerprint[:12]))}")


def bring_stage_back(stage: Stage, fingerprint: str) -> bool:
    """Brings back what an earlier run of this fingerprint had made and another one set aside. False: nothing whole."""
    kept = {folder: archive.find(folder.parent, fingerprint[:12], folder.name) for folder in stage.folders}
    if not kept or None in kept.values() or any(map(Path.exists, kept)):
        return False
    for folder, place in kept.items():
        if place is not None:
            archive.bring_back(place, folder.parent)
    return all(path.exists() for path in stage.outputs)


def say(line: str) -> None:
    note(f"· {plain(line)}")
