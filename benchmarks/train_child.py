"""One rank of train_throughput.py: a training as the recipe says, or as TRL does by default, timed per update.

Started by `accelerate launch` in place of train.py. Writes `rank-N.json` into the folder that CORD_METER names.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from cord_distill.recipe.file import load_recipe
from cord_distill.recipe.recipe import Recipe
from cord_distill.training import callbacks as sft_callbacks
from cord_distill.training.plan import plan_training
from cord_distill.training.run import train


class Meter(sft_callbacks.Bar):
    """Seconds and tokens of each update, and the most that the GPU held from the first of them on."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        super().on_train_begin(args, state, control, **kwargs)
        self.seconds: list[float] = []
        self.begun = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        super().on_step_end(args, state, control, **kwargs)
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds.append(now - self.begun)
        self.begun = now

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        super().on_train_end(args, state, control, **kwargs)
        import torch

        cuda = torch.cuda.is_available()
        found = {
            "seconds": self.seconds,
            "tokens": rows_seen(args, state) * args.max_length,
            "rows_per_device": args.per_device_train_batch_size,
            "peak_allocated": torch.cuda.max_memory_allocated() if cuda else None,
            "gpu": torch.cuda.get_device_name() if cuda else None,
        }
        folder = Path(os.environ["CORD_METER"])
        (folder / f"rank-{os.environ.get('RANK', 0)}.json").write_text(json.dumps(found))


def rows_seen(args: Any, state: Any) -> int:
    """By all ranks; rows are as long as `max_length`."""
    return state.global_step * args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size


def train_plainly(recipe: Recipe, rows_per_device: int) -> None:
    """SFTTrainer with every default but the length and what keeps it from writing; the ids are the recipe's."""
    made = plan_training(recipe)
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from cord_distill.prompts.render import load_renderer
    from cord_distill.training.rows import render

    student, length = made.section["model_name_or_path"], made.section["max_length"]
    renderer = load_renderer(student, system_prompt="", name="student")
    rows = render(made.data, renderer, max_length=length, max_tokens=None, context=None)
    # Without a GPU TRL's own default, bf16, is an error.
    device = {} if torch.cuda.is_available() else {"use_cpu": True, "bf16": False}
    batch = {"per_device_train_batch_size": rows_per_device} if rows_per_device else {}
    args = SFTConfig(
        output_dir=os.environ["CORD_METER"], max_length=length, max_steps=made.section["max_steps"], report_to=[],
        save_strategy="no", dataset_kwargs={"skip_prepare_dataset": True}, **device, **batch,
    )  # fmt: skip
    SFTTrainer(
        model=student,
        args=args,
        train_dataset=Dataset.from_dict(rows.columns),
        processing_class=renderer.tokenizer,
        callbacks=[Meter("TRL")],
    ).train()


if __name__ == "__main__":
    one = load_recipe(sys.argv[1], sys.argv[2:])
    if os.environ["CORD_SETTINGS"] == "trl":
        train_plainly(one, int(os.environ["CORD_ROWS"]))
    else:
        sft_callbacks.Bar = Meter  # type: ignore[misc]
        train(one, source=sys.argv[1])
