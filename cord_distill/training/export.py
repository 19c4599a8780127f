"""`cord export`: one trained student as a folder that vLLM and transformers load, a LoRA adapter merged in."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cord_distill.common.errors import CordError
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.checkpoints import adapter_base, step_of
from cord_distill.run_folder.training_folder import TrainingFolder, replace_folder
from cord_distill.training.plan import one_seed

COPIED = (".json", ".safetensors", ".jinja", ".md", ".model", ".txt")


def export(recipe: Recipe, to: Path, step: int | None = None) -> Path:
    """Writes `final/`, or `checkpoint-STEP`, into the new folder `to`; returns it. Copying `final/` loads no torch.

    Raises CordError when there is nothing to export, or when `to` holds something.
    """
    source = _source(TrainingFolder.of(one_seed(recipe)), step)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise CordError(f"{to} is not empty: give --to another folder, or remove it")
    beside = to.with_name(f".{to.name}.tmp")
    write_model(source, beside, finished=step is None)
    replace_folder(beside, to)
    return to


def write_model(source: Path, folder: Path, *, finished: bool = False, link: bool = False) -> None:
    """Writes a checkpoint as `folder`, a model that vLLM and transformers load. An adapter is merged on the CPU.

    finished: `source` is such a folder already. link: hard links to whole weights, which stay when `source` is deleted;
    a copy where the file system has no hard links.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    base = adapter_base(source)
    if base is not None:
        from cord_distill.training.quiet import quiet
        from cord_distill.training.save import merge_adapter

        quiet()
        merge_adapter(base, source, folder)
    else:
        for path in sorted(source.iterdir()):
            if link and path.suffix == ".safetensors":
                _link(path, folder / path.name)
            elif path.suffix in COPIED and path.name != "trainer_state.json":
                shutil.copy2(path, folder / path.name)
    if not finished:
        from cord_distill.prompts.render import load_renderer
        from cord_distill.training.save import finish_folder

        # A system prompt that the card recommends is no part of a model folder.
        finish_folder(folder, load_renderer(str(source), system_prompt="", name="student"))


def _link(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy2(path, to)


def _source(training: TrainingFolder, step: int | None) -> Path:
    if step is None:
        if not training.has_model:
            raise CordError(
                f"{training.final} is not there: train first (cord train), or export a checkpoint with --step N"
            )
        return training.final
    complete = {step_of(path): path for path in training.checkpoints}
    if step not in complete:
        there = ", ".join(map(str, complete)) or "none"
        raise CordError(f"{training.path} has no complete checkpoint-{step}; there are: {there}")
    return complete[step]
