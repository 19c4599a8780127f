"""`cord run`: every stage in a process of its own, each skipped when nothing that it reads has changed (stages.py).

Stages are processes so that engines free their memory, and a crash of one leaves the others' results.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cord_distill.common.die_with_parent import child_environment
from cord_distill.common.errors import CordError
from cord_distill.common.files import lock_folder, set_aside, write_atomic
from cord_distill.recipe.experiment import method_variants
from cord_distill.recipe.file import dump_recipe, load_recipe
from cord_distill.recipe.train_keys import TRAININGS
from cord_distill.run.first_pass import refuse
from cord_distill.run.stages import NEW, Command, Stage, plan, watch_command
from cord_distill.run_folder.paths import RunFolder

# How often the children of one group are looked at.
POLL_SECONDS = 0.1


class RunLog:
    """`stages.json` of a run: per stage its fingerprint, when it ended and the seconds it took."""

    def __init__(self, root: Path) -> None:
        self.path = root / "stages.json"
        self.entries: dict[str, dict[str, Any]] = json.loads(self.path.read_text()) if self.path.exists() else {}

    def reason(self, stage: Stage, fingerprint: str) -> str | None:
        """Why the stage has to run, or None when it is done."""
        entry = self.entries.get(stage.key)
        if entry is None:
            return NEW
        if entry["fingerprint"] != fingerprint:
            return "what it reads has changed"
        missing = [path.name for path in stage.outputs if not path.exists()]
        return f"{missing[0]} is gone" if missing else None

    def done(self, stage: Stage, fingerprint: str, seconds: float) -> None:
        self.entries[stage.key] = {
            "fingerprint": fingerprint,
            "seconds": round(seconds, 1),
            "ended": time.strftime("%Y-%m-%dT%H:%M:%S"),
        }
        write_atomic(self.path, json.dumps(self.entries, indent=1) + "\n")


def run(source: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Runs what is not done; returns the summary that the report shows. Raises CordError when a stage fails."""
    recipe = load_recipe(source, overrides)
    root = RunFolder.of(recipe).root
    stages = plan(source, overrides)
    refuse(method_variants(recipe, source, overrides), still_to_run(stages, RunLog(root)))
    root.mkdir(parents=True, exist_ok=True)
    lock = lock_folder(root, ".run.lock")
    try:
        write_atomic(root / "recipe.yaml", dump_recipe(recipe))
        log = RunLog(root)
        for group in _grouped(plan(source, overrides)):
            watched = group[0].group == "train" and recipe.evaluate.when == "with_training"
            beside = watch_command(source, overrides) if watched else None
            _run_group(group, log, recipe.launch.parallel_jobs, beside)
        from cord_distill.report.finish import finish

        return finish(source, overrides)
    finally:
        os.close(lock)


def still_to_run(stages: Sequence[Stage], log: RunLog) -> list[str]:
    """The kinds of stages from the first one on that is not done: what is finished needs its models no more."""
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
            todo.append((stage, fingerprint, reason))
            if log.entries.get(stage.key, {}).get("fingerprint", fingerprint) != fingerprint:
                set_stage_aside(stage, log.entries[stage.key]["fingerprint"])
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
    with _children_stopped([watcher]):
        yield
        if watcher.wait() != 0:
            say(f"the watcher stopped with exit code {watcher.returncode}; what it left is evaluated after training")


def _run_side_by_side(stages: list[tuple[Stage, str, str]], log: RunLog) -> None:
    """Runs stages that do not read each other's results. Each one's seconds count from its own start to its own end.

    Raises CordError as soon as one fails; the others are stopped then.
    """
    children: list[tuple[Stage, str, float, subprocess.Popen[bytes]]] = []
    processes: list[subprocess.Popen[bytes]] = []
    with _children_stopped(processes):
        for stage, fingerprint, reason in stages:
            begun = time.monotonic()
            say(stage.key if reason == NEW else f"{stage.key}: again, {reason}")
            if stage.call is not None:
                said = stage.call()
                if said:
                    say(f"{stage.key}: {said}")
                log.done(stage, fingerprint, time.monotonic() - begun)
            elif stage.command is not None:
                argv, environment = stage.command()
                processes.append(subprocess.Popen(argv, env=child_environment(environment)))
                children.append((stage, fingerprint, begun, processes[-1]))
        while children:
            ended = [child for child in children if child[-1].poll() is not None]
            for stage, fingerprint, begun, process in ended:
                if process.returncode != 0:
                    raise CordError(
                        f"{stage.key} stopped with exit code {process.returncode}; mend what it said and run the same "
                        "command again"
                    )
                log.done(stage, fingerprint, time.monotonic() - begun)
            children = [child for child in children if child not in ended]
            time.sleep(POLL_SECONDS if children else 0)


@contextlib.contextmanager
def _children_stopped(children: list[subprocess.Popen[bytes]]) -> Iterator[None]:
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
    if stage.group == "data" or stage.group in TRAININGS:
        made = stage.outputs[0].parent if stage.key.startswith("data/") else stage.outputs[0].parent.parent
        if made.exists():
            say(f"{stage.key}: the old results are in {set_aside(made, fingerprint[:12])}")


def _grouped(stages: list[Stage]) -> Iterator[list[Stage]]:
    group: list[Stage] = []
    for stage in stages:
        if group and stage.group != group[0].group:
            yield group
            group = []
        group.append(stage)
    if group:
        yield group


def say(line: str) -> None:
    print(f"· {line}", file=sys.stderr, flush=True)
