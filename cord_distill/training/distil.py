"""`stage=distil`: the student answers, and a teacher of its vocabulary says of every token what it would have written.

On TRL's DistillationTrainer. The questions are those of train.jsonl, each once; its completions are not read. The
renderer makes the prompts, so that the student is asked as in decoding and evaluation.
"""

from __future__ import annotations

from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.prompts.render import Renderer
from cord_distill.training.plan import Plan
from cord_distill.training.rows import StageRows, read_exchanges, shown_parts


def rows(plan: Plan, renderer: Renderer, args: Any, context: int | None) -> StageRows:
    """Reads the prompts; sets `args.max_completion_length` where the recipe says nothing of it. Raises CordError.

    context: positions that the student knows, None = unknown. TRL's 512 would end every long trace in the middle: here
    a sample may be as long as `distil.max_length` (20,480, or that of `train:`) leaves room for.
    """
    asked: dict[tuple[str, str], list[int]] = {}
    for _, one, own in read_exchanges(plan.data, renderer):
        asked.setdefault((one.system, one.question), own.prompt_ids(one.question))
    prompts = list(asked.values())
    if not prompts:
        raise CordError(f"{plan.data}: no question is left to ask (the file is empty)")
    longest = max(map(len, prompts))
    room = _room(plan, longest, context)
    args.max_completion_length = room
    batch = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    if len(prompts) < batch:
        raise CordError(
            f"distil: {len(prompts)} questions are fewer than one update takes ({batch}): lower "
            "distil.global_batch_size or distil.per_device_train_batch_size"
        )
    assert plan.teacher is not None
    summary = (
        f"{len(prompts)} questions, answered by the student with up to {room} tokens each and corrected by "
        f"{plan.teacher.label}; the longest prompt has {longest} tokens"
    )
    sample = shown_parts(renderer, {"given, no loss": prompts[0]}) + "--- trained\nwhat the student writes\n"
    return StageRows({"prompt": prompts}, summary, sample)


def _room(plan: Plan, longest: int, context: int | None) -> int:
    given = plan.section.get("max_completion_length")
    limit = int(plan.section["max_length"])
    if given is None:
        room = min(limit, context or limit) - longest
        if room < 1:
            raise CordError(
                f"distil.max_length {limit} leaves no token for an answer behind the longest prompt ({longest} "
                "tokens): raise distil.max_length"
            )
        return room
    if context is not None and longest + given > context:
        raise CordError(
            f"distil.max_completion_length {given} and the longest prompt ({longest} tokens) are more than the "
            f"{context} positions that the student knows: lower it to {context - longest}"
        )
    return int(given)


def trainer(plan: Plan, args: Any, renderer: Renderer, dataset: Any, common: dict[str, Any]) -> Any:
    """Makes the trainer. common: what every stage's trainer is given (model, tokenizer, adapters, callbacks)."""
    from cord_distill.training.distil_trainer import DistilTrainer

    assert plan.teacher is not None
    args.teacher_model_init_kwargs = {
        **(args.teacher_model_init_kwargs or {}),
        "dtype": "bfloat16" if args.bf16 else "float32",
        "attn_implementation": args.model_init_kwargs["attn_implementation"],
        "revision": plan.teacher.revision,
    }
    return DistilTrainer(renderer=renderer, teacher_model=plan.teacher.path, train_dataset=dataset, args=args, **common)
