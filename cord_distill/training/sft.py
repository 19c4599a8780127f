"""`stage=train`: supervised fine-tuning on the rows of train.jsonl, by TRL's SFTTrainer."""

from __future__ import annotations

from typing import Any

from cord_distill.prompts.render import Renderer
from cord_distill.training.plan import Plan
from cord_distill.training.rows import render, sample_row
from cord_distill.training.stage_rows import StageRows


def rows(made: Plan, renderer: Renderer, args: Any, context: int | None) -> StageRows:
    """Reads and checks the rows. context: positions of the student, None = unknown. Raises CordError with the fix."""
    found = render(
        made.data,
        renderer,
        max_length=args.max_length,
        max_tokens=made.recipe.data.filters.max_tokens,
        context=context,
    )
    columns = {"input_ids": found.input_ids, "labels": found.labels}
    sample = sample_row(renderer, found.input_ids[0], found.labels[0])
    return StageRows(columns, found.summary(), sample, found.dropped)


def trainer(made: Plan, args: Any, renderer: Renderer, dataset: Any, common: dict[str, Any]) -> Any:
    """Makes the trainer. common: what every stage's trainer is given (model, tokenizer, adapters, callbacks)."""
    from cord_distill.training.trainer import StudentTrainer

    if not args.packing:
        # Rows are ids already and checked: TRL's own preparation would only cut and copy them.
        args.dataset_kwargs = {"skip_prepare_dataset": True}
    if renderer.tokenizer.pad_token is None and renderer.tokenizer.eos_token is None:
        # TRL looks no further than EOS; which token pads is all one, since no loss falls on it.
        args.pad_token = renderer.end_of_turn
    shuffled = args.shuffle_dataset and not args.packing
    return StudentTrainer(train_dataset=dataset.shuffle(seed=args.seed) if shuffled else dataset, args=args, **common)
