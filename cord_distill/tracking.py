"""Weights & Biases for decoding, data and evaluation: offline unless the recipe says else. Training has the trainer's
callback, and sft_callbacks.py beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from cord_distill import lineage
from cord_distill.jsonl import read_jsonl, read_object
from cord_distill.recipe import Recipe
from cord_distill.run_folder import RunFolder, write_atomic

# In a training folder: which W&B run it is logged to.
RUN_FILE = "wandb.json"
SAMPLES = 4


@contextmanager
def wandb_run(
    recipe: Recipe, what: str, job_type: str, config: dict[str, Any], known: dict[str, Any] | None = None
) -> Iterator[Any]:
    """A W&B run in the recipe's group, or None under `mode: disabled`, which does not load wandb.

    known: a run to take up again (a training's `wandb.json`), in place of a new one.
    """
    settings = recipe.track.wandb
    if settings.mode == "disabled":
        yield None
        return
    import wandb

    root = RunFolder.of(recipe).wandb
    root.mkdir(parents=True, exist_ok=True)
    run = wandb.init(
        project=known["project"] if known else settings.project,
        entity=known["entity"] if known else settings.entity,
        mode=settings.mode,
        dir=str(root),
        id=known["id"] if known else None,
        resume="allow" if known else None,
        name=known["name"] if known else f"{recipe.name} {what}",
        job_type=job_type,
        group=recipe.name,
        tags=list(settings.tags) or None,
        config=config,
        settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
    )
    with lineage.artifacts_kept_in(root):
        try:
            yield run
        except BaseException:
            run.finish(exit_code=1)
            raise
        run.finish()


def write_run_file(folder: Path, run: Any) -> None:
    known = {"id": run.id, "name": run.name, "project": run.project, "entity": run.entity or None}
    write_atomic(folder / RUN_FILE, json.dumps(known) + "\n")


def read_run_file(folder: Path) -> dict[str, Any] | None:
    """The W&B run of a training folder; None where it has none."""
    return read_object(folder / RUN_FILE)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    import wandb

    return wandb.Table(columns=list(columns), data=[[x if x is None else str(x) for x in row] for row in rows])


def track_decoding(recipes: Sequence[Recipe]) -> None:
    """Logs each method's figures (answer accuracy, S, tokens per problem) and its panels (decode_panels.py)."""
    from cord_distill.decode_inputs import decode_inputs
    from cord_distill.decode_panels import panels
    from cord_distill.summary import read_rows, summarise_method

    for recipe in recipes:
        run = RunFolder.of(recipe)
        with wandb_run(recipe, f"decoding {run.method}", "generate", decode_inputs(recipe)) as tracked:
            if tracked is not None:
                figures = summarise_method(read_rows(run.trajectories))
                values = {f"{run.method}/{name}": v for name, v in figures.items() if isinstance(v, (int, float))}
                tracked.log(values)
                tracked.summary.update(values)
                tracked.log(panels(recipe, figures))
                lineage.produces(tracked, lineage.trajectories(recipe))


def track_dataset(recipe: Recipe, stats: dict[str, Any]) -> None:
    """The step from trajectories to training rows: what was kept and dropped, and the first rows."""
    run = RunFolder.of(recipe)
    config = {"data": recipe.data.model_dump(mode="json")}
    with wandb_run(recipe, f"data {run.method}", "data", config) as tracked:
        if tracked is None:
            return
        import wandb

        made, dataset = lineage.trajectories(recipe), lineage.dataset(recipe)
        if made is not None:
            lineage.consumes(tracked, made)
        values = {"data/kept": stats["kept"], **{f"data/dropped/{x}": n for x, n in stats["dropped"].items()}}
        tracked.log(values)
        tracked.summary.update(values)
        rows = [row for _, row in islice(read_jsonl(run.dataset / "train.jsonl", key="", columns=""), SAMPLES)]
        shown = [(r.get("id"), r["prompt"][-1]["content"], r["completion"][-1]["content"]) for r in rows]
        tracked.log({"rows": table(("id", "prompt", "completion"), shown)})
        lineage.produces(tracked, dataset)
    # `cord run` goes on in this process: its children are not to share this one's W&B service.
    wandb.teardown()
