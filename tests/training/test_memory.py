"""The memory of a training, predicted: parameter counts, bytes by part, what is refused and with which advice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cord_distill.common.errors import CordError
from cord_distill.common.paths import bundled
from cord_distill.recipe.file import load_recipe
from cord_distill.recipe.recipe import Recipe
from cord_distill.training.memory.advice import memory_page
from cord_distill.training.memory.predict import layer_activations, model_states, predict, saved_activations
from cord_distill.training.memory.setup import Lora, Setup, Zero, setup_of
from cord_distill.training.memory.shapes import Shape, shape_of

R1 = "deepseek-ai/DeepSeek-R1-Distill-"
# Small and round: q 8, kv 4, one layer 4*8 + 2*4*4 + 8*4 + 3*4*16 + biases 16 + norms 8.
TOY = Shape(
    hidden=4, layers=2, heads=4, kv_heads=2, head_dim=2, intermediate=16, vocab=10, positions=64, qkv_bias=True,
    qk_norm=False, tied=False,
)  # fmt: skip


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (R1 + "Qwen-1.5B", 1_777_088_000),
        (R1 + "Qwen-7B", 7_615_616_512),
        (R1 + "Qwen-14B", 14_770_033_664),
        (R1 + "Qwen-32B", 32_763_876_352),
        (R1 + "Llama-8B", 8_030_261_248),
    ],
)
def test_parameters_of_published_models(model: str, parameters: int) -> None:
    """The counts that the published weight files hold. Fails for a version without biases, or with a tied head."""
    assert shape_of(model).parameters == parameters


def test_toy_by_hand() -> None:
    assert TOY.layer_parameters == 32 + 2 * 16 + 32 + 3 * 64 + 16 + 8
    assert TOY.parameters == 2 * 312 + 2 * 40 + 4
    assert TOY.lora_parameters(2, ["q_proj", "down_proj"]) == 2 * 2 * (12 + 20)


@pytest.mark.parametrize(
    ("zero", "half", "weights", "gradients", "optimizer"),
    [
        (Zero(0), True, 16, 16, 32),  # float32 under autocast, whole on each of four GPUs
        (Zero(1), True, 8, 8, 12),
        (Zero(2), True, 8, 2, 12),
        (Zero(3), True, 2, 2, 12),
        (Zero(3), False, 4, 4, 12),  # float32 weights have masters too
        (Zero(2), False, 16, 4, 12),
        (Zero(3, offload_optimizer=True), True, 2, 0, 0),
        (Zero(3, offload_optimizer=True, offload_weights=True), True, 0, 0, 0),
    ],
)
def test_states(zero: Zero, half: bool, weights: int, gradients: int, optimizer: int) -> None:
    """Bytes per GPU and per quarter of the parameters. Fails for 16 bytes per parameter whatever the stage."""
    states = model_states(TOY, Setup(gpus=4, zero=zero, half=half))
    quarter = TOY.parameters // 4
    assert states == {"weights": weights * quarter, "gradients": gradients * quarter, "optimizer": optimizer * quarter}


def test_lora_trains_adapters_only() -> None:
    lora = Setup(gpus=4, zero=Zero(3), lora=Lora(2, ("q_proj", "down_proj")))
    assert model_states(TOY, lora) == {"weights": (708 + 128) * 2 // 4, "gradients": 64, "optimizer": 128 * 12 // 4}
    alone = replace(lora, gpus=1, zero=Zero(0))
    assert model_states(TOY, alone) == {"weights": 708 * 2 + 128 * 4, "gradients": 512, "optimizer": 1024}


def test_activations_by_hand() -> None:
    """Fails for `34 * s * h`, which holds for another architecture."""
    half, full = Setup(zero=Zero(3), length=10, checkpointing=False), Setup(half=False, length=10, checkpointing=False)
    norms, attention, mlp = 8 * 4 + 8 * 4 + 8, 2 * (16 + 8) + 16, 8 * 16
    assert layer_activations(TOY, half) == norms + attention + mlp
    assert layer_activations(TOY, full) == (8 * 4 + 16 * 4 + 8) + (4 * 24 + 16) + 16 * 16
    ends = 4 * 4 + 2 * 2 * 4 + 4 + 16 + 5
    assert saved_activations(TOY, half) == 10 * (2 * (norms + attention + mlp) + ends + 2 * 2 * 2)
    assert saved_activations(TOY, replace(half, checkpointing=True)) == 10 * (2 * 2 * 4 + ends)


def test_sequence_parallelism_shares_the_tokens() -> None:
    whole = Setup(zero=Zero(3), length=32768)
    assert saved_activations(TOY, replace(whole, sp=4)) * 4 == saved_activations(TOY, whole)


def test_padded_rows_bring_a_square_mask() -> None:
    """Fails for a prediction that is linear in the length where sdpa gets a mask: 1.2 GB at 20,480 tokens."""
    one = Setup(zero=Zero(3), length=20480)
    assert saved_activations(TOY, replace(one, masked=True)) - saved_activations(TOY, one) == 3 * 20480**2


def test_14b_part_by_part() -> None:
    """The whole sum for one real training, each term written out. Fails when a term is lost or counted twice."""
    shape = shape_of(R1 + "Qwen-14B")
    memory = predict(shape, Setup(gpus=8, zero=Zero(3, reduce_bucket=5120**2), length=20480))
    p, n, h, v, f = 14_770_033_664, 20480, 5120, 152064, 13824
    assert memory.moment == "loss"
    assert memory.parts == {
        "weights": p * 2 // 8,
        "gradients": p * 2 // 8,
        "optimizer": p * 12 // 8,
        "activations": n * (48 * 2 * h + 8 * h + 25),
        "logits": 4096 * 32768 * 2 + n * h * 6 + v * h * 6,
        "buffers": 2 * (10**9 + h * h) + 2 * v * h,
    }
    layer = 16 * h + 8 + 2 * (2 * h + 2 * 1024) + 160 + 8 * f
    backward = n * (48 * 2 * h + 8 * h + 25 + layer + 4 * f + 4 * h) + 2 * (10**9 + h * h)
    assert memory.peaks["layer"] == p * 16 // 8 + backward
    assert memory.peaks["step"] == p * 16 // 8 + 2 * (10**9 + h * h) + 4 * 10**9
    assert memory.host == {"weights while saving": 2 * p}


def test_offload_moves_states_to_the_host() -> None:
    p = 32_763_876_352
    memory = predict(shape_of(R1 + "Qwen-32B"), Setup(gpus=16, zero=Zero(3, offload_optimizer=True)))
    assert memory.host == {"weights while saving": 2 * p, "optimizer": 12 * p // 2, "gradients": 6 * p // 2}


def page(recipe: Recipe, gpus: int, gpu: float | None, host: float | None = None) -> tuple[str, list[str]]:
    return memory_page(recipe, str(recipe.train["model_name_or_path"]), gpus, gpu, host)


@pytest.mark.parametrize("name", ["r1_qwen_7b", "r1_llama_8b", "r1_qwen_14b", "r1_qwen_32b", "r1_qwen_14b_lora"])
def test_shipped_recipes_fit_the_node_that_they_are_for(name: str) -> None:
    text, faults = page(load_recipe(name), 8, 80)
    assert faults == []
    assert "8 GPUs, ZeRO-3" in text and "1 x 20480 tokens, checkpointing" in text


def test_the_long_recipe_needs_its_sequence_parallelism() -> None:
    recipe = load_recipe("r1_qwen_32b_32k_sp")
    text, faults = page(recipe, 8, 80)
    assert faults == [] and "sequence parallel 4" in text and "1 x 32768 tokens" in text
    recipe = load_recipe("r1_qwen_32b_32k_sp", ["launch.accelerate_config=zero3"])
    assert page(recipe, 8, 80)[1]


@pytest.mark.parametrize(
    ("overrides", "gpus", "gpu", "host", "says"),
    [
        (["train.gradient_checkpointing=false"], 8, 80, None, r"it would fit with train\.gradient_checkpointing=true$"),
        (["train.per_device_train_batch_size=8"], 1, 200, None, r"per_device_train_batch_size=1$"),
        (["train.deepspeed=null"], 8, 80, None, r"it would fit with ZeRO-3"),
        ([], 1, 80, None, r"it would fit with the optimizer on the host"),
        ([], 8, 25, None, r"it would fit with sequence parallelism over 2 ranks"),
        (
            ["launch.accelerate_config=zero3_offload"],
            8,
            80,
            100,
            r"100; it would fit with --gpus 16|sequence par.*--gpus",
        ),
        ([], 3, 80, None, r"train\.global_batch_size 8 is not a multiple .* = 3"),
        (["train.max_length=200000"], 8, 500, None, r"200000 is more than the 131072 positions"),
        ([], 1, 8, None, "no change known here makes it fit"),
    ],
)
def test_what_cannot_fit_is_refused_with_the_smallest_change(
    overrides: list[str], gpus: int, gpu: float, host: float | None, says: str
) -> None:
    import re

    (fault,) = page(load_recipe("r1_qwen_7b", overrides), gpus, gpu, host)[1]
    assert re.search(says, fault), fault


def test_the_setup_is_read_from_the_launcher_before_the_recipe() -> None:
    """Fails for a version that reads train.deepspeed alone: 32B with its optimizer on the GPUs."""
    shape = shape_of(R1 + "Qwen-32B")
    recipe = load_recipe("r1_qwen_32b")
    offload = setup_of(recipe, shape, 8)
    assert offload.zero == Zero(3, offload_optimizer=True, reduce_bucket=5120**2, overlap=True)
    plain = setup_of(load_recipe("r1_qwen_32b", ["launch.accelerate_config=zero3"]), shape, 8)
    assert plain.zero == Zero(3, overlap=True)
    shared = setup_of(load_recipe("r1_qwen_32b", ["launch.accelerate_config=zero3_sp"]), shape, 8)
    assert shared.sp == 4 and not shared.masked


def test_local_folders_and_unknown_models(tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 128, "vocab_size": 600, "tie_word_embeddings": True,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    shape = shape_of(str(tmp_path))
    assert (shape.kv, shape.head_dim, shape.qkv_bias) == (64, 16, False)
    assert shape.parameters == 2 * (4 * 64 * 64 + 3 * 64 * 128 + 128) + 600 * 64 + 64
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "mixtral"}))
    with pytest.raises(CordError, match="mixtral"):
        shape_of(str(tmp_path))
    with pytest.raises(CordError, match="download it"):
        shape_of("some/model")


def test_cord_check_prints_and_refuses(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Fails for a check that returns 0 on what cannot run, or that loads torch to say so."""
    from cord_distill.cli import main

    recipe = tmp_path / "only_training.yaml"
    zero3 = bundled("accelerate_configs") / "deepspeed" / "zero3.json"
    recipe.write_text(f"train: {{model_name_or_path: {R1}Qwen-7B, deepspeed: {zero3}}}")
    assert main(["check", str(recipe), "--gpus", "8", "--gpu-memory", "80"]) == 0
    assert "in all" in capsys.readouterr().out
    assert main(["check", str(recipe), "--gpus", "1", "--gpu-memory", "40"]) == 2
    assert "does not fit: needs " in capsys.readouterr().err
    assert main(["check", str(recipe)]) == 0
    assert "memory" not in capsys.readouterr().out.partition("writes to")[2]


