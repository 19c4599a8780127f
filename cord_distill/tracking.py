"""Weights & Biases for decoding and evaluation: offline unless the recipe says else. Training has TRL's callback."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from cord_distill.recipe import Recipe
from cord_distill.run_folder import RunFolder


@contextmanager
def wandb_run(recipe: Recipe, what: str, job_type: str, config: dict[str, Any]) -> Iterator[Any]:
    """A W&B run in the recipe's group, or None under `mode: disabled`, which does not load wandb."""
    settings = recipe.track.wandb
    if settings.mode == "disabled":
        yield None
        return
    import wandb

    root = RunFolder.of(recipe).wandb
    root.mkdir(parents=True, exist_ok=True)
    run = wandb.init(
        project=settings.project,
        entity=settings.entity,
        mode=settings.mode,
        dir=str(root),
        name=f"{recipe.name} {what}",
        job_type=job_type,
        group=recipe.name,
        tags=list(settings.tags) or None,
        config=config,
        settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
    )
    try:
        yield run
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish()


def track_decoding(recipes: Sequence[Recipe]) -> None:
    """Logs each method's figures (answer accuracy, S, tokens per problem) once its trajectories are written."""
    from cord_distill.generate import decode_inputs
    from cord_distill.summary import read_rows, summarise_method

    for recipe in recipes:
        run = RunFolder.of(recipe)
        with wandb_run(recipe, f"decoding {run.method}", "generate", decode_inputs(recipe)) as tracked:
            if tracked is not None:
                figures = summarise_method(read_rows(run.trajectories))
                values = {f"{run.method}/{name}": v for name, v in figures.items() if isinstance(v, (int, float))}
                tracked.log(values)
                tracked.summary.update(values)
