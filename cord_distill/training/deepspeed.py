"""DeepSpeed under plain `accelerate launch train.py RECIPE`: what it needs before the model is built."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.paths import bundled
from cord_distill.common.suggest import did_you_mean


def prepare(cuda: bool) -> None:
    """Sets DeepSpeed up. Call it before TRL is imported, when the recipe or the launcher brings DeepSpeed.

    Without a GPU its shared-memory op is not compiled (90 CPU seconds and a compiler, for inference only). Without
    torchrun: a group of one process, since DeepSpeed would look for MPI.
    """
    if "RANK" not in os.environ:
        os.environ.update(
            RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(_free_port())
        )
    if cuda:
        return
    import deepspeed.ops
    from deepspeed.utils import logger

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    logger.setLevel(logging.WARNING)


def init_distributed() -> None:
    """Starts the process group. Call it before the model is built, for which ZeRO-3 asks for the world size."""
    import deepspeed

    deepspeed.init_distributed(auto_mpi_discovery=False, verbose=False)


def check_deepspeed(args: Any) -> None:
    """Refuses ZeRO-3 that would not write one whole model at the end. args: the SFTConfig."""
    plugin = args.deepspeed_plugin
    if plugin is not None and plugin.zero_stage == 3:
        gather = plugin.deepspeed_config["zero_optimization"].get("stage3_gather_16bit_weights_on_model_save")
        if not gather:
            raise CordError(
                "DeepSpeed ZeRO-3 would save no whole model: set stage3_gather_16bit_weights_on_model_save: true in "
                "the DeepSpeed file, or zero3_save_16bit_model: true in the accelerate config"
            )


def launcher_brings_it(env: Mapping[str, str] = os.environ) -> bool:
    """Whether the launcher's configuration has DeepSpeed, which then counts before the recipe's file."""
    return env.get("ACCELERATE_USE_DEEPSPEED", "").lower() in ("true", "1")


def declared_stage(section: dict[str, Any]) -> int:
    """ZeRO stage that the launcher, or else the recipe's DeepSpeed file, asks for; 0 = none. Loads no DeepSpeed."""
    file = str(section.get("deepspeed") or "none")
    if launcher_brings_it():
        file = os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none")
    if file == "none":
        return int(os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", 2)) if launcher_brings_it() else 0
    return stage_in(file, "DeepSpeed")


def stage_in(file: str, key: str) -> int:
    """ZeRO stage of a DeepSpeed file. Raises CordError as `zero_optimization`."""
    return int(zero_optimization(file, key)["stage"])


def zero_optimization(file: str, key: str) -> dict[str, Any]:
    """What a DeepSpeed file says of ZeRO, its stage among it. Raises CordError: it is not there, or no file that
    DeepSpeed would take. key: for the error."""
    path = Path(file)
    if not path.is_file():
        ours = sorted(one.stem for one in (bundled("accelerate_configs") / "deepspeed").glob("*.json"))
        hint = did_you_mean(path.stem, ours, f"the bundled ones are: {', '.join(ours)}")
        raise CordError(f"{key}: DeepSpeed file {path} is not there, relative to the recipe; {hint}")
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}: {error.msg}"
        raise CordError(f"{key}: DeepSpeed file {path} is no JSON ({where}); mend it") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CordError(f"{key}: DeepSpeed file {path} cannot be read as JSON ({error}); mend it") from None
    try:
        zero: dict[str, Any] = read["zero_optimization"]
        stage = zero["stage"]
    except (KeyError, TypeError):
        raise CordError(f"{key}: DeepSpeed file {path} has no zero_optimization.stage; add it") from None
    if type(stage) is not int or not 0 <= stage <= 3:
        raise CordError(f"{key}: DeepSpeed file {path}: zero_optimization.stage is {stage!r}; write 0, 1, 2 or 3")
    return zero


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
