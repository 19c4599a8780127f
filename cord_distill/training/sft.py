"""Supervised fine-tuning of the student: recipe to TRL's SFTTrainer, with resume and one finished model folder.

`plan` finds every mistake that can be found without torch, in well under a second; `train` then loads TRL, renders and
checks the rows, trains, and writes `final/` and, last of all, `done.json`.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.files import write_atomic
from cord_distill.common.paths import shown
from cord_distill.model_files.locate import model_path
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder import checkpoints
from cord_distill.run_folder.paths import TRAIN_FILE, RunFolder
from cord_distill.tracking.run_file import read_run_file
from cord_distill.training import deepspeed as sft_deepspeed
from cord_distill.training.arguments import resolved_section, training_arguments
from cord_distill.training.check import training_faults
from cord_distill.training.launch import environment


@dataclass(frozen=True)
class Plan:
    """One training, checked as far as that goes without torch. section: the resolved `train:`, student's path in it."""

    recipe: Recipe
    folder: RunFolder
    section: dict[str, Any]
    inputs: checkpoints.Inputs
    found: checkpoints.Training
    zero_stage: int

    @property
    def output_dir(self) -> Path:
        return Path(self.section["output_dir"])

    @property
    def anew(self) -> bool:
        return self.section.get("resume_from_checkpoint") is False

    @property
    def done(self) -> bool:
        return self.found.state == "done" and self.section.get("resume_from_checkpoint") is None


def plan(recipe: Recipe, said: str = "RECIPE") -> Plan:
    """said: the recipe as the user typed it, for errors that name a command. Raises CordError; loads nothing heavy."""
    if recipe.variants and not recipe.variant:
        names = ", ".join(recipe.variants)
        raise CordError(f"{said} has variants ({names}): pick one to train, e.g. variant={next(iter(recipe.variants))}")
    recipe = one_seed(recipe, said)
    section = resolved_section(recipe)
    folder = RunFolder.of(recipe)
    command = f"{said} variant={recipe.variant}" if recipe.variant else said
    data = folder.dataset / TRAIN_FILE
    if not data.is_file():
        verb = "generate" if recipe.teachers or not recipe.data.sources else "data"
        raise CordError(f"data set {shown(data)} is not there: make it with cord {verb} {command}")
    student = model_path(recipe, str(section["model_name_or_path"]), "train.model_name_or_path")
    section["model_name_or_path"] = student
    inputs = checkpoints.training_inputs(section, data, recipe.data.filters.max_tokens)
    zero_stage = sft_deepspeed.declared_stage(section)
    found = checkpoints.look(Path(section["output_dir"]), folder.final_model, inputs)
    made = Plan(recipe, folder, section, inputs, found, zero_stage)
    if not made.anew and not made.done:
        if found.state == "stale":
            raise CordError(
                f"{shown(made.output_dir)} holds a training with other inputs ({'; '.join(found.changed[:4])}): add "
                "train.resume_from_checkpoint=false to set it aside and begin anew, or give another train.output_dir"
            )
        if checkpoints.complete_checkpoints(made.output_dir):
            checkpoints.refuse_other_world(found, int(os.environ.get("WORLD_SIZE", 1)), zero_stage)
    return made


def one_seed(recipe: Recipe, said: str = "RECIPE") -> Recipe:
    """The one training of `recipe`. Raises CordError where a list of seeds makes several and none is picked."""
    runs = recipe.seed_runs()
    if len(runs) > 1:
        raise CordError(
            f"{said} has {len(runs)} seeds and so as many students: pick one, e.g. seed={runs[0].train_seed} "
            f"(cord train {said} trains them one after the other, cord run evaluates them too)"
        )
    return runs[0]


def train(recipe: Recipe, said: str = "RECIPE") -> Recipe | None:
    """Trains the student of `recipe` in this process (one rank of a launcher's group, or alone). Raises CordError.

    Returns the recipe of the one training that ran, so that its model card can be written; None where it was finished
    before.
    """
    made = plan(recipe, said)
    recipe = made.recipe
    if made.done:
        _say(f"already trained: {shown(made.folder.final_model)} (train.resume_from_checkpoint=false trains it anew)")
        return None
    faults = training_faults(recipe, env=os.environ)
    if faults:
        raise CordError("\n".join(faults))
    if recipe.train.get("deepspeed") and sft_deepspeed.launcher_brings_it():
        _say("DeepSpeed: the launcher's configuration counts, train.deepspeed of the recipe is left aside")
    for name, value in environment(recipe).items():
        os.environ.setdefault(name, value)
    if made.found.state == "partial" and not made.anew:
        _go_on_in_wandb(made)
    _run(made)
    return recipe


def _go_on_in_wandb(made: Plan) -> None:
    """A training that goes on stays one W&B run."""
    known = read_run_file(made.output_dir)
    if known is not None:
        os.environ.setdefault("WANDB_RUN_ID", known["id"])
        os.environ.setdefault("WANDB_RESUME", "allow")


