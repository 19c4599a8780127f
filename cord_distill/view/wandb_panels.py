"""What Weights & Biases shows of a method's decoding: its trajectories, each with its beam tree, and two charts.

W&B draws a panel for whatever is logged, so these come up without a click; offline they lie below `files/media/`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from typing import Any

from cord_distill.decode.figures import MethodFigures, method_figures
from cord_distill.decode.inputs import decode_inputs
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.paths import RunFolder
from cord_distill.run_folder.trajectories import read_rows
from cord_distill.tracking import lineage
from cord_distill.tracking.live import Live, faults_are_warnings
from cord_distill.tracking.wandb_run import wandb_run
from cord_distill.view.gather import CUT_TEXT, gather_rows
from cord_distill.view.page import page

# More rows of long traces would make a panel that nobody's browser opens; all of them are in the artifact.
ROWS = 100
# A tree is a page of its own in the table's cell, 0.2 MB of which draw maths.
TREES = 8
COLUMNS = (
    "id",
    "question",
    "answer",
    "prediction",
    "correct",
    "S",
    "steps",
    "tokens",
    "teachers",
    "trace",
    "final answer",
    "beam tree",
)


def panels(recipe: Recipe, figures: MethodFigures) -> dict[str, Any]:
    """What W&B draws of a method's decoding, by the panel's key. figures: of the same rows. Needs wandb."""
    run = RunFolder.of(recipe)
    rows = list(islice(read_rows(run.trajectories), ROWS))
    if not rows:
        return {}
    made = {"trajectories": _trajectories(recipe, rows), "beam trees": _page(recipe, rows)}
    scores = [row["score"] for row in rows if row["score"] is not None]
    if scores:
        made["S of the traces"] = _histogram(scores)
    if figures.hit_rate.deciles:
        made["who wrote which part"] = _authors(figures.hit_rate.deciles)
    return made


def _trajectories(recipe: Recipe, rows: list[dict[str, Any]]) -> Any:
    import wandb

    return wandb.Table(
        columns=list(COLUMNS),
        data=[
            [
                row["id"],
                _whole(row["problem"]["question"]),
                _whole(str(row["problem"]["answer"])),
                None if row["prediction"] is None else _whole(str(row["prediction"])),
                row["correct"],
                row["score"],
                len(row["steps"]),
                row["num_tokens"].get("generated_total"),
                " ".join(step["teacher"] for step in row["steps"]),
                _whole("".join(step["text"] for step in row["steps"])),
                _whole(row["final_answer_text"]),
                _page(recipe, [row]) if i < TREES and not row["error"] else None,
            ]
            for i, row in enumerate(rows)
        ],
    )


def _page(recipe: Recipe, rows: list[dict[str, Any]]) -> Any:
    """The page of `cord view` for these rows alone."""
    import wandb

    method = RunFolder.of(recipe).method
    teachers = list(dict.fromkeys(teacher.label for teacher in recipe.teachers))
    index, chunks = gather_rows(recipe.name, teachers, {method: rows}, None if len(rows) == 1 else CUT_TEXT)
    # W&B's own style sheet would come from its site, and the page allows none but its own.
    return wandb.Html(io.StringIO(_whole("".join(page(index, chunks)))), inject=False)


def _whole(text: str) -> str:
    """As UTF-8 can write it: what models write may hold half a surrogate pair."""
    return text.encode(errors="replace").decode()


def _histogram(scores: list[float]) -> Any:
    import wandb

    table = wandb.Table(columns=["S"], data=[[score] for score in scores])
    return wandb.plot.histogram(table, "S", title="S of the traces")


def _authors(deciles: list[dict[str, float]]) -> Any:
    import wandb

    names = sorted(deciles[0])
    middles = [100 * (i + 0.5) / len(deciles) for i in range(len(deciles))]
    shares = [[100 * decile[name] for decile in deciles] for name in names]
    return wandb.plot.line_series(middles, shares, names, "Who wrote which part of the trace, %", "% of the trace")


@contextmanager
def decoding_run(recipe: Recipe) -> Iterator[Live]:
    """A run that is open while a method is decoded and takes its live figures; at the end the figures of all (answer
    accuracy, S, tokens per problem) and its panels."""
    run = RunFolder.of(recipe)
    facts: dict[str, Any] = {"method": run.method, "seed": recipe.decode_seed}
    with wandb_run(recipe, f"decoding {run.method}", "generate", decode_inputs(recipe), **facts) as tracked:
        live = Live(tracked)
        yield live
        if tracked is not None and live.complete:
            with faults_are_warnings("the figures of decoding"):
                figures = method_figures(read_rows(run.trajectories))
                values = {f"decode/{name}": v for name, v in asdict(figures).items() if isinstance(v, (int, float))}
                tracked.log(values)
                tracked.summary.update(values)
                tracked.log(panels(recipe, figures))
                lineage.produces(tracked, lineage.trajectories(recipe))
