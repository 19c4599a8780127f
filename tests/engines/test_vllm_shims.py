"""What is replaced inside tokenizers for vLLM gives the same results as what was there."""

import random

import pytest


@pytest.mark.parametrize("name", ["r1", "qwq", "phi4"])
def test_a_tail_primed_stream_gives_the_text_of_one_primed_with_the_whole_prompt(random_models, name):
    """Random tokens and split characters, behind a prompt of whole characters."""
    from tokenizers.decoders import DecodeStream

    from cord_distill.engines.vllm.shims import TAIL
    from cord_distill.prompts.render import load_renderer

    core = load_renderer(str(random_models[name])).tokenizer.backend_tokenizer
    rng = random.Random(name)
    whole_class = getattr(DecodeStream, "cord_whole", DecodeStream)
    texts = ["数学です 👩‍🔬 e\u0301 \\frac{1}{2}" * 40, "plain words and $x^2$ " * 60]
    for trial in range(60):
        ids = core.encode(rng.choice(texts), add_special_tokens=False).ids
        if trial % 2:
            ids = [rng.randrange(core.get_vocab_size()) for _ in range(400)]
        cut = rng.randrange(TAIL, len(ids) - 40)
        while core.decode(ids[:cut], skip_special_tokens=False).endswith("\ufffd"):
            cut -= 1  # our prompts end with whole characters; else a stream gives back its whole primer at once
        streams = [whole_class(ids=ids[:cut]), whole_class(ids=ids[:cut][-TAIL:])]
        said: list[list] = [[], []]
        for stream, words in zip(streams, said, strict=True):
            try:
                words.extend(stream.step(core, token) for token in ids[cut : cut + 40])
            except Exception as error:
                words.append(type(error).__name__)
        assert said[0] == said[1]


def test_installed_twice_it_is_installed_once():
    """Fails the version that wraps its own wrapper at every engine's start."""
    from tokenizers import decoders

    from cord_distill.engines.vllm.shims import TAIL, install

    install()
    first = decoders.DecodeStream
    install()
    assert decoders.DecodeStream is first and first.cord_tail == TAIL


@pytest.mark.slow
def test_the_known_engine_arguments_are_those_of_the_installed_vllm():
    """Fails when vLLM is upgraded and engine_keys.json is not."""
    from typing import get_args

    from vllm.config.cache import CacheDType

    from cord_distill.engines.vllm.engine_keys import KV_CACHE_DTYPES, known_engine_keys, vllm_engine_keys

    assert known_engine_keys() == {*vllm_engine_keys()}
    assert {*KV_CACHE_DTYPES} == {*get_args(CacheDType)}
