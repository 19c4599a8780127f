"""`stage=train`: supervised fine-tuning on the rows of train.jsonl, by TRL's SFTTrainer."""

from __future__ import annotations

from typing import Any

from cord_distill.prompts.render import Renderer
from cord_distill.training.plan import Plan
from cord_distill.training.rows import StageRows, render


def rows(plan: Plan, renderer: Renderer, args: Any, context: int | None) -> StageRows:
    """Reads and checks the rows. context: positions of the student, None = unknown. Raises CordError with the fix."""
    most = plan.recipe.data.filters.max_tokens
    return render(plan.data, renderer, max_length=args.max_length, max_tokens=most, context=context)


def trainer(plan: Plan, args: Any, renderer: Renderer, dataset: Any, common: dict[str, Any]) -> Any:
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
