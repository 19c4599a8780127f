"""`cord ablate`: a list of variants over several seeds, on shared models and engines; then the ablation tables.

Every (seed, variant) is a run folder of its own, `<run>/seed<seed>/<variant>/`, with its own journal: what is finished
is skipped, and a killed run goes on. Tables are made from whatever is on the disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cord_distill.ablation.figures import MEASURES, Key, Result, at_equal_tokens, difference, figures, results_of
from cord_distill.ablation.results import AblationFigures
from cord_distill.ablation.students import student_figures
from cord_distill.common.errors import CordError
from cord_distill.common.files import write_atomic
from cord_distill.common.jsonl import read_json
from cord_distill.decode.failures import Failures, failures_of
from cord_distill.recipe.experiment import Experiment
from cord_distill.recipe.file import RecipeFile, find_recipe, load_recipe
from cord_distill.recipe.recipe import AblateConfig, Recipe, known_variants
from cord_distill.run_folder.paths import RunFolder
from cord_distill.run_folder.trajectories import read_rows


@dataclass(frozen=True)
class Ablation:
    """settings: the recipe's `ablate` section. runs: variant -> seed -> its recipe. root: the folder of all of it."""

    name: str
    settings: AblateConfig
    runs: dict[str, dict[int, Recipe]]
    changes: dict[str, dict[str, Any]]
    root: Path


def ablate(
    source: str, overrides: Sequence[str] = (), only: Sequence[str] = (), students: bool = False, run: bool = True
) -> AblationFigures:
    """Runs what is not done, of `only` or of all variants; writes ablations.json and .md; returns the figures.

    students: train and evaluate a student on each of them too. run: False makes the tables from what is there.
    Raises CordError: no list of variants, a name that is not in it, whatever decoding or training raises. The tables
    are written even then.
    """
    path = list_of_variants(source)
    ablation = load_ablation(path, overrides)
    settings, runs = ablation.settings, ablation.runs
    wanted = _known(only, runs, "--variant") or list(runs)
    try:
        if run:
            from cord_distill.decode.generate import generate

            siblings = [runs[name][seed] for seed in settings.seeds for name in runs]
            generate([runs[name][seed] for seed in settings.seeds for name in wanted], wait=True, siblings=siblings)
        if students:
            from cord_distill.run.run import run as run_stages

            # All variants of a seed at once where all are wanted: their students are evaluated on one engine.
            chosen = [[f"variant={name}"] for name in wanted] if only else [[]]
            for seed in settings.seeds:
                for one in chosen:
                    own = [*_at(ablation.root, settings, seed), *one, "evaluate.teachers=false"]
                    run_stages(Experiment.load(path, [*overrides, *own]))
    finally:
        made = build_ablations(ablation)
        write(made, ablation.root)
    return made


def list_of_variants(source: str | Path) -> Path:
    """The recipe that lists the variants: the given one if it has an `ablate:` section, else the one of the same file
    name in `ablations/` beside it."""
    path = find_recipe(source)
    if load_recipe(path).ablate is not None:
        return path
    beside = path.parent / "ablations" / path.name
    if not beside.is_file():
        raise CordError(
            f"{path.name} lists no variants to compare: give it an `ablate:` section and `variants:`, or write "
            f"{beside} with `extends: ../{path.name}`"
        )
    return beside


def load_ablation(path: Path, overrides: Sequence[str] = ()) -> Ablation:
    """Raises CordError when a table or list of the recipe names a variant that there is not."""
    file = RecipeFile.read(path)
    whole = file.resolve(overrides)
    settings = whole.ablate
    if settings is None:
        raise CordError(f"{path.name}: the section `ablate:` is missing; say at least which variant is the baseline")
    if settings.seed_key == "seed" and isinstance(whole.seed, list):
        raise CordError(
            "seed: a list makes several trainings of one decoding, so that ablate.seeds would decode the same again: "
            f"write one number into the recipe, e.g. seed: {whole.seed[0]}"
        )
    root = RunFolder.of(whole).root
    given = {seed: [*overrides, *_at(root, settings, seed)] for seed in settings.seeds}
    runs = {name: {seed: file.resolve(at_seed, name) for seed, at_seed in given.items()} for name in whole.variants}
    _known([settings.baseline], runs, "ablate.baseline")
    return Ablation(whole.name, settings, runs, whole.variants, root)


