"""The figures of a run, read from what its folder holds, and `summary.json`. No model computes anything here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Any

from cord_distill.common.files import write_atomic
from cord_distill.common.jsonl import read_json
from cord_distill.decode.figures import MethodFigures, method_figures
from cord_distill.evaluation.comparison import is_finished, paired
from cord_distill.evaluation.figures import ModelScores
from cord_distill.evaluation.over_seeds import over_seeds
from cord_distill.recipe.experiment import Experiment
from cord_distill.recipe.recipe import Recipe
from cord_distill.recipe.training_stages import training_runs
from cord_distill.run_folder.paths import RunFolder, method_name
from cord_distill.run_folder.shapes import read_results, read_stages
from cord_distill.run_folder.trajectories import read_rows


@dataclass(frozen=True, slots=True)
class RunProtocol:
    """How a run's data were decoded and its students evaluated. pipelines: by method. teacher_notes: by label, of the
    teachers that have one. train_seeds: of a list of seeds."""

    beam_size: int
    teachers: list[str]
    teacher_notes: dict[str, str]
    problems: str | None
    meta_prover: str | None
    suites: list[str]
    samples: int | dict[str, int]
    temperature: float
    seed: int
    train_seeds: list[int]
    pipelines: dict[str, str]


@dataclass(frozen=True, slots=True)
class StudentDifference:
    """The students of two methods, `a` minus `b` on the same problems of one suite (`evaluation.comparison`)."""

    a: str
    b: str
    suite: str
    share_a: float
    share_b: float
    difference: float
    ci: list[float]
    p_value: float
    num_problems: int
    same_protocol: bool


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a run. What was not measured is None or absent; a run that is half done has half a summary.

    methods: by name. students: `untrained`, then by method (or method-stage). teachers, models: by label, the latter
    those of `evaluate.models`. differences: of each two methods' students. seconds: by part of the run. wall_seconds:
    parts that ran side by side count once.
    """

    name: str
    protocol: RunProtocol
    methods: dict[str, MethodFigures] = field(default_factory=dict)
    students: dict[str, ModelScores] = field(default_factory=dict)
    teachers: dict[str, ModelScores] = field(default_factory=dict)
    models: dict[str, ModelScores] = field(default_factory=dict)
    differences: list[StudentDifference] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    wall_seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """What summary.json holds."""
        return {
            "name": self.name,
            "protocol": asdict(self.protocol),
            "methods": {name: asdict(method) for name, method in self.methods.items()},
            "students": {name: student.to_json() for name, student in self.students.items()},
            "teachers": {name: teacher.to_json(teacher=True) for name, teacher in self.teachers.items()},
            "models": {name: model.to_json() for name, model in self.models.items()},
            "differences": [asdict(one) for one in self.differences],
            "seconds": self.seconds,
            "wall_seconds": self.wall_seconds,
        }


def build_summary(experiment: Experiment) -> Summary:
    """Reads the run folders of all methods of a recipe. Writes nothing.

    Raises CordError on a damaged file, never on a missing one.
    """
    recipes = experiment.methods
    shared, root = recipes[0], RunFolder.of(recipes[0]).root
    methods = {}
    for recipe in recipes:
        folder = RunFolder.of(recipe)
        if folder.trajectories.is_file():
            rows, stats = read_rows(folder.trajectories), read_json(folder.generate_stats)
            methods[method_name(recipe)] = method_figures(rows, stats)
    runs: dict[str, list[Recipe]] = {}
    for run in (run for recipe in recipes for run in training_runs(recipe)):
        runs.setdefault(RunFolder.of(run).student, []).append(run)
    labels = ["untrained", *(RunFolder.of(run).label for found in runs.values() for run in found)]
    teachers = list(dict.fromkeys(t.label for r in recipes for t in r.teachers))
    others = [model.label for model in shared.evaluate.models]
    results = {label: read_results(root / "eval" / label / "results.json") for label in [*labels, *teachers, *others]}
    suites = shared.evaluate.suites
    scores = {label: ModelScores.of(found, suites) for label, found in results.items() if found}
    return Summary(
        name=shared.name,
        protocol=_protocol(recipes),
        methods=methods,
        students=_by_method({label: scores[label] for label in labels if label in scores}, runs),
        teachers={label: scores[label] for label in teachers if label in scores},
        models={label: scores[label] for label in others if label in scores},
        differences=_differences(root, suites, runs),
        seconds=_seconds(root, methods, results),
        wall_seconds=_wall_seconds(read_stages(root / "stages.json")),
    )


