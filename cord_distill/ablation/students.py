"""What `cord ablate --students` says of the students of each variant and stage, over all of its trainings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cord_distill.common.jsonl import own_rows
from cord_distill.decode.figures import DIGITS, rounded_mean
from cord_distill.metrics import cluster_bootstrap
from cord_distill.recipe.recipe import Recipe
from cord_distill.recipe.training_stages import training_runs
from cord_distill.run_folder.paths import PROBLEMS, RunFolder

# One training: the value of `ablate.seed_key`, and the training seed where the recipe's `seed` is a list.
Training = tuple[int, int | None]


@dataclass(frozen=True, slots=True)
class Answers:
    """One student on the first suite: share of right samples and of right steps by problem; tokens of every sample."""

    shares: Mapping[str, float]
    steps: Mapping[str, float]
    tokens: tuple[int, ...]
    k: int


@dataclass(frozen=True, slots=True)
class StudentFigures:
    """The students of one variant and stage. by_training: avg@k of each, named `SEED` or `SEED/TRAINING SEED`.

    avg_at_k, step_accuracy, tokens: means over the trainings. difference: to the baseline's students of the same seeds,
    with a 95 % bootstrap interval over the problems of the suite, of each the mean over the trainings; None for the
    baseline itself and without a training that both have.
    """

    k: int
    avg_at_k: float
    by_training: dict[str, float]
    step_accuracy: float | None
    tokens: float
    difference: float | None
    interval: tuple[float, float] | None
    num_problems: int


def student_figures(runs: Mapping[str, Mapping[int, Recipe]], baseline: str) -> dict[str, StudentFigures]:
    """By what the tables call a student: the variant, behind it the stage (`cord-dpo`). Those not evaluated are left
    out."""
    found: defaultdict[str, dict[Training, Answers]] = defaultdict(dict)
    for by_seed in runs.values():
        for seed, recipe in by_seed.items():
            for run in training_runs(recipe):
                folder = RunFolder.of(run)
                if answers := _answers(folder, recipe.evaluate.suites):
                    found[folder.student][seed, run.train_seed] = answers
    return {
        name: _figures(trained, {} if name == baseline else found.get(baseline, {})) for name, trained in found.items()
    }


def _answers(folder: RunFolder, suites: Iterable[str]) -> Answers | None:
    path = folder.eval / folder.label / PROBLEMS
    rows = list(own_rows(path)) if path.is_file() else []
    there = [row["suite"] for row in rows]
    suite = next((name for name in [*suites, *there] if name in there), None)
    mine = [row for row in rows if row["suite"] == suite and row["avg"] is not None]
    if not mine:
        return None
    return Answers(
        shares={row["id"]: row["avg"] for row in mine},
        steps={row["id"]: sum(row["step_shares"]) / len(row["step_shares"]) for row in mine if row.get("step_shares")},
        tokens=tuple(n for row in mine for n in row["num_tokens"]),
        k=len(mine[0]["correct"]),
    )


def _figures(trained: Mapping[Training, Answers], baseline: Mapping[Training, Answers]) -> StudentFigures:
    by_training = {_name(key): rounded_mean(one.shares.values()) or 0.0 for key, one in trained.items()}
    by_problem: defaultdict[str, list[float]] = defaultdict(list)
    for key in trained.keys() & baseline.keys():
        ours, theirs = trained[key].shares, baseline[key].shares
        for problem in ours.keys() & theirs.keys():
            by_problem[problem].append(ours[problem] - theirs[problem])
    differences = [sum(by_problem[name]) / len(by_problem[name]) for name in sorted(by_problem)]
    low, high = cluster_bootstrap(differences) if differences else (0.0, 0.0)
    return StudentFigures(
        k=next(iter(trained.values())).k,
        avg_at_k=rounded_mean(by_training.values()) or 0.0,
        by_training=by_training,
        step_accuracy=rounded_mean(rounded_mean(one.steps.values()) for one in trained.values()),
        tokens=rounded_mean(n for one in trained.values() for n in one.tokens) or 0.0,
        difference=rounded_mean(differences),
        interval=(round(low, DIGITS), round(high, DIGITS)) if differences else None,
        num_problems=max(len(one.shares) for one in trained.values()),
    )


def _name(training: Training) -> str:
    seed, own = training
    return str(seed) if own is None else f"{seed}/{own}"
