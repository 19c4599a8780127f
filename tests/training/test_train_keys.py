"""The `train:` section: which keys, of which types, and the arithmetic of the batch."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from cord_distill.common.errors import CordError
from cord_distill.common.paths import bundled
from cord_distill.recipe.recipe import LaunchConfig, Recipe
from cord_distill.recipe.train_keys import OUR_TYPES, check_train_keys, known_keys, typed_value
from cord_distill.training.arguments import derive_accumulation, resolved_section, split_section
from cord_distill.training.check import training_faults
from cord_distill.training.launcher_keys import file_faults, flag_faults, installed_keys, launcher_keys
from cord_distill.training.memory.setup import setup_of
from cord_distill.training.memory.shapes import shape_of


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("packing", 3),
        ("max_length", [1, 2]),
        ("max_length", 16.5),
        ("packing_strategy", "foo"),
        ("dtype", "int3"),
        ("seed", "x"),
        ("learning_rate", "fast"),
        ("global_batch_size", "many"),
        ("global_batch_size", [8]),
        ("global_batch_size", 0),
    ],
)
def test_wrong_values_are_named(key: str, value: Any) -> None:
    """Fails for a reader that, as TRL's own, checks only values that are strings; and for one that checks TRL's keys
    and not ours, over which `cord check --gpus 8` ends in a traceback."""
    with pytest.raises(ValueError, match=rf"\[{key}\] "):
        check_train_keys({key: value})
    if key in OUR_TYPES:
        with pytest.raises(ValueError, match=rf"\[{key}\] "):
            check_train_keys({key: value}, "distil")


def test_values_as_yaml_gives_them() -> None:
    """Fails for a reader that passes `5e-6` on as a string, or `no` as false."""
    given = {"learning_rate": "5e-6", "save_strategy": False, "max_length": None}
    assert check_train_keys(given) is given
    typed = {key: typed_value(key, value) for key, value in given.items()}
    assert typed == {"learning_rate": 5e-6, "save_strategy": "no", "max_length": None}


def test_train_takes_the_keys_of_trl_and_one_of_ours() -> None:
    known = known_keys("train")
    assert {"learning_rate", "max_length", "deepspeed", "model_name_or_path", "global_batch_size"} <= known
    with pytest.raises(ValueError, match="did you mean 'learning_rate'"):
        check_train_keys({"lerning_rate": 1})


@pytest.mark.parametrize(
    ("batch", "world", "sp", "per_device", "steps"),
    [(8, 1, 1, 1, 8), (8, 8, 1, 1, 1), (8, 8, 4, 1, 4), (8, 16, 4, 2, 1), (16, 1, 1, 16, 1), (48, 3, 1, 4, 4)],
)
def test_accumulation(batch: int, world: int, sp: int, per_device: int, steps: int) -> None:
    """Fails for the lazy `batch // world`: the ranks of a sequence-parallel group share one row."""
    assert derive_accumulation(batch, world_size=world, sp_size=sp, per_device=per_device) == steps
    assert per_device * steps * world // sp == batch


@pytest.mark.parametrize(
    ("batch", "world", "sp", "per_device"), [(8, 3, 1, 1), (8, 16, 1, 1), (8, 6, 4, 1), (9, 2, 1, 2)]
)
def test_a_batch_that_does_not_divide_is_refused(batch: int, world: int, sp: int, per_device: int) -> None:
    """Fails for a version that rounds the accumulation and trains with another batch than the recipe says."""
    with pytest.raises(CordError):
        derive_accumulation(batch, world_size=world, sp_size=sp, per_device=per_device)


def recipe(**train: Any) -> Recipe:
    return Recipe(name="r", seed=7, train={"model_name_or_path": "some/model", **train})


def test_our_defaults() -> None:
    """Fails where TRL's own max_length, 1024, comes through: it cuts the answer off, silently."""
    section = resolved_section(recipe(), {})
    assert section["max_length"] == 20480
    assert section["seed"] == 7
    assert section["report_to"] == ["wandb"]
    assert section["output_dir"].endswith("outputs/r/checkpoints")


@pytest.mark.parametrize("key", ["per_device_train_batch_size", "max_length"])
def test_a_null_where_a_number_is_needed_is_named_and_memory_is_predicted_all_the_same(key: str) -> None:
    """Fails for a prediction that ends in a traceback where the check of the section says what is wrong."""
    wrong = recipe(**{key: None, "use_peft": True, "lora_r": None})
    with pytest.raises(CordError, match=rf"train\.{key}: null"):
        resolved_section(wrong, {})
    setup = setup_of(wrong, shape_of("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"), 8)
    assert (setup.rows, setup.length) == (1, 20480) and setup.lora is not None and setup.lora.rank == 16


def test_global_batch_size_over_ranks() -> None:
    env = {"WORLD_SIZE": "8", "PARALLELISM_CONFIG_SP_SIZE": "2"}
    section = resolved_section(recipe(global_batch_size=8), env)
    assert section["gradient_accumulation_steps"] == 2
    assert "global_batch_size" not in section
    with pytest.raises(CordError, match="disagree"):
        resolved_section(recipe(global_batch_size=8, gradient_accumulation_steps=3), env)