def write_summary(experiment: Experiment) -> Summary:
    """`build_summary`, also written to `summary.json` of the run folder (whole or not at all)."""
    summary = build_summary(experiment)
    text = json.dumps(summary.to_json(), indent=2, ensure_ascii=False)
    write_atomic(RunFolder.of(experiment.methods[0]).summary, text + "\n")
    return summary


def _by_method(students: Mapping[str, ModelScores], runs: dict[str, list[Recipe]]) -> dict[str, ModelScores]:
    """students: by label. One entry per method: its student's figures, or the mean over those of its seeds."""
    out = {x: students[x] for x in ("untrained",) if x in students}
    for method, found in runs.items():
        labels = {run.train_seed: RunFolder.of(run).label for run in found}
        done = {seed: students[label] for seed, label in labels.items() if label in students}
        if done:
            listed = {seed: scores for seed, scores in done.items() if seed is not None}
            out[method] = over_seeds(listed, of=len(found)) if listed else done[None]
    return out


def _protocol(recipes: list[Recipe]) -> RunProtocol:
    recipe = recipes[0]
    evaluate, problems, prover = recipe.evaluate, recipe.problems, recipe.meta_prover
    return RunProtocol(
        beam_size=recipe.decode.beam_size,
        teachers=[teacher.label for teacher in recipe.teachers],
        teacher_notes={teacher.label: teacher.note for teacher in recipe.teachers if teacher.note},
        problems=(problems.dataset or problems.path or problems.builder) if problems else None,
        meta_prover=(prover.same_as or prover.label) if prover else None,
        suites=evaluate.suites,
        samples=evaluate.samples,
        temperature=evaluate.temperature,
        seed=recipe.decode_seed,
        train_seeds=recipe.seed if isinstance(recipe.seed, list) else [],
        pipelines={method_name(one): one.decode.pipeline for one in recipes},
    )


def _differences(root: Path, suites: list[str], runs: dict[str, list[Recipe]]) -> list[StudentDifference]:
    """Of the students of each two methods, the earlier one minus the later one, on the first suite that both answered.

    Students of several seeds have none: their tables show the mean over the seeds, with its own interval.
    """
    folders = {
        method: root / "eval" / RunFolder.of(found[0]).label
        for method, found in runs.items()
        if len(found) == 1 and is_finished(root / "eval" / RunFolder.of(found[0]).label)
    }
    made = []
    for a, b in combinations(folders, 2):
        found = {} if folders[a] == folders[b] else paired(folders[a], folders[b])
        suite = next((s for s in [*suites, *found] if s in found), None)
        if suite is not None:
            one = found[suite]
            shown = {key: one[key] for key in ("difference", "ci", "p_value", "num_problems", "same_protocol")}
            made.append(StudentDifference(a=a, b=b, suite=suite, share_a=one["a"], share_b=one["b"], **shown))
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


def _seconds(root: Path, methods: Mapping[str, MethodFigures], results: dict[str, Any]) -> dict[str, float]:
    """Wall-clock seconds per stage; of stages that were run by hand, what each part says of itself."""
    stages = read_stages(root / "stages.json")
    said = {name: s["seconds"] for name, s in stages.items() if isinstance(s, dict) and s.get("seconds") is not None}
    if said:
        return said
    parts = {f"generate:{name}": method.seconds for name, method in methods.items()}
    parts |= {f"evaluate:{name}": r.get("seconds") for name, r in results.items()}
    return {name: seconds for name, seconds in parts.items() if seconds is not None}
