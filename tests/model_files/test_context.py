"""How long a context a config.json allows. YaRN: four times what it states, where its card says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cord_distill.model_files.context import context_of, longer_than_stated
from cord_distill.worlds.random_models import FAMILIES, build_tokenizer

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}


LINEAR = {"rope_type": "linear", "factor": 8.0}


@pytest.mark.parametrize(
    ("config", "positions", "stated"),
    [
        ({"max_position_embeddings": 64}, 64, 64),
        # As Qwen's cards say it (the length before scaling), and as transformers' own examples do (after scaling).
        ({"max_position_embeddings": 64, "rope_scaling": YARN}, 256, 64),
        ({"max_position_embeddings": 256, "rope_scaling": YARN}, 256, 256),
        ({"max_position_embeddings": 64, "rope_scaling": {"type": "yarn", "factor": 4}}, 256, 64),
        ({"max_position_embeddings": 64, "rope_parameters": YARN}, 256, 64),
        ({"max_position_embeddings": 64, "rope_parameters": {"full_attention": YARN, "other": {}}}, 256, 64),
        ({"max_position_embeddings": 64, "rope_scaling": {"type": "linear", "factor": 2.0}}, 128, 128),
        ({"max_position_embeddings": 64, "rope_scaling": {"type": "dynamic", "factor": 2.0}}, 128, 128),
        ({"max_position_embeddings": 64, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 64, 64),
        ({"max_position_embeddings": 64, "rope_scaling": {"rope_type": "longrope", "long_factor": [1.0]}}, 64, 64),
        ({"max_position_embeddings": 64, "rope_scaling": {"rope_type": "yarn", "factor": None}}, 64, 64),
        # Gemma 3 states the length after scaling, in the part for text.
        ({"model_type": "gemma3", "text_config": {"max_position_embeddings": 64, "rope_scaling": LINEAR}}, 64, 64),
        ({"model_type": "other", "text_config": {"max_position_embeddings": 64, "rope_scaling": LINEAR}}, 512, 512),
        ({"n_positions": 1024}, 1024, 1024),
        ({"text_config": {"model_type": "gemma3_text"}}, None, None),
        ({"max_position_embeddings": True, "rope_scaling": "x"}, None, None),
        ({"max_position_embeddings": 64, "rope_scaling": {**YARN, "original_max_position_embeddings": "x"}}, 256, 64),
        ({}, None, None),
    ],
)  # fmt: skip
def test_the_longest_context_of_each_way_to_write_it(config: Any, positions: int | None, stated: int | None) -> None:
    """Fails for `max_position_embeddings` alone, and for a factor that is applied whatever the kind of scaling."""
    found = context_of(config)
    assert (found.positions, found.stated) == (positions, stated)


def test_vllm_is_told_only_what_it_does_not_know() -> None:
    yarn = {"max_position_embeddings": 64, "rope_scaling": YARN}
    assert longer_than_stated(yarn, 200) == {"max_position_embeddings": 200}
    assert longer_than_stated(yarn, 64) == {}
    assert longer_than_stated({"max_position_embeddings": 64}, 200) == {}
    assert longer_than_stated({"text_config": yarn}, 999) == {"text_config": {"max_position_embeddings": 256}}


def yarn_model(folder: Path) -> Path:
    """A folder of which config and tokenizer count, with 64 positions stretched to 256."""
    folder.mkdir()
    build_tokenizer(FAMILIES["qwq"], "qwq").save_pretrained(folder)
    sizes = {
        **{"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2},
        **{"num_key_value_heads": 1, "head_dim": 32, "vocab_size": 700, "tie_word_embeddings": False},
    }
    config = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], **sizes, "dtype": "float32"}
    yarn = {"rope_theta": 10000.0, **YARN}
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 64, "rope_scaling": yarn}))
    return folder


def test_decoding_evaluation_and_training_take_the_stretched_length(tmp_path: Path) -> None:
    """Fails where one of them reads `max_position_embeddings`: rows of 65 tokens were to be dropped."""
    from cord_distill.decode.engine_pool import model_positions
    from cord_distill.evaluation.jobs import _positions
    from cord_distill.recipe.models import ModelConfig
    from cord_distill.training.memory.shapes import shape_of

    folder = yarn_model(tmp_path / "m")
    assert model_positions(str(folder), ModelConfig(model=str(folder))) == 256
    assert _positions(folder, None) == 256 and _positions(folder, 100) == 100
    assert shape_of(str(folder)).positions == 256


@pytest.mark.slow
def test_vllm_and_transformers_read_beyond_the_stated_length_alike(tmp_path: Path) -> None:
    """The real engine on 200 of 64 stated positions. Fails without the override: vLLM refuses the length."""
    import asyncio

    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from cord_distill.engines.vllm.engine import VllmEngine
    from cord_distill.recipe.models import ModelConfig

    folder = yarn_model(tmp_path / "m")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
    kept = (folder / "config.json").read_text()
    model.save_pretrained(folder)
    (folder / "config.json").write_text(kept)
    ids, targets = [5 + i % 600 for i in range(190)], [7, 8, 9]

    async def scored() -> list[float]:
        section = ModelConfig(model=str(folder), kv_cache_gib=0.25, max_num_seqs=2)
        engine = await VllmEngine.start(section, str(folder), max_model_len=200)
        try:
            assert engine.max_model_len == 200
            return await engine.logprobs(ids, targets)
        finally:
            await engine.close()

    found = asyncio.run(scored())
    with torch.no_grad():
        rows = torch.log_softmax(model(torch.tensor([ids + targets])).logits[0], -1)
    wanted = [float(rows[len(ids) - 1 + i, token]) for i, token in enumerate(targets)]
    assert found == pytest.approx(wanted, abs=1e-3)