def test_the_launcher_takes_the_keys_of_the_installed_accelerate() -> None:
    """Fails for a list that an update of accelerate has left behind; that module writes it anew."""
    assert launcher_keys() == installed_keys()
    for path in bundled("accelerate_configs").glob("*.yaml"):
        assert file_faults(yaml.safe_load(path.read_text()), path.name) == []
    assert flag_faults(["--num-processes=2", "-q", "--mixed_precision", "no"]) == []


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("parallelism_config: x", "parallelism_config"),
        ("parallelism_config: {parallelism_config_sp_size: two}", "parallelism_config.parallelism_config_sp_size"),
        ("deepspeed_config: 3", "deepspeed_config"),
        ("{distributed_type: DEEPSPEED, deepspeed_config: {zero_stage: two}}", "deepspeed_config.zero_stage"),
        ("num_processes: many", "num_processes"),
        ("num_processes: 0", "num_processes"),
    ],
)
def test_a_value_of_the_launchers_file_that_is_of_another_type_is_named(tmp_path: Any, text: str, key: str) -> None:
    """Fails for a check of the names of keys alone: `cord check` then ends in a traceback."""
    (tmp_path / "a.yaml").write_text(text)
    made = recipe().model_copy(update={"launch": LaunchConfig(accelerate_config=str(tmp_path / "a.yaml"))})
    (said,) = [fault for fault in training_faults(made, 8) if "a.yaml" in fault]
    assert f"a.yaml: {key} is " in said and said.endswith("; mend it")
    with pytest.raises(CordError, match=r"a\.yaml"):
        setup_of(made, shape_of("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"), 8)


@pytest.mark.parametrize("odd", [{"reduce_bucket_size": "many"}, {"offload_param": "cpu"}])
def test_a_size_of_deepspeed_that_is_no_number_is_no_traceback(tmp_path: Any, odd: dict[str, Any]) -> None:
    (tmp_path / "ds.json").write_text(json.dumps({"zero_optimization": {"stage": 3, **odd}}))
    with pytest.raises(CordError, match="zero_optimization holds a value of another type"):
        setup_of(recipe(deepspeed=str(tmp_path / "ds.json")), shape_of("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"), 8)


def test_launcher_deepspeed_wins(tmp_path: Any) -> None:
    (tmp_path / "ds.json").write_text('{"zero_optimization": {"stage": 2}}')
    made = recipe(deepspeed=str(tmp_path / "ds.json"))
    assert resolved_section(made, {})["deepspeed"]
    assert "deepspeed" not in resolved_section(made, {"ACCELERATE_USE_DEEPSPEED": "true"})
    with pytest.raises(CordError, match=r"train\.deepspeed"):
        resolved_section(recipe(deepspeed=str(tmp_path / "gone.json")), {})


@pytest.mark.parametrize("key", ["hub_token", "push_to_hub", "assistant_only_loss", "dataset_kwargs"])
def test_keys_that_are_refused(key: str) -> None:
    """Fails for a version that would write a token into the resolved recipe, the card and the report, or let TRL render
    the rows: refused when the recipe is read, whatever command reads it."""
    with pytest.raises(ValueError, match=key):
        recipe(**{key: "x"})


@pytest.mark.slow
def test_keys_and_types_of_the_installed_trl() -> None:
    """Fails when TRL is upgraded and train_keys.json is not, and where a key goes to the wrong one of its configs."""
    from trl import ModelConfig, SFTConfig

    from cord_distill.recipe.train_keys import FILE, trl_train_keys

    assert json.loads(FILE.read_text()) == trl_train_keys()
    good: dict[str, Any] = {"learning_rate": "5e-6", "packing": False, "dtype": "float32", "optim": "adamw_torch"}
    good |= {"warmup_steps": 0.05, "lora_target_modules": ["q_proj"], "lr_scheduler_type": "cosine"}
    sft, model = split_section(good, "train", SFTConfig, ModelConfig)
    assert sft["learning_rate"] == 5e-6
    assert model == {"dtype": "float32", "lora_target_modules": ["q_proj"]}
    with pytest.raises(CordError, match=r"train\.learning_rate is not a key of the installed TRL"):
        split_section(good, "train", ModelConfig)


@pytest.mark.slow
def test_half_precision_weights_need_float32_masters(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails for a version that lets AdamW update bf16 weights at 5e-6: most updates round to nothing."""
    from cord_distill.training.arguments import training_arguments

    monkeypatch.delenv("ACCELERATE_USE_DEEPSPEED", raising=False)
    section = {"model_name_or_path": "x", "output_dir": str(tmp_path), "bf16": True, "report_to": []}
    with pytest.raises(CordError, match="without float32 masters"):
        training_arguments({**section, "dtype": "bfloat16"})
    assert training_arguments(section)[1].dtype == "float32"
    assert training_arguments({**section, "use_peft": True})[1].dtype == "bfloat16"
