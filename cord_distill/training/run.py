"""A training of the student, of any stage: recipe to TRL's trainer, with resume and one finished model folder.

`train` loads TRL once `plan_training` found nothing wrong, renders and checks the rows, trains, and writes `final/`
and, last of all, `done.json`. What a stage has of its own is in sft.py, dpo.py and distil.py: its rows and its trainer.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError, Taken
from cord_distill.common.files import lock_folder, write_atomic
from cord_distill.common.paths import short_path
from cord_distill.prompts.cards import recommended_system_prompt
from cord_distill.recipe.recipe import Recipe
from cord_distill.recipe.training_stages import base_model, section_of, stage_before
from cord_distill.run_folder.checkpoints import ADAPTER_FILE
from cord_distill.run_folder.training_folder import replace_folder
from cord_distill.tracking.wandb_run import read_run_file
from cord_distill.training import deepspeed
from cord_distill.training.arguments import training_arguments
from cord_distill.training.check import training_faults
from cord_distill.training.launch import complete_environment
from cord_distill.training.plan import Plan, plan_training
from cord_distill.training.rows import StageRows, shortened

# The first row as it is trained, for a person to read.
SAMPLE_FILE = "sample_row.txt"


def train(recipe: Recipe, source: str = "RECIPE") -> Recipe | None:
    """Trains the student of `recipe` in this process (one rank of a launcher's group, or alone), for train.py.

    source: as in `plan_training`. Returns the recipe of the one training that ran, so that its model card can be
    written; None where it was finished before. Raises CordError.
    """
    plan = plan_training(recipe, source)
    recipe = plan.recipe
    if plan.done:
        again = f"{plan.stage}.resume_from_checkpoint=false trains it anew"
        _say(f"already trained: {short_path(plan.folder.final)} ({again})")
        return None
    faults = training_faults(recipe, env=os.environ)
    if faults:
        raise CordError("\n".join(faults))
    if section_of(recipe).get("deepspeed") and deepspeed.launcher_brings_it():
        _say("DeepSpeed: the launcher's configuration counts, train.deepspeed of the recipe is left aside")
    _set_environment(plan)
    times = [time.monotonic()]
    prepared = _prepare(plan)
    times.append(time.monotonic())
    prepared.trainer.train(resume_from_checkpoint=_checkpoint(plan))
    times.append(time.monotonic())
    _save(plan, prepared)
    _record(plan, prepared, times)
    prepared.trainer.end()
    return recipe


@dataclass(frozen=True)
class Prepared:
    """A training at its first step. tracked: the callback that fills its W&B run."""

    trainer: Any
    tracked: Any
    renderer: Any
    num_rows: int


def _set_environment(plan: Plan) -> None:
    """Completes this process's environment. A training that goes on stays one W&B run."""
    complete_environment(os.environ, plan.recipe)
    known = read_run_file(plan.folder.path) if plan.found.name == "partial" and not plan.anew else None
    if known is not None:
        os.environ.setdefault("WANDB_RUN_ID", known["id"])
        os.environ.setdefault("WANDB_RESUME", "allow")


def _prepare(plan: Plan) -> Prepared:
    """Locks the folder, reads and checks the rows, begins the folder, loads the student into the stage's trainer."""
    # Held until this process ends: two trainings in one folder would delete each other's checkpoints.
    _lock(plan)
    import torch

    if plan.zero_stage:
        deepspeed.prepare(torch.cuda.is_available())
    from cord_distill.training.quiet import quiet

    quiet()
    args, model_config = training_arguments(plan.section, plan.stage)
    if plan.zero_stage:
        deepspeed.check_deepspeed(args)
        deepspeed.init_distributed()
    rows, renderer = _rows(plan, model_config, args)
    if args.process_index == 0:
        _prepare_folder(plan, args.world_size)
    args.distributed_state.wait_for_everyone()
    trainer, tracked = _trainer(plan, args, model_config, renderer, rows)
    return Prepared(trainer, tracked, renderer, rows.count)


def _lock(plan: Plan) -> None:
    """Locks the training's folder, by a file beside it, since the folder itself may be renamed. Of rank 0 alone."""
    if int(os.environ.get("RANK", 0)) == 0:
        folder = plan.folder.path.absolute()
        try:
            lock_folder(folder.parent, f".{folder.name}.lock")
        except Taken:
            raise Taken(
                f"{short_path(folder)}: another process trains into it; wait for it, or choose another "
                f"{plan.stage}.output_dir"
            ) from None


def _stage(plan: Plan) -> Any:
    """The module of the stage: `rows` and `trainer`."""
    from cord_distill.training import distil, dpo, sft

    return {"train": sft, "dpo": dpo, "distil": distil}[plan.stage]


def _rows(plan: Plan, model_config: Any, args: Any) -> tuple[StageRows, Any]:
    from cord_distill.model_files.context import context_of, read_config
    from cord_distill.prompts.render import load_renderer
    from cord_distill.prompts.thought import Thought

    path, trust = plan.section["model_name_or_path"], bool(args.trust_remote_code)
    revision = None if Path(path).is_dir() else model_config.model_revision
    renderer = load_renderer(
        path,
        revision=revision,
        # A student that was trained here carries no name: the card of the model that it came from holds for it.
        system_prompt=recommended_system_prompt(base_model(plan.recipe)) if stage_before(plan.recipe) else None,
        chat_template=plan.section.get("chat_template_path"),
        template_args=plan.section.get("chat_template_kwargs"),
        thought=Thought.of(plan.section),
        suffix=plan.section.get("prompt_suffix", ""),
        trust_remote_code=trust,
        name="student",
    )
    config = read_config(path, revision=revision, trust_remote_code=trust)
    rows: StageRows = _stage(plan).rows(plan, renderer, args, context_of(config).positions)
    if args.process_index == 0:
        write_atomic(plan.folder.path / SAMPLE_FILE, rows.sample)
        _say(f"{plan.recipe.name}: {rows.summary}\n{shortened(rows.sample)}\n--- (all of it: {SAMPLE_FILE})")
    return rows, renderer


def _prepare_folder(plan: Plan, world_size: int) -> None:
    if plan.anew:
        sample = (plan.folder.path / SAMPLE_FILE).read_text(encoding="utf-8")
        aside = plan.folder.set_aside()
        write_atomic(plan.folder.path / SAMPLE_FILE, sample)
        if aside:
            _say(f"the training before this one is kept in {short_path(aside)}")
    plan.folder.begin(plan.inputs, world_size, plan.zero_stage)


def _checkpoint(plan: Plan) -> str | None:
    wish = plan.section.get("resume_from_checkpoint")
    if isinstance(wish, str):
        return wish
    complete = plan.folder.checkpoints
    if complete:
        _say(f"goes on from {complete[-1].name}")
    return str(complete[-1]) if complete else None


def _trainer(plan: Plan, args: Any, model_config: Any, renderer: Any, rows: StageRows) -> tuple[Any, Any]:
    from datasets import Dataset
    from transformers import PrinterCallback, ProgressCallback
    from trl import get_peft_config

    from cord_distill.training.callbacks import Bar, InWandb

    record = {"recipe": plan.recipe.model_dump(mode="json"), "rows": rows.count, "dropped": dict(rows.dropped)}
    tracked = InWandb(plan.recipe, plan.folder, record)
    common = {
        "model": plan.section["model_name_or_path"],
        "processing_class": renderer.tokenizer,
        "peft_config": get_peft_config(model_config),
        "callbacks": [Bar(f"{plan.stage} {_title(plan.recipe)}"), tracked],
    }
    trainer = _stage(plan).trainer(plan, args, renderer, Dataset.from_dict(rows.columns), common)
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    return trainer, tracked


def _save(plan: Plan, prepared: Prepared) -> None:
    """Writes `final/`: consolidated safetensors, tokenizer with the original template, generation config."""
    from cord_distill.training.save import finish_folder, merge_adapter

    trainer, beside = prepared.trainer, plan.folder.path / ".final.tmp"
    if trainer.is_world_process_zero():
        shutil.rmtree(beside, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    trainer.save_model(str(beside))
    trainer.accelerator.wait_for_everyone()
    if not trainer.is_world_process_zero():
        return
    if (beside / ADAPTER_FILE).is_file():
        adapter = plan.folder.path / "adapter"
        replace_folder(beside, adapter)
        merge_adapter(plan.section["model_name_or_path"], adapter, beside)
    finish_folder(beside, prepared.renderer)
    plan.folder.publish(beside)


def _record(plan: Plan, prepared: Prepared, times: list[float]) -> None:
    """The last results in W&B, then `done.json`. times: at the begin of preparing, training and saving."""
    trainer = prepared.trainer
    if not trainer.is_world_process_zero():
        return
    prepared.tracked.on_finish(trainer.state.global_step)
    seconds = [round(after - before, 2) for before, after in pairwise([*times, time.monotonic()])]
    history = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    plan.folder.finish(
        plan.inputs,
        seconds=dict(zip(("load", "train", "save"), seconds, strict=True)),
        steps=trainer.state.global_step,
        rows=prepared.num_rows,
        loss=history[-1] if history else None,
        mean_loss=sum(history) / len(history) if history else None,
        zero_stage=plan.zero_stage,
        world_size=trainer.args.world_size,
    )
    _say(f"trained: {short_path(plan.folder.final)}" + (f", last loss {history[-1]:.4f}" if history else ""))


def _title(recipe: Recipe) -> str:
    name = recipe.variant or recipe.name
    return name if recipe.train_seed is None else f"{name} seed {recipe.train_seed}"


def _say(text: str) -> None:
    if int(os.environ.get("RANK", 0)) == 0:
        print(text, flush=True)
