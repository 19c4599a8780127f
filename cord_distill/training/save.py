"""The finished model folder: what vLLM and transformers need to run a reasoning model, and nothing that is a pickle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.prompts.render import Renderer


def finish_folder(folder: Path, renderer: Renderer) -> None:
    """Checks and completes a folder that `Trainer.save_model` wrote. Raises CordError when weights are missing."""
    if not any(folder.glob("model*.safetensors")):
        raise CordError(
            f"{folder} holds no consolidated weights: set stage3_gather_16bit_weights_on_model_save (DeepSpeed file) "
            "or zero3_save_16bit_model (accelerate config) to true and start again; the checkpoints are kept"
        )
    for pickle in folder.glob("*.bin"):
        pickle.unlink()
    renderer.tokenizer.save_pretrained(folder)
    end_of_turn_id = renderer.end_of_turn_id
    _edit(
        folder / "generation_config.json", lambda c: {"eos_token_id": stop_ids(c.get("eos_token_id"), end_of_turn_id)}
    )
    # Training turns the key-value cache off; a config that keeps it off makes every generation quadratic.
    _edit(folder / "config.json", lambda c: {"use_cache": True})


def _edit(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps({**values, **change(values)}, indent=2) + "\n", encoding="utf-8")


def stop_ids(known: int | list[int] | None, end_of_turn: int) -> int | list[int]:
    """Ids that end a generation: the model's own and the end of turn that was trained."""
    ids = [known] if isinstance(known, int) else list(known or [])
    ids = ids if end_of_turn in ids else [end_of_turn, *ids]
    return ids[0] if len(ids) == 1 else ids


def merge_adapter(base: str, adapter: Path, folder: Path) -> None:
    """Writes base + LoRA adapter as one model, in the base's own precision, on the CPU (works after any ZeRO stage)."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()
    with torch.device("cpu"):
        model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
        PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(folder)
