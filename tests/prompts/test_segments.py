"""Tokenizers that put a blank before every text: steps that are encoded one after another are still the whole text."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from cord_distill.common.errors import CordError
from cord_distill.decode.engine_pool import longest_context
from cord_distill.decode.model import Model
from cord_distill.engines.base import Generation, Sampling
from cord_distill.prompts.render import Renderer
from cord_distill.recipe.recipe import Recipe
from cord_distill.search.segment import StepMarker
from cord_distill.types import Problem, Step, Stop

# As Mistral's: the template writes BOS, and the roles are control tokens.
TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
{%- if message['role'] == 'user' -%}
{{- '[INST] ' + message['content'] + '[/INST]' -}}
{%- else -%}
{{- ' ' + message['content'] + eos_token -}}
{%- endif -%}
{%- endfor -%}
"""
TEXT = (
    "The sum of 12 and 30 is 42, so x = 3.\n",
    "### Step 1. Because it is \\frac{1}{2}\n\n",
    "Add 2+3. Adding it gives 5.\n",
    "</think>\n\nThe final answer is \\boxed{5}.\n",
) * 60
STEPS = ("### Step 1. Add 2+3.\n\n", "### Step 2. So it is 5.\n\n", "### Step 3. x = 5.\n</think>")
KINDS = ("first", "always", "never", "prepend")


def spaced(kind: str) -> Any:
    """first: Mistral v0.3. always: Llama 2 as newer files write it. prepend: Llama 2's older file. never: no blank."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if kind == "prepend":
        core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=kind, split=False)
    ends: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    core.decoder = decoders.Sequence(ends if kind == "never" else [*ends, decoders.Strip(" ", 1, 0)])
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=640, special_tokens=["<unk>", *bytes_], show_progress=False)
    core.train_from_iterator(TEXT, trainer)
    # Bytes are ordinary tokens of the vocabulary in published files.
    vocabulary = json.loads(core.to_str())
    vocabulary["added_tokens"] = [one for one in vocabulary["added_tokens"] if one["content"] == "<unk>"]
    core = Tokenizer.from_str(json.dumps(vocabulary))
    core.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t in ("<s>", "</s>", "[INST]", "[/INST]")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=TEMPLATE
    )


@pytest.fixture(scope="module", params=KINDS)
def renderer(request: pytest.FixtureRequest) -> Renderer:
    return Renderer(spaced(request.param), name=request.param)


class Recites:
    """An engine that continues `ids` as the whole text's own encoding goes on, up to the next marker or tag."""

    def __init__(self, renderer: Renderer, texts: list[str]) -> None:
        self.renderer, self.texts = renderer, texts

    async def generate(self, ids: list[int], sampling: Sampling) -> Generation:
        text = self.texts.pop(0)
        return Generation(tuple(self.renderer.coder.encode(text)), text, Stop.STEP, "### Step")


def test_steps_encoded_one_after_another_are_the_whole_text(renderer: Renderer) -> None:
    """Fails for plain `encode`: the ids say `<think>\\n ### Step 1. Add 2+3.\\n\\n ### Step 2.`"""
    steps = tuple(Step(i + 1, "other", text, (), 9, None, Stop.STEP) for i, text in enumerate(STEPS))
    model = Model("m", "m", None, renderer, Sampling(0, 0))  # type: ignore[arg-type]
    ids = model.context_ids("What is 2+3?", steps)
    assert renderer.decode(ids).endswith("<think>\n" + "".join(STEPS))
    whole = renderer.encode("<think>\n" + "".join(STEPS))
    assert ids[-5:] == whole[-5:]


def test_a_proposal_keeps_its_first_blank(renderer: Renderer) -> None:
    """Fails for the published decoder, which strips it: `### Step 1.take 3`, while the ids say `### Step 1. take 3`."""
    engine = Recites(renderer, [" take 3\n\n### Step"])
    model = Model("m", "m", engine, renderer, Sampling(0, 0))  # type: ignore[arg-type]
    made = asyncio.run(model.propose("2+3?", (), StepMarker("### Step {t}."), max_tokens=99, seed=0))
    assert made.text == "### Step 1. take 3\n\n"
    assert renderer.decode(made.ids) == made.text


def test_the_prompt_is_read_as_the_models_own_tokenizer_reads_it(renderer: Renderer) -> None:
    """Fails where the blank that the model knows from its own training is taken away from the prompt too."""
    text = renderer.prompt_text("What is 2+3?")
    assert renderer.prompt_ids("What is 2+3?") == renderer.tokenizer.encode(text, add_special_tokens=False)


def test_a_row_trains_the_tokens_of_the_text(renderer: Renderer, tmp_path: Path) -> None:
    """Fails where the first trained token is the one with a blank before it, which the model never writes there."""
    from cord_distill.training.rows import render

    said = "<think>\n2+3 = 5\n</think>\n\nThe final answer is \\boxed{5}."
    row = {"prompt": [{"role": "user", "content": "2+3?"}], "completion": [{"role": "assistant", "content": said}]}
    file = tmp_path / "train.jsonl"
    file.write_text(json.dumps(row) + "\n")
    (labels,) = render(file, renderer, max_length=999, max_tokens=None, context=None).columns["labels"]
    trained = [i for i in labels if i != -100]
    assert not renderer.tokenizer.convert_ids_to_tokens(trained)[0].startswith("▁")
    assert renderer.decode(trained[:-1]) == said.removeprefix("<think>\n")


def test_the_saved_tokenizer_is_the_models_own(renderer: Renderer, tmp_path: Path) -> None:
    """Fails for a version that switches the blank off in the tokenizer itself, which training then saves."""
    before = renderer.tokenizer.backend_tokenizer.to_str()
    renderer.encode("x")
    assert renderer.tokenizer.backend_tokenizer.to_str() == before


def test_offsets_are_those_of_the_text(renderer: Renderer) -> None:
    model = Model("m", "m", None, renderer, Sampling(0, 0))  # type: ignore[arg-type]
    before, target = model.answer_ids(" </think> The final answer is {A}.", "42")
    assert renderer.decode(before + target) == " </think> The final answer is 42"
    assert "42" in renderer.decode(target) and "is" not in renderer.decode(target)


def lower_casing() -> Any:
    """As BERT's: text does not come back, whatever is done about blanks."""
    from tokenizers import normalizers

    tokenizer = spaced("never")
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    return tokenizer


def test_a_tokenizer_that_changes_text_is_refused_with_what_it_does() -> None:
    """Fails for a round trip of one text that happens to have no capital letter, and for a guessed cause."""
    recipe = Recipe.model_validate({"name": "r"})
    problem = Problem("1", "what is 2+3?", "5")
    with pytest.raises(CordError, match=r"bert: its tokenizer gives back '.*### step 1.*' for '.*### Step 1"):
        longest_context(Renderer(lower_casing(), name="bert"), recipe, [problem])
    for kind in KINDS:
        longest_context(Renderer(spaced(kind), name=kind), recipe, [problem])
