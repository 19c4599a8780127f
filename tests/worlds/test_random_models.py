"""The random-weight models: texts survive their tokenizers, templates keep their families' manners, builds are safe."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from cord_distill.common.errors import CordError
from cord_distill.worlds.random_models import FAMILIES, STAMP, build_models

ASK = [{"role": "user", "content": "What is $\\frac{1}{2}+1$?"}]
ROUND_TRIP = (
    "So \\(\\frac{1}{2}+\\sqrt{x^{2}}=\\boxed{\\dfrac{7}{12}}\\), wait.\n\n### Step 2. 3.14159\t  end \n",
    "设 $a_{1}=3$，则 ∑_{i≤n} a_i ≥ 2ⁿ。 数学です",
    "👩‍🔬 e\u0301 naïve \u00a0 ﬁ \u200b don't I'm 12345678",
    "<think>\nOkay\n</think>\n\nThe answer is \\boxed{0}.",
)
THOUGHT = {"role": "assistant", "content": "<think>\nHmm.\n</think>\n\nIt is 1.5."}


@pytest.fixture(scope="module")
def tokenizers(random_models: dict[str, Path]) -> dict[str, Any]:
    from transformers import AutoTokenizer

    return {name: AutoTokenizer.from_pretrained(path) for name, path in random_models.items()}


def render(tokenizer: Any, messages: list[dict[str, str]], generation: bool = False) -> str:
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("text", ROUND_TRIP)
def test_text_comes_back_unchanged(tokenizers: dict[str, Any], name: str, text: str) -> None:
    ids = tokenizers[name].encode(text, add_special_tokens=False)
    assert tokenizers[name].decode(ids) == text


@pytest.mark.parametrize("name", FAMILIES)
def test_vocabulary_fits_the_embedding(random_models: dict[str, Path], tokenizers: dict[str, Any], name: str) -> None:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(random_models[name])
    assert config.vocab_size == len(tokenizers[name]) == FAMILIES[name].vocab
    assert config.eos_token_id == tokenizers[name].convert_tokens_to_ids(FAMILIES[name].eos)


def test_ids_of_one_model_mean_nothing_to_another(tokenizers: dict[str, Any]) -> None:
    codes = [tuple(t.encode(ROUND_TRIP[0], add_special_tokens=False)) for t in tokenizers.values()]
    assert len(set(codes)) == 4
    same = [a for a, b in zip(*codes[:2], strict=False) if a == b]
    assert len(same) < 5


def test_thought_tags_are_one_token_and_not_special(tokenizers: dict[str, Any]) -> None:
    for tokenizer in tokenizers.values():
        for tag in ("<think>", "</think>"):
            (token,) = tokenizer.encode(tag, add_special_tokens=False)
            assert tokenizer.decode([token], skip_special_tokens=True) == tag


def test_one_bos_from_the_template_two_from_careless_encoding(tokenizers: dict[str, Any]) -> None:
    r1 = tokenizers["r1"]
    text = render(r1, ASK, generation=True)
    assert text.startswith("<｜begin▁of▁sentence｜><｜User｜>What")
    assert r1.encode(text, add_special_tokens=False).count(r1.bos_token_id) == 1
    assert r1.encode(text).count(r1.bos_token_id) == 2
    for name in ("qwq", "prover"):
        assert tokenizers[name].bos_token is None


def test_generation_prompts(tokenizers: dict[str, Any]) -> None:
    ends = {name: render(t, ASK, generation=True).rpartition("+1$?")[2] for name, t in tokenizers.items()}
    assert ends == {
        "r1": "<｜Assistant｜><think>\n",
        "qwq": "<|im_end|>\n<|im_start|>assistant\n<think>\n",
        "phi4": "<|im_end|><|im_start|>assistant<|im_sep|>",
        "prover": "<|im_end|>\n<|im_start|>assistant\n",
    }


def test_only_phi4_brings_a_system_prompt_and_ours_replaces_it(tokenizers: dict[str, Any]) -> None:
    system = [{"role": "system", "content": "Be brief."}, *ASK]
    for name, tokenizer in tokenizers.items():
        assert ("careful assistant" in render(tokenizer, ASK)) == (name == "phi4")
        assert render(tokenizer, system).count("Be brief.") == 1
        assert "careful assistant" not in render(tokenizer, system)


def test_earlier_thoughts_are_dropped_as_the_real_templates_do(tokenizers: dict[str, Any]) -> None:
    more = [*ASK, THOUGHT, *ASK]
    kept_earlier = {name for name, t in tokenizers.items() if "Hmm." in render(t, more)}
    kept_last = {name for name, t in tokenizers.items() if "Hmm." in render(t, [*ASK, THOUGHT])}
    assert kept_earlier == {"phi4", "prover"}
    assert kept_last == {"qwq", "phi4", "prover"}


def test_models_load_and_sample_by_default(random_models: dict[str, Path]) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    for path in random_models.values():
        model = AutoModelForCausalLM.from_pretrained(path)
        assert model.dtype == torch.float32
        assert model.generation_config.do_sample and model.generation_config.temperature == 0.6
        with torch.no_grad():
            logits = model(torch.tensor([[1, 2, 3]])).logits
        assert logits.shape == (1, 3, model.config.vocab_size) and bool(torch.isfinite(logits).all())


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_same_seed_same_bytes_another_seed_other_weights(random_models: dict[str, Path], tmp_path: Path) -> None:
    again = build_models(tmp_path / "again", names=["qwq"])["qwq"]
    assert digests(again) == digests(random_models["qwq"])
    other = build_models(tmp_path / "other", seed=1, names=["qwq"])["qwq"]
    assert digests(other)["model.safetensors"] != digests(again)["model.safetensors"]
    assert digests(other)["tokenizer.json"] != digests(again)["tokenizer.json"]


def test_present_folders_are_kept_and_foreign_ones_refused(random_models: dict[str, Path]) -> None:
    root = random_models["r1"].parent
    before = (random_models["r1"] / STAMP).stat().st_mtime_ns
    assert build_models(root) == random_models
    assert (random_models["r1"] / STAMP).stat().st_mtime_ns == before
    assert {p.name for p in root.iterdir()} == set(FAMILIES)
    with pytest.raises(CordError, match="seed 7"):
        build_models(root, seed=7)
    with pytest.raises(CordError, match="'gpt'"):
        build_models(root, names=["gpt"])
