"""The figures of a run: what its folder holds, as one small dict. Nothing is computed by a model here.

Shares lie in 0..1. What was not measured is null or absent, never guessed; a run that is half done has half a summary.
"""

from __future__ import annotations

import json
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Any

from cord_distill.common.files import write_atomic
from cord_distill.common.jsonl import read_json
from cord_distill.decode.figures import model_figures, summarise_method
from cord_distill.evaluation.comparison import compare
from cord_distill.evaluation.over_seeds import over_seeds
from cord_distill.recipe.experiment import Experiment
from cord_distill.recipe.recipe import Recipe
from cord_distill.recipe.training_stages import training_runs
from cord_distill.run_folder.paths import PROBLEMS, RunFolder, method_name
from cord_distill.run_folder.trajectories import read_rows

PAIRED = ("difference", "ci", "p_value", "num_problems", "same_protocol")


def build_summary(experiment: Experiment) -> dict[str, Any]:
    """Reads the run folders of all methods of a recipe. Writes nothing.

    Keys: `name`, `pipeline` facts under `protocol`, `methods.<method>`, `students.<untrained|method|method-stage>` (of
    several seeds their mean, and each under `seeds`), `teachers.<label>`, `models.<label>` (of `evaluate.models`),
    `differences` (paired, between the students of the methods), `seconds.<part>`, `wall_seconds`. Raises CordError on a
    damaged file, never on a missing one.
    """
    recipes = experiment.methods
    shared, root = recipes[0], RunFolder.of(recipes[0]).root
    methods = {}
    for recipe in recipes:
        folder = RunFolder.of(recipe)
        if folder.trajectories.is_file():
            stats = read_json(folder.generate_stats)
            methods[method_name(recipe)] = {
                **summarise_method(read_rows(folder.trajectories)),
                "seconds": stats.get("seconds"),
                "models": {name: model_figures(meter) for name, meter in (stats.get("models") or {}).items()},
            }
    runs: dict[str, list[Recipe]] = {}
    for run in (run for recipe in recipes for run in training_runs(recipe)):
        runs.setdefault(RunFolder.of(run).student, []).append(run)
    labels = ["untrained", *(RunFolder.of(run).label for found in runs.values() for run in found)]
    teachers = list(dict.fromkeys(t.label for r in recipes for t in r.teachers))
    others = [model.label for model in shared.evaluate.models]
    results = {label: read_json(root / "eval" / label / "results.json") for label in [*labels, *teachers, *others]}
    suites = shared.evaluate.suites
    students = {x: evaluated(results[x], suites, student=True) for x in labels if results[x]}
    return {
        "name": shared.name,
        "protocol": {**_protocol(shared), "pipelines": {method_name(r): r.decode.pipeline for r in recipes}},
        "methods": methods,
        "students": _by_method(students, runs),
        "teachers": {x: evaluated(results[x], suites, student=False) for x in teachers if results[x]},
        "models": {x: evaluated(results[x], suites, student=True) for x in others if results[x]},
        "differences": _differences(root, suites, runs),
        "seconds": _seconds(root, methods, results),
        "wall_seconds": _wall_seconds(read_json(root / "stages.json")),
    }


