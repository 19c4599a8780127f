"""A score belongs to a text: whoever wrote its steps, in whichever tokens, the meta-prover reads the same ids."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cord_distill.decode.model import Model
from cord_distill.engines.base import Sampling
from cord_distill.prompts.render import Renderer
from cord_distill.types import Step, Stop
from cord_distill.worlds.random_models import CHATML_TEMPLATE

SUFFIX = " </think> The final answer is {A}."
TEXTS = ("### Step 1. Add 2.\n\n", "### Step 2. So\n\n  it is 4.\n\n\n", "### Step 3. Yes.\n</think>")


@pytest.fixture(scope="module")
def gpt2() -> Renderer:
    """GPT-2's pre-tokenizer: of a run of white space, the last sign belongs to what follows, unless nothing does."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    core.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator(["### Step 1. Add it.\n\n", "So it is.\n\n\n", "The final answer is 4.\n\n"] * 40, trainer)
    core.add_special_tokens([AddedToken(t, special=True) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    return Renderer(
        PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", chat_template=CHATML_TEMPLATE),
        name="gpt2",
    )


class Keeps:
    """An engine that keeps what it is asked to score."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    async def logprobs(self, ids: list[int], target_ids: list[int]) -> list[float]:
        self.asked.append(ids + target_ids)
        return [-1.0] * len(target_ids)


def written(renderer: Renderer, how: str) -> tuple[Step, ...]:
    """The three steps as handed over (no ids of ours), or with ids as a model generates them: one by one, or whole."""
    steps = []
    for n, text in enumerate(TEXTS, start=1):
        ids: tuple[int, ...] = ()
        if how == "one by one":
            ids = tuple(i for letter in text for i in renderer.encode(letter))
        if how == "whole":
            ids = tuple(renderer.encode(text))
        steps.append(Step(n, "own" if ids else "other", text, ids, 9, None, Stop.STEP))
    return tuple(steps)


def scored_ids(renderer: Renderer, steps: tuple[Step, ...]) -> list[int]:
    engine: Any = Keeps()
    model = Model("own", "v", engine, renderer, Sampling(0, 0), vocabularies={"own": "v", "other": "w"})
    asyncio.run(model.score("2+2?", steps, SUFFIX, "4"))
    return engine.asked[0]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_the_score_of_a_text_is_that_of_the_whole_text_whoever_wrote_it(gpt2: Renderer, length: int) -> None:
    """Fails where own steps are scored as they were sampled, and where steps are encoded without what follows."""
    found = [scored_ids(gpt2, written(gpt2, how)[:length]) for how in ("handed over", "one by one", "whole")]
    assert found[0] == found[1] == found[2]
    text = "".join(TEXTS[:length]).removesuffix("</think>") + SUFFIX.partition("{A}")[0] + "4"
    assert found[0] == gpt2.prompt_ids("2+2?") + gpt2.encode(text)


def test_the_end_of_a_step_is_where_gpt2_cuts_otherwise(gpt2: Renderer) -> None:
    """Else the tests above could not fail."""
    parts = [i for text in TEXTS for i in gpt2.encode(text)]
    assert parts != gpt2.encode("".join(TEXTS)) and gpt2.decode(parts) == "".join(TEXTS)


def test_the_next_score_reads_what_the_last_one_left_in_the_cache(gpt2: Renderer) -> None:
    """Only the white space at the end of the last step may change: fails for ids that depend on all that follows."""
    one, two = (scored_ids(gpt2, written(gpt2, "handed over")[:n]) for n in (1, 2))
    shared = next(i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b)
    assert gpt2.decode(one[:shared]) in (gpt2.prompt_text("2+2?") + "### Step 1. Add 2." + tail for tail in ("", "\n"))
