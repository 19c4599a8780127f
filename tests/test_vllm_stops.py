"""Stop strings found by bytes end a text where vLLM's own search ends it."""

import random
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.slow

STOPS = [("\n\n### Step", "</think>"), ("\n",), ("é",), ("ab", "b"), ("数学", "学で"), ("</think>",), (" the answer",)]
TEXTS = [
    "First\n\n### Step 2: so ab, and é.\n数学です</think> the answer",
    "plain words and $x^2$, the answ the answer is 4",
    "naïve café 👩‍🔬 \\frac{1}{2}\n\n### Ste\n\n### Step",
]


@pytest.fixture(scope="module")
def tokenizers_by_name(random_models):
    from cord_distill.prompts.render import load_renderer

    return {name: load_renderer(str(random_models[name])).tokenizer for name in ("r1", "qwq", "phi4")}


def bytes_of(text, tokenizer):
    """A token for each byte: as a model writes rare characters."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    ids = [tokenizer._tokenizer.token_to_id(bytes_to_unicode()[byte]) for byte in text]
    assert None not in ids
    return ids


def stream(tokenizer, ids, stop, *, by_bytes, stop_token=None):
    """(matched, text, tokens taken) of a request that is given `ids` one by one."""
    from cord_distill.engines.vllm import stops as vllm_stops

    vllm_stops.install()
    params = SimpleNamespace(
        stop=list(stop), min_tokens=0, include_stop_str_in_output=False, skip_special_tokens=False,
        spaces_between_special_tokens=False, extra_args={vllm_stops.BY_BYTES: True} if by_bytes else None,
    )  # fmt: skip
    request = SimpleNamespace(request_id="0", sampling_params=params, prompt_token_ids=tokenizer.encode("hello"))
    detokenizer = vllm_stops.IncrementalDetokenizer.from_new_request(tokenizer, request)
    assert isinstance(detokenizer, vllm_stops.StopFinder) == by_bytes
    matched = None
    for token in ids:
        matched = detokenizer.update([token], token == stop_token)
        if matched or token == stop_token:
            break
    return matched, detokenizer.get_next_output_text(finished=True, delta=False), detokenizer.output_token_ids


@pytest.mark.parametrize("name", ["r1", "qwq", "phi4"])
def test_it_stops_where_vllm_stops(tokenizers_by_name, name):
    """Whole texts in their own tokens and in single bytes, and noise. Fails a search of the last token alone, and one
    that takes `### Ste` for its stop string."""
    tokenizer = tokenizers_by_name[name]
    core, rng = tokenizer._tokenizer, random.Random(name)
    found = 0
    for trial in range(300):
        text = rng.choice(TEXTS)
        ids = core.encode(text, add_special_tokens=False).ids
        if trial % 3 == 1:
            ids = bytes_of(text.encode(), tokenizer)
        if trial % 3 == 2:
            ids = [rng.randrange(core.get_vocab_size()) for _ in range(60)]
            ids[30:30] = bytes_of(b" abcd\xe9", tokenizer)
        stop = rng.choice(STOPS)
        ours, theirs = (stream(tokenizer, ids, stop, by_bytes=by_bytes) for by_bytes in (True, False))
        assert ours[:2] == theirs[:2], (stop, ids)
        # vLLM may wait for the rest of a character behind the stop string.
        assert theirs[2][: len(ours[2])] == ours[2] and len(theirs[2]) - len(ours[2]) <= 4
        found += ours[0] is not None
    assert found > 60


def test_a_stop_token_is_no_text(tokenizers_by_name):
    tokenizer = tokenizers_by_name["qwq"]
    ids = [*tokenizer._tokenizer.encode("so it is", add_special_tokens=False).ids, 7]
    for by_bytes in (True, False):
        matched, text, taken = stream(tokenizer, ids, ("\n",), by_bytes=by_bytes, stop_token=7)
        assert (matched, text, taken) == (None, "so it is", ids)


def test_a_text_that_is_cut_inside_a_character_ends_before_it(tokenizers_by_name):
    tokenizer = tokenizers_by_name["qwq"]
    ids = [*tokenizer._tokenizer.encode("so", add_special_tokens=False).ids, *bytes_of("学".encode()[:1], tokenizer)]
    assert stream(tokenizer, ids, ("\n",), by_bytes=True)[1] == "so"
    assert stream(tokenizer, ids, ("\n",), by_bytes=False)[1] == "so"


@pytest.mark.parametrize("name", ["r1", "qwq", "phi4"])
def test_a_token_has_the_bytes_that_it_is_decoded_to(tokenizers_by_name, name):
    """Fails a table that takes the tokenizer's letters for bytes (Ġ for a space)."""
    from cord_distill.engines.vllm.stops import token_bytes

    core = tokenizers_by_name[name]._tokenizer
    table = token_bytes(core)
    assert len(table) == core.get_vocab_size()
    for token, said in table.items():
        assert core.decode([token], skip_special_tokens=False) == said.decode("utf-8", errors="replace")
    sentence = core.encode("naïve 数学 $x$\n", add_special_tokens=False).ids
    assert b"".join(table[token] for token in sentence) == "naïve 数学 $x$\n".encode()