def _run(made: Plan) -> None:
    begun = time.monotonic()
    import torch

    if made.zero_stage:
        sft_deepspeed.prepare(torch.cuda.is_available())
    from cord_distill.training.quiet import quiet

    quiet()
    args, model_config = training_arguments(made.section)
    if made.zero_stage:
        sft_deepspeed.check(args)
        sft_deepspeed.init_distributed()
    rows, renderer = _rows(made, model_config, args)
    if args.process_index == 0:
        _prepare_folder(made, args.world_size)
    args.distributed_state.wait_for_everyone()
    trainer, tracked = _trainer(made, args, model_config, renderer, rows)
    loaded = time.monotonic()
    trainer.train(resume_from_checkpoint=_checkpoint(made))
    trained = time.monotonic()
    _save(made, trainer, renderer)
    if trainer.is_world_process_zero():
        tracked.on_finish(trainer.state.global_step)
        history = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        checkpoints.finish(
            made.output_dir,
            made.inputs,
            seconds={
                "load": round(loaded - begun, 2),
                "train": round(trained - loaded, 2),
                "save": round(time.monotonic() - trained, 2),
            },
            steps=trainer.state.global_step,
            rows=len(rows.labels),
            loss=history[-1] if history else None,
            mean_loss=sum(history) / len(history) if history else None,
            zero_stage=made.zero_stage,
            world_size=args.world_size,
        )
        _say(f"trained: {shown(made.folder.final_model)}, last loss {history[-1]:.4f}" if history else "trained")
    trainer.end()


def _rows(made: Plan, model_config: Any, args: Any) -> tuple[Any, Any]:
    from cord_distill.model_files.context import context_of, read_config
    from cord_distill.prompts.render import load_renderer
    from cord_distill.training.rows import render, sample_row, shortened

    path, trust = made.section["model_name_or_path"], bool(args.trust_remote_code)
    revision = None if Path(path).is_dir() else model_config.model_revision
    renderer = load_renderer(
        path,
        revision=revision,
        chat_template=args.chat_template_path,
        template_args=made.section.get("chat_template_kwargs"),
        trust_remote_code=trust,
        name="student",
    )
    config = read_config(path, revision=revision, trust_remote_code=trust)
    rows = render(
        made.folder.dataset / TRAIN_FILE,
        renderer,
        max_length=args.max_length,
        max_tokens=made.recipe.data.filters.max_tokens,
        context=context_of(config).positions,
    )
    if args.process_index == 0:
        sample = sample_row(renderer, rows.input_ids[0], rows.labels[0])
        write_atomic(made.output_dir / "sample_row.txt", sample)
        _say(f"{made.recipe.name}: {rows.summary()}\n{shortened(sample)}\n--- (all of it: sample_row.txt)")
    return rows, renderer


def _prepare_folder(made: Plan, world_size: int) -> None:
    if made.anew:
        sample = (made.output_dir / "sample_row.txt").read_text(encoding="utf-8")
        aside = checkpoints.set_aside(made.output_dir)
        write_atomic(made.output_dir / "sample_row.txt", sample)
        if aside:
            _say(f"the training before this one is kept in {shown(aside)}")
    checkpoints.remove_half_written(made.output_dir)
    checkpoints.begin(made.output_dir, made.inputs, world_size, made.zero_stage)


def _checkpoint(made: Plan) -> str | None:
    wish = made.section.get("resume_from_checkpoint")
    if isinstance(wish, str):
        return wish
    complete = checkpoints.complete_checkpoints(made.output_dir)
    if complete:
        _say(f"goes on from {complete[-1].name}")
    return str(complete[-1]) if complete else None


def _trainer(made: Plan, args: Any, model_config: Any, renderer: Any, rows: Any) -> tuple[Any, Any]:
    from datasets import Dataset
    from transformers import PrinterCallback, ProgressCallback
    from trl import get_peft_config

    from cord_distill.training.callbacks import Bar, InWandb, Rotation
    from cord_distill.training.trainer import StudentTrainer

    if not args.packing:
        # Rows are ids already and checked: TRL's own preparation would only cut and copy them.
        args.dataset_kwargs = {"skip_prepare_dataset": True}
    dataset = Dataset.from_dict({"input_ids": rows.input_ids, "labels": rows.labels})
    record = {"recipe": made.recipe.model_dump(mode="json"), "rows": len(rows.labels), "dropped": dict(rows.dropped)}
    keep, args.save_total_limit = args.save_total_limit, None
    tracked = InWandb(made.recipe, made.output_dir, record)
    trainer = StudentTrainer(
        model=made.section["model_name_or_path"],
        args=args,
        train_dataset=dataset.shuffle(seed=args.seed) if args.shuffle_dataset and not args.packing else dataset,
        processing_class=renderer.tokenizer,
        peft_config=get_peft_config(model_config),
        callbacks=[Bar(f"train {_title(made.recipe)}"), Rotation(keep), tracked],
    )
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    return trainer, tracked


def _save(made: Plan, trainer: Any, renderer: Any) -> None:
    """Writes `final/`: consolidated safetensors, tokenizer with the original template, generation config."""
    from cord_distill.training.save import finish_folder, merge_adapter

    beside = made.output_dir / ".final.tmp"
    if trainer.is_world_process_zero():
        shutil.rmtree(beside, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    trainer.save_model(str(beside))
    trainer.accelerator.wait_for_everyone()
    if not trainer.is_world_process_zero():
        return
    if (beside / "adapter_config.json").is_file():
        checkpoints.replace_folder(beside, made.output_dir / "adapter")
        merge_adapter(made.section["model_name_or_path"], made.output_dir / "adapter", beside)
    finish_folder(beside, renderer)
    checkpoints.replace_folder(beside, made.folder.final_model)


def _title(recipe: Recipe) -> str:
    name = recipe.variant or recipe.name
    return name if recipe.train_seed is None else f"{name} seed {recipe.train_seed}"


def _say(text: str) -> None:
    if int(os.environ.get("RANK", 0)) == 0:
        print(text, flush=True)
