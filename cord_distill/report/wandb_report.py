"""The last Weights & Biases run of a recipe: both tables, the paired difference, and the report as a page."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict
from typing import Any

from cord_distill.common.files import write_atomic
from cord_distill.common.jsonl import read_object
from cord_distill.recipe.recipe import Recipe
from cord_distill.report.story import compared_methods, difference_of, story
from cord_distill.report.summary import Summary
from cord_distill.report.table import data_cells, model_cells
from cord_distill.run_folder.paths import RunFolder
from cord_distill.tracking import lineage
from cord_distill.tracking.live import faults_are_warnings
from cord_distill.tracking.wandb_run import end_service, table, wandb_run

# In the run folder's wandb/: the digest of the figures that were sent last.
SENT_FILE = "report_sent.json"


def track_report(recipe: Recipe, summary: Summary) -> None:
    """Logs what was found, once for the same figures; nothing before there are any, and under `mode: disabled`."""
    run = RunFolder.of(recipe)
    digest = hashlib.sha256(json.dumps(summary.to_json(), sort_keys=True).encode()).hexdigest()[:16]
    sent = run.wandb / SENT_FILE
    tables = {"data": data_cells(summary), "models": model_cells(summary)}
    tables = {name: cells for name, cells in tables.items() if cells[1]}
    if not tables or (read_object(sent) or {}).get("figures") == digest:
        return
    told = story(summary)
    opened = wandb_run(recipe, "report", "report", {"found": told, "protocol": asdict(summary.protocol)})
    with faults_are_warnings("the report"), opened as tracked:
        if tracked is None:
            return
        import wandb

        tracked.notes = "\n".join(told)
        tracked.summary.update(difference_figures(summary))
        page = wandb.Html(io.StringIO(run.report.read_text(encoding="utf-8")), inject=False)
        tracked.log({**{name: table(head, rows) for name, (head, rows) in tables.items()}, "report": page})
        lineage.produces(tracked, lineage.report(recipe, run.report, run.report.with_suffix(".md"), run.summary))
        write_atomic(sent, json.dumps({"figures": digest}) + "\n")
    end_service()


def difference_figures(summary: Summary) -> dict[str, Any]:
    """`difference/...` of the two students that the report compares, in shares; empty without a paired difference."""
    one = difference_of(summary, compared_methods(summary))
    if one is None:
        return {}
    names = {"difference": "points", "p_value": "p_value", "share_a": "a", "share_b": "b", "num_problems": "problems"}
    figures = {f"difference/{said}": getattr(one, key) for key, said in names.items()}
    low, high = one.ci
    return figures | {"difference/low": low, "difference/high": high, "difference/of": f"{one.a} - {one.b}"}
