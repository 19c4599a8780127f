"""`cord evaluate RECIPE --calibrate`: does this harness give the published value of a known model?

Same problems, other samples: what may differ is the sampling noise within problems, of ours and of the published run.
The interval says which published values would agree; a value outside it means another protocol, grader or model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cord_distill import metrics
from cord_distill.common.errors import CordError
from cord_distill.common.jsonl import own_rows
from cord_distill.recipe.evaluate import EvaluateConfig, PublishedConfig
from cord_distill.run_folder.paths import PROBLEMS

# From here on two runs of one model agree in 91 to 96 of 100 cases (benchmarks/coverage.py).
FEWEST_SAMPLES = 4


def calibrate(evaluate: EvaluateConfig, eval_folder: Path) -> list[dict[str, Any]]:
    """One row per published value: {label, suite, published, k, avg, ci, agrees}; shares in 0..1.

    Raises CordError when nothing is published, or a named model or suite was not evaluated.
    """
    if not evaluate.published:
        raise CordError(
            "evaluate.published is empty: --calibrate needs known values, e.g. evaluate.published={LABEL: "
            "{aime24: {value: 51.3, samples: 16}}}"
        )
    return [
        {
            "label": label,
            "suite": suite,
            **_held_against(published, _groups(eval_folder / label, suite), f"evaluate.published.{label}.{suite}"),
        }
        for label, suites in evaluate.published.items()
        for suite, published in suites.items()
    ]


def calibration_lines(rows: list[dict[str, Any]]) -> list[str]:
    """One line per value, and what to make of it."""
    said = []
    for row in rows:
        low, high = row["ci"]
        word = "agrees with" if row["agrees"] else "DOES NOT AGREE with"
        said.append(
            f"calibrate {row['label']} {row['suite']}: avg@{row['k']} {row['avg']:.1%} {word} the known "
            f"{row['published']:.1%} (values in [{low:.1%}, {high:.1%}] would)"
        )
    if not all(row["agrees"] for row in rows):
        said.append(
            "compare prompt, system prompt, token limit and samples with the source; docs/evaluation.md, Known models"
        )
    return said


def _held_against(published: PublishedConfig, groups: list[list[float]], where: str) -> dict[str, Any]:
    k = min(map(len, groups))
    if k < FEWEST_SAMPLES:
        raise CordError(
            f"{where}: {k} samples per problem are too few to know the noise within them; set evaluate.samples to "
            f"{FEWEST_SAMPLES} or more"
        )
    rounding = 0.5 * 10.0**-published.decimals / 100 if published.samples else 0.0
    found = metrics.agreement(groups, published.value / 100, published.samples, rounding)
    return {"published": published.value / 100, "k": k, **found}


def _groups(folder: Path, suite: str) -> list[list[float]]:
    file = folder / PROBLEMS
    rows = list(own_rows(file)) if file.is_file() else []
    found = [[float(x) for x in row["correct"] if x is not None] for row in rows if row["suite"] == suite]
    groups = [group for group in found if group]
    if not groups:
        raise CordError(
            f"evaluate.published.{folder.name}.{suite}: {folder.name!r} was not evaluated on {suite}; name one of "
            "evaluate.models and of evaluate.suites"
        )
    return groups