# --- against living tensors


SHAPES: dict[str, dict[str, Any]] = {
    "qwen2": {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 160},
    "llama": {"hidden_size": 96, "num_attention_heads": 6, "num_key_value_heads": 6, "intermediate_size": 200},
    "qwen3": {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 128},
}


def saved_bytes(model: Any, length: int, autocast: bool) -> int:
    """Bytes that one forward pass of TRL's loss hands to autograd, each storage once, weights left out."""
    import torch

    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, Any] = {}

    def pack(tensor: Any) -> Any:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    ids = torch.randint(0, model.config.vocab_size, (1, length))
    model.train()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t), torch.autocast("cpu", torch.bfloat16, autocast):
        model(input_ids=ids, labels=ids, attention_mask=torch.ones_like(ids), fused_lm_head=True)
    return sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in weights)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("mode", ["half", "full", "autocast"])
def test_saved_activations_are_those_that_autograd_saves(tmp_path: Path, kind: str, mode: str) -> None:
    """Within 1 % at two lengths, checkpointing on and off. Fails for a formula without the norms' float32 inputs."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from trl.trainer.utils import add_fused_lm_head

    config = AutoConfig.for_model(
        kind, num_hidden_layers=3, head_dim=16, vocab_size=600, max_position_embeddings=4096, **SHAPES[kind]
    )
    config.save_pretrained(tmp_path)
    shape = shape_of(str(tmp_path))
    model = AutoModelForCausalLM.from_config(config).to(torch.bfloat16 if mode == "half" else torch.float32)
    assert sum(p.numel() for p in model.parameters()) == shape.parameters
    add_fused_lm_head(model)
    zero = Zero(3) if mode == "half" else Zero(0)
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable()
        for length in (256, 1024):
            setup = Setup(1, zero=zero, length=length, checkpointing=checkpointing, half=mode != "full")
            live = saved_bytes(model, length, mode == "autocast")
            if mode == "autocast" and not checkpointing:  # the casts of the weights are counted as buffers
                live -= 2 * shape.layers * sum(a * b for a, b in shape.linears.values())
            assert saved_activations(shape, setup) == pytest.approx(live, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.05])
@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), tuple(TOY.linears)])
def test_saved_activations_under_lora(tmp_path: Path, dropout: float, targets: tuple[str, ...]) -> None:
    """Within 1 %. Fails for full fine-tuning's sum: frozen maps keep no inputs, dropout keeps copies and masks."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM
    from trl.trainer.utils import add_fused_lm_head

    config = AutoConfig.for_model("qwen2", num_hidden_layers=3, head_dim=16, vocab_size=600, **SHAPES["qwen2"])
    config.save_pretrained(tmp_path)
    shape = shape_of(str(tmp_path))
    base = AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
    add_fused_lm_head(base)
    lora = LoraConfig(r=8, lora_dropout=dropout, target_modules=list(targets), task_type="CAUSAL_LM")
    model = get_peft_model(base, lora, autocast_adapter_dtype=False)
    model.config = config
    base.enable_input_require_grads()  # as TRL does under checkpointing; else the first norm keeps nothing
    for checkpointing in (False, True):
        if checkpointing:
            base.gradient_checkpointing_enable()
        setup = Setup(1, zero=Zero(3), length=512, checkpointing=checkpointing, lora=Lora(8, targets, dropout))
        live = saved_bytes(model, 512, False)
        if dropout and not checkpointing:  # a GPU's mask is of one byte; on CPU it has the input's precision
            live -= 512 * shape.layers * sum(shape.linears[name][0] for name in targets)
        assert saved_activations(shape, setup) == pytest.approx(live, rel=0.01)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == shape.lora_parameters(8, targets)
