"""`cord evaluate`: the recipe that a command line means, with a recipe file or without one."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.files import write_atomic
from cord_distill.common.jsonl import read_object
from cord_distill.common.paths import short_path
from cord_distill.common.quiet import has_gpu
from cord_distill.evaluation.evaluate import TABLE, evaluate_recipe
from cord_distill.recipe.file import load_recipe
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.paths import RESULTS, RunFolder

# Names that say nothing of a model: `outputs/quickstart/cord/checkpoints/final` is called cord.
NAMELESS = {"final", "checkpoints", "model", "hf", ""}
CALIBRATION = "calibration.json"


def evaluate_command(arguments: argparse.Namespace) -> int:
    """Runs it; returns 1 when --calibrate finds a value that does not agree. CordError on mistakes, as everywhere."""
    recipe = asked_recipe(arguments)
    use_devices(recipe)
    if arguments.watch:
        if arguments.recipe is None or arguments.model or arguments.calibrate:
            raise CordError("evaluate --watch follows the training of a RECIPE: without --model and --calibrate")
        from cord_distill.evaluation.watch import watch

        return watch(recipe)
    label = recipe.evaluate.models[-1].label if arguments.model else None
    folder = RunFolder.of(recipe).eval
    if label is not None:
        _refuse_other_model(folder / label, recipe.evaluate.models[-1].model)
    evaluate_recipe(recipe, [label] if label else None)
    failed = 0
    if recipe.evaluate.checkpoints and label is None:
        from cord_distill.evaluation.watch import evaluate_checkpoints

        failed = evaluate_checkpoints(recipe)
    print(f"table    {short_path(folder / TABLE)}")
    return failed or (_calibrate(recipe, folder) if arguments.calibrate else 0)


def use_devices(recipe: Recipe) -> None:
    """Shows this process only `evaluate.devices`, counted among the GPUs that it sees. Call before torch is loaded."""
    devices = recipe.evaluate.devices
    if devices is None:
        return
    if not has_gpu():
        print("evaluate.devices is left aside: there is no GPU here", flush=True)
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [name.strip() for name in visible.split(",")] if visible else None
    if names and max(devices) >= len(names):
        raise CordError(f"evaluate.devices {devices}: CUDA_VISIBLE_DEVICES shows only {len(names)}, counted from 0")
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(names[i] if names else str(i) for i in devices)


def asked_recipe(arguments: argparse.Namespace) -> Recipe:
    """The recipe with the flags as overrides; without a recipe, an empty one that writes to outputs/evaluations."""
    source, overrides = arguments.recipe, list(arguments.overrides)
    if source is not None and "=" in source and not Path(source).is_file():
        source, overrides = None, [source, *overrides]
    if source is None and arguments.model is None:
        raise CordError("evaluate: give a RECIPE, or --model PATH with --suite NAME")
    if source is None and not arguments.suite and not any(o.startswith("evaluate.suites=") for o in overrides):
        raise CordError("evaluate --model: no suite; add --suite NAME (math, aime24, tatqa, ...)")
    overrides += _flags(arguments)
    if source is not None:
        return load_recipe(source, overrides)
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "evaluations.yaml"
        output = arguments.output or "outputs/evaluations"
        values = {"name": "evaluations", "output_dir": str(Path(output).absolute())}
        # Figures of single models are looked at in results.md; a recipe tracks its runs.
        empty.write_text(json.dumps({**values, "track": {"wandb": {"mode": "disabled"}}}), encoding="utf-8")
        return load_recipe(empty, overrides)


def _flags(arguments: argparse.Namespace) -> list[str]:
    found: list[str] = []

    def say(key: str, value: Any) -> None:
        found.append(f"{key}={json.dumps(value)}")

    if arguments.model is not None:
        path = Path(arguments.model).expanduser()
        model = str(path.absolute()) if path.exists() else arguments.model
        say("evaluate.models", [{"model": model, "name": arguments.name or label_of(arguments.model)}])
    if arguments.suite:
        say("evaluate.suites", arguments.suite)
    for item in arguments.data:
        suite, equals, file = item.partition("=")
        if not equals or not file:
            raise CordError(f"--data {item!r} is not of the form SUITE=FILE, e.g. --data aime24=aime24.jsonl")
        say(f"evaluate.data.{suite}", file)
    for key in ("samples", "limit"):
        value = getattr(arguments, key)
        if value is not None and not (value.isdigit() and int(value)):
            raise CordError(f"--{key} {value}: give a whole number from 1 on")
        if value is not None:
            found.append(f"evaluate.{key}={value}")
    if arguments.output and arguments.recipe is not None:
        say("output_dir", str(Path(arguments.output).absolute()))
    return found


def label_of(model: str) -> str:
    """The name of a model's folder; that of a run or method where the folder is called `final`, say."""
    parts = [part for part in Path(model).parts if part not in (*NAMELESS, "/", ".", "..", "~")]
    if not parts:
        return Path(model).absolute().name
    last = parts[-1]
    return f"{parts[-2]}-{last}" if last.startswith("checkpoint-") and len(parts) > 1 else last


def _refuse_other_model(folder: Path, model: str) -> None:
    """Two folders of one name would overwrite each other's results."""
    results = read_object(folder / RESULTS)
    if results is not None and results.get("base") != model:
        raise CordError(
            f"{folder}: holds the results of {results.get('base')}; give --name for this model, or --output for "
            "another folder"
        )


def _calibrate(recipe: Recipe, folder: Path) -> int:
    from cord_distill.evaluation.calibrate import calibrate, calibration_lines

    rows = calibrate(recipe.evaluate, folder)
    write_atomic(folder / CALIBRATION, json.dumps(rows, indent=1) + "\n")
    print("\n".join(calibration_lines(rows)))
    return 0 if all(row["agrees"] for row in rows) else 1
