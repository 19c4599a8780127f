"""`cord run`: every stage of a recipe, each in a process of its own, each skipped when nothing that it reads has
changed.

A stage's fingerprint is the hash of the recipe sections that it reads and of its input files. A stage whose
fingerprint changed is run again; what it had made is set aside under `stale/`, never deleted. Stages are
processes so that engines free their memory, and a crash of one leaves the others' results.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cord_distill.built import DONE, models_folder
from cord_distill.checkpoints import file_hash
from cord_distill.dataset import build_dataset
from cord_distill.engines.quiet import quiet_environment
from cord_distill.errors import CordError
from cord_distill.generate import decode_inputs
from cord_distill.launch import training_command
from cord_distill.orphans import child_environment
from cord_distill.recipe import Recipe
from cord_distill.recipe_file import dump_recipe, find_recipe, load_recipe, recipe_hash
from cord_distill.run_folder import RunFolder, write_atomic
from cord_distill.store import lock_folder, set_aside


NEW = "not done yet"


@dataclass(frozen=True, slots=True)
class Stage:
    """key: `train/cord`, say. outputs: what proves that it is done. command: argv of a child process, or None for
    `call`.

    environment: of the child. group: stages of one group may run side by side.
    """

    key: str
    fingerprint: Callable[[], str]
    outputs: tuple[Path, ...]
    command: Callable[[], tuple[list[str], dict[str, str]]] | None = None
    call: Callable[[], Any] | None = None
    group: str = ""


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
    root.mkdir(parents=True, exist_ok=True)
    lock = lock_folder(root, ".run.lock")
    try:
        write_atomic(root / "recipe.yaml", dump_recipe(recipe))
        log = RunLog(root)
        for group in _grouped(plan(source, overrides)):
            _run_group(group, log, recipe.launch.parallel_jobs)
        from cord_distill.report.page import write_report
        from cord_distill.summary import write_summary

        summary = write_summary(source, overrides)
        write_report(source, overrides)
        return summary
    finally:
        os.close(lock)


def plan(source: str, overrides: Sequence[str] = ()) -> list[Stage]:
    """The recipe's stages in order. Fingerprints are taken when asked for, since they read earlier stages' files."""
    recipe = load_recipe(source, overrides)
    path = str(find_recipe(source))
    stages: list[Stage] = []
    variants = method_variants(recipe, source, overrides)
    if recipe.models is not None:
        folder = models_folder(recipe.models)
        stages.append(
            Stage("models", lambda: str(folder), (folder / DONE,), _cord("models", path, overrides), group="models")
        )
    if recipe.teachers:
        stages.append(_generate_stage(path, overrides, variants))
        stages += [_data_stage(variant) for variant in variants]
    if recipe.train:
        stages += [_train_stage(path, overrides, variant) for variant in variants]
    if recipe.evaluate.suites:
        stages.append(_evaluate_stage(path, overrides, recipe, variants))
    return stages


def method_variants(recipe: Recipe, source: str, overrides: Sequence[str]) -> list[Recipe]:
    """One recipe per variant, or the recipe itself."""
    if not recipe.variants:
        return [recipe]
    return [load_recipe(source, overrides, variant=name) for name in recipe.variants]


def _generate_stage(path: str, overrides: Sequence[str], recipes: list[Recipe]) -> Stage:
    def fingerprint() -> str:
        inputs = [{**decode_inputs(recipe), "limit": recipe.problems and recipe.problems.limit} for recipe in recipes]
        sources = [content(Path(r.problems.path)) for r in recipes if r.problems and r.problems.path]
        return recipe_hash({"inputs": inputs, "sources": sources})

    outputs = tuple(RunFolder.of(recipe).trajectories for recipe in recipes)
    return Stage(
        "generate", fingerprint, outputs, _cord("generate", path, ["--overwrite", *overrides]), group="generate"
    )


def _data_stage(recipe: Recipe) -> Stage:
    run = RunFolder.of(recipe)

    def fingerprint() -> str:
        return recipe_hash({"data": recipe.data.model_dump(mode="json"), "trajectories": content(run.trajectories)})

    return Stage(
        f"data/{run.method}",
        fingerprint,
        (run.dataset / "train.jsonl",),
        call=lambda: kept_and_dropped(build_dataset(recipe, run.trajectories, run.dataset)),
        group="data",
    )


def kept_and_dropped(stats: dict[str, Any]) -> str:
    """One line about a data set: how many rows were kept, and what the others were dropped for."""
    dropped = ", ".join(f"{count} {reason}" for reason, count in stats["dropped"].items())
    return f"{stats['kept']} rows kept" + (f", dropped: {dropped}" if dropped else "")


def _train_stage(path: str, overrides: Sequence[str], recipe: Recipe) -> Stage:
    run = RunFolder.of(recipe)

    def fingerprint() -> str:
        models = recipe.models.model_dump(mode="json") if recipe.models else None
        read = {
            "train": recipe.train,
            "seed": recipe.seed,
            "max_tokens": recipe.data.filters.max_tokens,
            "models": models,
            "data": content(run.dataset / "train.jsonl"),
        }
        return recipe_hash(read)

    def command() -> tuple[list[str], dict[str, str]]:
        picked = [f"variant={recipe.variant}"] if recipe.variant else []
        return training_command(path, recipe, [*overrides, *picked])

    return Stage(f"train/{run.method}", fingerprint, (run.final_model / "config.json",), command, group="train")


def _evaluate_stage(path: str, overrides: Sequence[str], recipe: Recipe, variants: list[Recipe]) -> Stage:
    run = RunFolder.of(recipe)

    def fingerprint() -> str:
        finals = [RunFolder.of(variant).final_model for variant in variants]
        weights = [file_stamp(file) for final in finals for file in sorted(final.glob("*.safetensors"))]
        read = {
            "evaluate": recipe.evaluate.model_dump(mode="json"),
            "teachers": [t.model_dump(mode="json") for t in recipe.teachers] if recipe.evaluate.teachers else [],
            "weights": weights,
            "data": [content(Path(file)) for file in recipe.evaluate.data.values()],
        }
        return recipe_hash(read)

    return Stage("evaluate", fingerprint, (run.eval,), _cord("evaluate", path, overrides), group="evaluate")


def _run_group(stages: list[Stage], log: RunLog, parallel: int) -> None:
    todo = []
    for stage in stages:
        fingerprint = stage.fingerprint()
        reason = log.reason(stage, fingerprint)
        if reason is None:
            say(f"{stage.key}: done before, skipped")
        else:
            todo.append((stage, fingerprint, reason))
    while todo:
        now, todo = todo[:parallel], todo[parallel:]
        _run_side_by_side(now, log)


def _run_side_by_side(stages: list[tuple[Stage, str, str]], log: RunLog) -> None:
    begun = time.monotonic()
    children: list[tuple[Stage, str, subprocess.Popen[bytes]]] = []
    with _children_stopped(children):
        for stage, fingerprint, reason in stages:
            say(stage.key if reason == NEW else f"{stage.key}: again, {reason}")
            if log.entries.get(stage.key, {}).get("fingerprint", fingerprint) != fingerprint:
                set_stage_aside(stage, log.entries[stage.key]["fingerprint"])
            if stage.call is not None:
                said = stage.call()
                if said:
                    say(f"{stage.key}: {said}")
                log.done(stage, fingerprint, time.monotonic() - begun)
            elif stage.command is not None:
                argv, environment = stage.command()
                children.append((stage, fingerprint, subprocess.Popen(argv, env=child_environment(environment))))
        for stage, fingerprint, child in children:
            code = child.wait()
            if code != 0:
                raise CordError(
                    f"{stage.key} stopped with exit code {code}; mend what it said and run the same command again"
                )
            log.done(stage, fingerprint, time.monotonic() - begun)


@contextlib.contextmanager
def _children_stopped(children: list[tuple[Stage, str, subprocess.Popen[bytes]]]) -> Iterator[None]:
    """Whatever ends this process early, its children get the time to write what they have, and end too."""
    try:
        yield
    finally:
        running = [child for _, _, child in children if child.poll() is None]
        for child in running:
            child.terminate()
        for child in running:
            try:
                child.wait(timeout=20)
            except subprocess.TimeoutExpired:
                child.kill()


def set_stage_aside(stage: Stage, fingerprint: str) -> None:
    """Sets a stage's old results aside. `generate` does its own; evaluation keeps what still holds."""
    if stage.key.startswith(("data/", "train/")):
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


def _cord(command: str, path: str, arguments: Sequence[str]) -> Callable[[], tuple[list[str], dict[str, str]]]:
    argv = [sys.executable, "-m", "cord_distill.cli", command, path, *arguments]
    return lambda: (argv, quiet_environment())


def content(path: Path) -> str:
    """sha256 of a file, or "" where there is none yet."""
    return file_hash(path) if path.is_file() else ""


def file_stamp(path: Path) -> list[Any]:
    stat = path.stat()
    return [str(path), stat.st_size, stat.st_mtime_ns]


def say(line: str) -> None:
    print(f"· {line}", file=sys.stderr, flush=True)
