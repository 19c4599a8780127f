"""train.py with probes: what one rank really holds at step 2, and which weights ten updates changed (of a LoRA run:
which adapter weights, and that no frozen one did).

Started in place of train.py by test_sft.py; writes `probe-RANK.json` into the folder that CORD_PROBE names. Bytes are
those of living tensors, each storage once.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from cord_distill.recipe.file import load_recipe
from cord_distill.training import callbacks as sft_callbacks
from cord_distill.training.run import train


def nbytes(tensors: Any) -> int:
    held = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors if t is not None}
    return sum(held.values())


def part_of(parameter: Any) -> Any:
    """This rank's part of a parameter under ZeRO-3, else the parameter."""
    return getattr(parameter, "ds_tensor", parameter)


class Probe(sft_callbacks.Bar):
    """Reads tensors only. `zero`: DeepSpeed's optimizer, None without it."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        super().on_train_begin(args, state, control, **kwargs)
        self.model, inner = kwargs["model"], kwargs["optimizer"].optimizer
        self.zero = inner if hasattr(inner, "optimizer") else None
        self.adam = inner.optimizer if self.zero is not None else inner
        self.stage = 0 if self.zero is None else 3 if hasattr(self.zero, "fp32_partitioned_groups_flat") else 2
        self.before = [m.detach().clone() for m in self.masters()]
        frozen = [part_of(p) for p in self.model.parameters() if not p.requires_grad]
        self.frozen = [(p, p.detach().clone()) for p in frozen]
        self.seen: dict[str, Any] = {"stage": self.stage, "dtype": str(next(self.model.parameters()).dtype)}
        if self.stage == 2:
            step = self.zero.step

            def noted(*a: Any, **k: Any) -> Any:
                averaged = self.zero.averaged_gradients
                self.gradients = nbytes(g for group in averaged.values() for g in (group or []))
                return step(*a, **k)

            self.zero.step = noted

    def masters(self) -> list[Any]:
        if self.stage == 3:
            return list(self.zero.fp32_partitioned_groups_flat)
        if self.stage == 2:
            return list(self.zero.single_partition_of_fp32_groups)
        return [p for p in self.model.parameters() if p.requires_grad]

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.stage == 0:
            self.gradients = nbytes(p.grad for p in self.model.parameters())

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        super().on_step_end(args, state, control, **kwargs)
        if state.global_step == 2:
            self.seen |= self.states()
        if state.global_step == args.max_steps:
            moved = touched = 0
            for master, before in zip(self.masters(), self.before, strict=True):
                had_gradient = self.adam.state[master]["exp_avg"] != 0
                touched += int(had_gradient.sum())
                moved += int(((master != before) & had_gradient).sum())
            self.seen |= {"changed": moved / touched, "touched": touched, "master": str(self.masters()[0].dtype)}
            self.seen |= {"frozen": sum(p.numel() for p, _ in self.frozen)}
            self.seen |= {"frozen_changed": sum(int((p != before).sum()) for p, before in self.frozen)}
            folder = Path(os.environ["CORD_PROBE"])
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"probe-{os.environ.get('RANK', 0)}.json").write_text(json.dumps(self.seen))

    def states(self) -> dict[str, int]:
        weights = [part_of(p) for p in self.model.parameters()]
        masters = self.masters()
        moments = [self.adam.state[m][key] for m in masters for key in ("exp_avg", "exp_avg_sq")]
        own = nbytes([*weights, *masters]) - nbytes(weights)  # float32 masters that are no weights themselves
        if self.stage == 3:
            self.gradients = nbytes([self.zero.grad_partitions_flat_buffer])
            if self.zero.offload_optimizer:
                self.gradients += nbytes(m.grad for m in masters)
        return {"weights": nbytes(weights), "gradients": self.gradients, "optimizer": own + nbytes(moments)}


if __name__ == "__main__":
    sft_callbacks.Bar = Probe  # type: ignore[misc]
    train(load_recipe(sys.argv[1], sys.argv[2:]), source=sys.argv[1])
