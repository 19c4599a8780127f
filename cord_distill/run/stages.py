"""The stages of a recipe, in order, and what each one reads (run.py runs them).

A stage's fingerprint is the hash of the recipe sections that it reads and of its input files. A stage whose
fingerprint changed is run again; what data and training had made is set aside under `stale/`, never deleted, and
brought back when that fingerprint comes back. Decoding of a changed recipe is refused unless asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.jsonl import read_json
from cord_distill.common.quiet import quiet_environment
from cord_distill.decode.failures import failures_of
from cord_distill.decode.hard_problems import filter_fingerprint
from cord_distill.decode.inputs import decode_inputs
from cord_distill.model_files.locate import DONE, model_path, models_folder
from cord_distill.model_files.weights import SUFFIXES
from cord_distill.recipe.experiment import Experiment, variant_overrides
from cord_distill.recipe.file import recipe_hash
from cord_distill.recipe.recipe import Recipe
from cord_distill.recipe.train_keys import TRAININGS
from cord_distill.recipe.training_stages import section_of, stage_before, stages_of, training_runs
from cord_distill.run.make_data import kept_and_dropped, make_data
from cord_distill.run_folder.checkpoints import file_hash
from cord_distill.run_folder.paths import PREFERENCES_FILE, STEP_VALUES_FILE, TRAIN_FILE, RunFolder, training_folder
from cord_distill.training.launch import gpu_count, training_command

NEW = "not done yet"
# argv and environment of a child process.
Command = tuple[list[str], dict[str, str]]


@dataclass(frozen=True, slots=True)
class Stage:
    """key: `train/cord`, say. fingerprint: taken when asked for, since it reads earlier stages' files.

    outputs: what proves that it is done. folders: those that it fills alone. again: why it has to run although it is
    done, or None. command: gives argv and environment of a child process; call: runs here instead and gives a line to
    show.
    """

    key: str
    fingerprint: Callable[[], str]
    outputs: tuple[Path, ...]
    command: Callable[[], Command] | None = None
    call: Callable[[], str] | None = None
    again: Callable[[], str | None] | None = None
    folders: tuple[Path, ...] = ()

    @property
    def group(self) -> str:
        """`train` of `train/cord`: stages of one group may run side by side."""
        return self.key.partition("/")[0]


def plan_stages(experiment: Experiment, overwrite: bool = False) -> list[Stage]:
    """The recipe's stages in order. overwrite: decoding sets a changed recipe's results aside instead of refusing."""
    recipe, variants, overrides = experiment.recipe, experiment.variants, experiment.overrides
    path = str(experiment.path)
    stages: list[Stage] = []
    asked = ["--overwrite"] if overwrite else []
    if recipe.models is not None:
        folder = models_folder(recipe.models)
        stages.append(Stage("models", lambda: str(folder), (folder / DONE,), _cord("models", path, overrides)))
    if recipe.problems and recipe.problems.hard_for:
        stages.append(_problems_stage(path, [*asked, *overrides], recipe))
    if recipe.teachers:
        stages.append(_generate_stage(path, [*asked, *overrides], variants))
    if recipe.teachers or recipe.data.sources:
        stages += [_data_stage(variant) for variant in variants]
    for name in TRAININGS:
        trained = [variant.model_copy(update={"stage": name}) for variant in variants if name in stages_of(variant)]
        stages += [_train_stage(path, overrides, one) for variant in trained for one in variant.seed_runs()]
    if recipe.evaluate.suites:
        stages.append(_evaluate_stage(path, overrides, recipe, variants))
    return stages


def _problems_stage(path: str, overrides: Sequence[str], recipe: Recipe) -> Stage:
    problems, run = recipe.problems, RunFolder.of(recipe)
    assert problems is not None

    def fingerprint() -> str:
        source = content_hash(Path(problems.path)) if problems.path else ""
        return recipe_hash({"filter": filter_fingerprint(recipe), "limit": problems.limit, "source": source})

    def again() -> str | None:
        return failed_before(read_json(run.problem_filter / "stats.json").get("dropped", {}).get("failed", 0))

    command = _cord("problems", path, overrides)
    return Stage("problems", fingerprint, (run.hard_problems,), command, again=again)


def _generate_stage(path: str, overrides: Sequence[str], recipes: list[Recipe]) -> Stage:
    def fingerprint() -> str:
        which = [recipe.problems and [recipe.problems.limit, recipe.problems.revision] for recipe in recipes]
        inputs = [{**decode_inputs(recipe), "which": some} for recipe, some in zip(recipes, which, strict=True)]
        sources = [content_hash(Path(r.problems.path)) for r in recipes if r.problems and r.problems.path]
        sources += [content_hash(RunFolder.of(r).hard_problems) for r in recipes if r.problems and r.problems.hard_for]
        return recipe_hash({"inputs": inputs, "sources": sources})

    outputs = tuple(RunFolder.of(recipe).trajectories for recipe in recipes)

    def again() -> str | None:
        return failed_before(sum(failures_of(path).failed for path in outputs))

    command = _cord("generate", path, overrides)
    return Stage("generate", fingerprint, outputs, command, again=again)


def failed_before(count: int) -> str | None:
    """Why decoding runs again although nothing changed: what failed is tried again by the same command."""
    return None if not count else "1 problem failed" if count == 1 else f"{count} problems failed"


def _data_stage(recipe: Recipe) -> Stage:
    run = RunFolder.of(recipe)

    def fingerprint() -> str:
        sources = [content_hash(Path(source.path)) for source in recipe.data.sources if source.path]
        read = {"data": recipe.data.model_dump(mode="json"), "trajectories": content_hash(run.trajectories)}
        return recipe_hash({**read, "sources": sources, "seed": recipe.decode_seed})

    def call() -> str:
        return kept_and_dropped(make_data(recipe))

    files = [TRAIN_FILE]
    files += [PREFERENCES_FILE] if recipe.data.preferences is not None else []
    files += [STEP_VALUES_FILE] if recipe.data.step_values else []
    outputs = tuple(run.dataset / file for file in files)
    return Stage(f"data/{run.method}", fingerprint, outputs, call=call, folders=(run.dataset,))


def _train_stage(path: str, overrides: Sequence[str], recipe: Recipe) -> Stage:
    """One training, of the stage that `recipe` picks."""
    run, name = RunFolder.of(recipe), recipe.stage

    def fingerprint() -> str:
        models = recipe.models.model_dump(mode="json") if recipe.models else None
        read: dict[str, Any] = {
            "train": section_of(recipe),
            "seed": recipe.training_seed,
            "max_tokens": recipe.data.filters.max_tokens,
            "models": models,
            "data": content_hash(run.dataset / (PREFERENCES_FILE if name == "dpo" else TRAIN_FILE)),
        }
        before = stage_before(recipe)
        if before is not None:
            read["before"] = [
                file_stamp(file) for file in sorted(RunFolder.of(before).final_model.glob("*.safetensors"))
            ]
        if name == "distil":
            read["teachers"] = [teacher.model_dump(mode="json") for teacher in recipe.teachers]
        return recipe_hash(read)

    def command() -> Command:
        return training_command(path, recipe, [*overrides, *variant_overrides(recipe)])

    plain = run.label if name == "train" else RunFolder.of(recipe.model_copy(update={"stage": "train"})).label
    folders = tuple(dict.fromkeys((run.checkpoints, training_folder(recipe))))
    done = (run.final_model / "config.json",)
    return Stage(f"{name}/{plain}", fingerprint, done, command, folders=folders)


def _evaluate_stage(path: str, overrides: Sequence[str], recipe: Recipe, variants: list[Recipe]) -> Stage:
    run = RunFolder.of(recipe)

    def fingerprint() -> str:
        finals = [RunFolder.of(one).final_model for variant in variants for one in training_runs(variant)]
        weights = [file_stamp(file) for final in finals for file in sorted(final.glob("*.safetensors"))]
        for i, model in enumerate(recipe.evaluate.models):
            weights += _model_stamps(recipe, model.model, f"evaluate.models.{i}.model")
        read = {
            "evaluate": recipe.evaluate.model_dump(mode="json"),
            "teachers": [t.model_dump(mode="json") for t in recipe.teachers] if recipe.evaluate.teachers else [],
            "weights": weights,
            "data": [content_hash(Path(file.path)) for file in recipe.evaluate.files.values()],
        }
        return recipe_hash(read)

    return Stage("evaluate", fingerprint, (run.eval,), _cord("evaluate", path, overrides))


def _model_stamps(recipe: Recipe, model: str, key: str) -> list[list[Any]]:
    """Stamps of a local model's files. None of one that is not there yet (the evaluation says so), or on the hub."""
    try:
        folder = Path(model_path(recipe, model, key))
    except CordError:
        return []
    files = [path for path in folder.glob("*") if path.suffix in SUFFIXES] if folder.is_dir() else []
    return [file_stamp(path) for path in sorted(files)]


def watch_command(experiment: Experiment) -> Command:
    """`cord evaluate --watch`, which `cord run` starts beside the training. Raises CordError without a free GPU."""
    if gpu_count() and not experiment.recipe.evaluate.devices:
        raise CordError(
            "evaluate.when: with_training would put training and evaluation on the same GPUs: give evaluate.devices, "
            "e.g. [7], or evaluate.when=after"
        )
    return _cord("evaluate", str(experiment.path), ["--watch", *experiment.overrides])()


def _cord(command: str, path: str, arguments: Sequence[str]) -> Callable[[], Command]:
    argv = [sys.executable, "-m", "cord_distill.cli", command, path, *arguments]
    return lambda: (argv, quiet_environment())


def content_hash(path: Path) -> str:
    """sha256 of a file, or "" where there is none yet."""
    return file_hash(path) if path.is_file() else ""


def file_stamp(path: Path) -> list[Any]:
    """Another one after every change of the file, also one that keeps its size and sets its old time."""
    stat = path.stat()
    return [str(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