def write_summary(experiment: Experiment) -> dict[str, Any]:
    """`build_summary`, also written to `summary.json` of the run folder (whole or not at all)."""
    summary = build_summary(experiment)
    write_atomic(RunFolder.of(experiment.methods[0]).summary, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return summary


def _by_method(students: dict[str, Any], runs: dict[str, list[Recipe]]) -> dict[str, Any]:
    """students: by label. One entry per method: its student's figures, or the mean over those of its seeds."""
    out = {x: students[x] for x in ("untrained",) if x in students}
    for method, found in runs.items():
        labels = {run.train_seed: RunFolder.of(run).label for run in found}
        done = {seed: students[label] for seed, label in labels.items() if label in students}
        if done:
            listed = {seed: figures for seed, figures in done.items() if seed is not None}
            out[method] = over_seeds(listed, of=len(found)) if listed else done[None]
    return out


def evaluated(results: dict[str, Any], wanted: list[str], student: bool) -> dict[str, Any]:
    """The first suite's figures at the top, each suite's under `suites`."""
    found = results.get("suites") or {}
    names = [*(s for s in wanted if s in found), *sorted(set(found) - set(wanted))]
    suites = {name: _suite(found[name], student) for name in names}
    first = {"suite": names[0], **suites[names[0]]} if names else {}
    return {**first, "seconds": results.get("seconds"), "suites": suites}


def _suite(figures: dict[str, Any], student: bool) -> dict[str, Any]:
    key = f"avg_at_{figures.get('k')}" if student else "answer_accuracy"
    return {
        key: figures.get("avg_at_k"),
        f"{key}_ci": figures.get("avg_at_k_ci"),
        "step_accuracy": figures.get("step_accuracy"),
        "k": figures.get("k"),
        "num_problems": figures.get("num_problems"),
    }


def _protocol(recipe: Recipe) -> dict[str, Any]:
    evaluate = recipe.evaluate
    return {
        "beam_size": recipe.decode.beam_size,
        "teachers": [t.label for t in recipe.teachers],
        "teacher_notes": {t.label: t.note for t in recipe.teachers if t.note},
        "problems": recipe.problems and (recipe.problems.dataset or recipe.problems.path or recipe.problems.builder),
        "meta_prover": recipe.meta_prover and (recipe.meta_prover.same_as or recipe.meta_prover.label),
        "suites": evaluate.suites,
        "samples": evaluate.samples,
        "temperature": evaluate.temperature,
        "seed": recipe.decode_seed,
        "train_seeds": recipe.seed if isinstance(recipe.seed, list) else [],
    }


def _differences(root: Path, suites: list[str], runs: dict[str, list[Recipe]]) -> list[dict[str, Any]]:
    """Of the students of each two methods, the earlier one minus the later one, on the first suite that both answered.

    Students of several seeds have none: their tables show the mean over the seeds, with its own interval.
    """
    folders = {
        method: root / "eval" / RunFolder.of(found[0]).label
        for method, found in runs.items()
        if len(found) == 1 and (root / "eval" / RunFolder.of(found[0]).label / PROBLEMS).is_file()
    }
    made = []
    for a, b in combinations(folders, 2):
        found = {} if folders[a] == folders[b] else compare(folders[a], folders[b])
        suite = next((s for s in [*suites, *found] if s in found), None)
        if suite is not None:
            made.append({"a": a, "b": b, "suite": suite, "share_a": found[suite]["a"], "share_b": found[suite]["b"],
                         **{key: found[suite][key] for key in PAIRED}})  # fmt: skip
    return made


def _wall_seconds(stages: dict[str, Any]) -> float | None:
    """How long `cord run` worked in all: stages that ran side by side count once. None where it did not run."""
    spans = []
    for stage in stages.values():
        if isinstance(stage, dict) and stage.get("seconds") is not None and stage.get("ended"):
            end = datetime.fromisoformat(stage["ended"]).timestamp()
            spans.append((end - stage["seconds"], end))
    total, until = 0.0, float("-inf")
    for begun, end in sorted(spans):
        total += max(0.0, end - max(begun, until))
        until = max(until, end)
    return round(total, 1) if spans else None


def _seconds(root: Path, methods: dict[str, Any], results: dict[str, Any]) -> dict[str, float]:
    """Wall-clock seconds per stage; of stages that were run by hand, what each part says of itself."""
    stages = read_json(root / "stages.json")
    said = {name: s["seconds"] for name, s in stages.items() if isinstance(s, dict) and s.get("seconds") is not None}
    if said:
        return said
    parts = {f"generate:{name}": m["seconds"] for name, m in methods.items()}
    parts |= {f"evaluate:{name}": r.get("seconds") for name, r in results.items()}
    return {name: seconds for name, seconds in parts.items() if seconds is not None}