def failures_in(ablation: Ablation, only: Sequence[str] = ()) -> Iterator[tuple[str, Failures, float]]:
    """(what is said of it, its failures, `decode.max_failed_share`) of each run of `only`, or of all, that has any."""
    for name, by_seed in ablation.runs.items():
        for seed, recipe in by_seed.items():
            failures = failures_of(RunFolder.of(recipe).trajectories)
            if failures.failed and (not only or name in only):
                key = ablation.settings.seed_key
                yield f"decode {name} ({key} {seed})", failures, recipe.decode.max_failed_share


def build_ablations(ablation: Ablation) -> AblationFigures:
    """Figures per variant, over its seeds and per seed; differences to the baseline; comparisons at equal tokens.

    A variant counts for the seeds that it has finished: `missing` lists the others. Differences are taken over the
    problems that both have.
    """
    settings, runs = ablation.settings, ablation.runs
    results = {name: _results(by_seed) for name, by_seed in runs.items()}
    found = {name: pooled for name, pooled in results.items() if pooled}
    baseline = found.get(settings.baseline, {})
    plain = {name: found[name] for name in settings.plain_search if name in found}
    done = {
        name: [s for s, recipe in at.items() if RunFolder.of(recipe).trajectories.is_file()]
        for name, at in runs.items()
    }
    return AblationFigures(
        name=ablation.name,
        baseline=settings.baseline,
        seed_key=settings.seed_key,
        seeds=settings.seeds,
        variants={
            name: replace(
                figures(pooled),
                changes=ablation.changes[name],
                seconds=_seconds(runs[name]),
                difference={m: difference(pooled, baseline, m) for m in MEASURES if name != settings.baseline},
            )
            for name, pooled in found.items()
        },
        students=student_figures(runs, settings.baseline),
        tables=settings.tables,
        plain_search=list(plain),
        at_equal_tokens={
            name: {m: at_equal_tokens(found[name], others, m, len(settings.seeds)) for m in MEASURES}
            for name in settings.at_equal_tokens
            if name in found
            for others in [{other: pooled for other, pooled in plain.items() if other != name}]
        },
        missing={name: left for name in runs if (left := [s for s in settings.seeds if s not in done[name]])},
        left_out=settings.left_out,
        paper={name: list(values) for name, values in settings.paper.items()},
    )


def write(made: AblationFigures, root: Path) -> None:
    from cord_distill.ablation.tables import markdown

    write_atomic(root / "ablations.json", made.as_json())
    write_atomic(root / "ablations.md", markdown(made))


def _at(root: Path, settings: AblateConfig, seed: int) -> list[str]:
    return [f"output_dir={root / f'seed{seed}'}", f"{settings.seed_key}={seed}"]


def _results(by_seed: dict[int, Recipe]) -> dict[Key, Result]:
    pooled: dict[Key, Result] = {}
    for seed, recipe in by_seed.items():
        path = RunFolder.of(recipe).trajectories
        if path.is_file():
            checked = bool(recipe.problems and recipe.problems.process_check)
            pooled |= results_of(read_rows(path), seed, checked)
    return pooled


def _seconds(by_seed: dict[int, Recipe]) -> float | None:
    """Wall-clock seconds per problem, without the start of engines; null where a run was stopped on its way."""
    seconds = problems = 0.0
    for recipe in by_seed.values():
        stats = read_json(RunFolder.of(recipe).generate_stats)
        if not stats:
            continue
        if stats.get("resumed") or stats["decoded_now"] != stats["problems"]:
            return None
        seconds += stats["seconds"] - stats.get("start_seconds", 0.0)
        problems += stats["problems"]
    return round(seconds / problems, 4) if problems else None


def _known(names: Iterable[str], variants: Iterable[str], key: str) -> list[str]:
    try:
        return known_variants(names, variants, key)
    except ValueError as error:
        raise CordError(str(error)) from None
