"""What `cord check` says of the engines that decode: their weights and caches, and whether they find their place."""

import json
from typing import Any

import pytest

from cord_distill.recipe.file import load_recipe
from cord_distill.recipe.recipe import Recipe
from cord_distill.run.decode_memory import decode_memory

QWEN, SMOLLM2 = "Qwen/Qwen2.5-1.5B-Instruct", "HuggingFaceTB/SmolLM2-1.7B-Instruct"


def recipe(*teachers: dict[str, Any], **keys: Any) -> Recipe:
    return Recipe.model_validate({"name": "r", "teachers": list(teachers), **keys})


def test_an_engine_that_teachers_and_meta_prover_share_counts_once():
    """Fails the version that counts the recipe's models instead of the engines."""
    twice = [{"model": QWEN, "name": n, "temperature": t, "kv_cache_gib": 2} for n, t in (("a", 0.5), ("b", 0.7))]
    page, faults = decode_memory(recipe(*twice, meta_prover={"same_as": "a"}), 24)
    assert page.splitlines()[1:] == ["  a: 2.9 GiB of weights, 2.0 GiB of cache on GPU 0"] and faults == []


def test_on_a_cpu_auto_is_float32_and_all_is_one_process():
    teachers = [{"model": QWEN, "name": "a"}, {"model": SMOLLM2, "name": "b", "dtype": "bfloat16", "kv_cache_gib": 1}]
    page, faults = decode_memory(recipe(*teachers), None, on_gpu=False)
    assert page.splitlines()[1:] == [
        "  a: 5.8 GiB of weights, 0.5 GiB of cache",
        "  b: 3.2 GiB of weights, 1.0 GiB of cache",
        "  in all 14.0 GiB, about 3.6 of them for torch and vLLM themselves",
    ]
    assert faults == []


def test_the_weights_of_another_architecture_are_counted_in_its_files(tmp_path):
    """Fails the version that leaves Gemma out of the sum, and the one that takes the files' bytes for float32."""
    (tmp_path / "config.json").write_text('{"model_type": "gemma3_text"}')
    half = {
        "a": {"dtype": "BF16", "shape": [1024, 512 * 1024], "data_offsets": [0, 1]},
        "__metadata__": {"format": "pt"},
    }
    for name in ("model-1", "model-2"):
        text = json.dumps(half).encode()
        (tmp_path / f"{name}.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    page, _ = decode_memory(recipe({"model": str(tmp_path), "name": "g"}), None, on_gpu=False)
    assert "  g: 4.0 GiB of weights" in page
    (tmp_path / "model-2.safetensors").write_bytes(b"\xff" * 20)
    page, _ = decode_memory(recipe({"model": str(tmp_path), "name": "g"}), None, on_gpu=False)
    assert "  g: weights of unknown size" in page and "and the others" in page


def test_the_second_engine_of_a_gpu_finds_no_place_beside_one_that_takes_it_all():
    """Fails the version that adds up weights and caches: vLLM refuses to start where its share is not free."""
    greedy = [{"model": QWEN, "name": "a"}, {"model": SMOLLM2, "name": "b", "kv_cache_gib": 2}]
    _, faults = decode_memory(recipe(*greedy), 24)
    assert faults == [
        "teachers.1: b wants 21.6 GiB of GPU 0, where the engines before it leave 2.4; set teachers.1.kv_cache_gib, "
        "and teachers.1.gpu_memory_utilization below 0.10, or give it another GPU (devices)"
    ]
    apart = [greedy[0], {**greedy[1], "devices": [1]}]
    assert decode_memory(recipe(*apart), 24)[1] == []


@pytest.mark.parametrize(("gpu_memory", "fits"), [(24, True), (16, False)])
def test_the_recipe_for_one_gpu_fits_into_24_gib_and_not_into_16(gpu_memory, fits):
    page, faults = decode_memory(load_recipe("recipes/gsm8k_1gpu.yaml"), gpu_memory)
    assert (faults == []) is fits
    assert "olmo2: 2.8 GiB of weights, 3.0 GiB of cache on GPU 0" in page


def test_sizes_that_are_not_known_are_no_fault_and_servers_hold_nothing_here():
    page, faults = decode_memory(recipe({"model": "org/unknown", "kv_cache_gib": 1}), 24)
    assert "unknown: weights of unknown size, 1.0 GiB of cache" in page and faults == []
    assert decode_memory(recipe({"model": QWEN, "engine": "server", "url": "http://x"}), 24) == ("", [])


@pytest.mark.parametrize("keys", [{}, {"kv_cache_gib": 0.5}], ids=["a share", "a cache of its own"])
def test_weights_that_no_gpu_of_this_size_holds_are_refused(keys):
    """Fails the version in which a model that takes a share of the GPU always fits into that share."""
    big = {"model": QWEN, "name": "a", "gpu_memory_utilization": 0.9, **keys}
    page, faults = decode_memory(recipe(big), 4)
    assert "2.9 GiB of weights" in page and len(faults) == 1
    assert faults[0].startswith("teachers.0: a needs 5.") or faults[0].startswith("teachers.0: a needs 4.9")
    assert "of each GPU (2.9 of weights" in faults[0] and "GPUs of at least" in faults[0]
    assert "set teachers.0.tensor_parallel_size=2 and as many devices, or" in faults[0]
    assert decode_memory(recipe({**big, "tensor_parallel_size": 2}), 4)[1] == []
    assert decode_memory(recipe(big), 6)[1] == []


def test_a_gpu_that_not_even_all_heads_would_fill_is_refused_without_that_advice():
    _, faults = decode_memory(recipe({"model": QWEN, "name": "a"}), 1.6)
    assert len(faults) == 1 and "tensor_parallel_size" not in faults[0]
