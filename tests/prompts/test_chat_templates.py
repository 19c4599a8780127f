"""Prompt, row and mask under the published models' own chat templates, token by token.

The tokenizers are byte-level BPEs trained on the spot, with the models' special tokens and their manners (BOS put in
front by encode(), digits one by one or in threes, `<think>` a token or spelled out). Where the templates come from:
data/chat_templates/README.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from cord_distill.common.errors import CordError
from cord_distill.worlds.random_models import ONE_DIGIT, THREE_DIGITS, Family, build_tokenizer

OWN = Path(__file__).parents[1] / "data" / "chat_templates"
QUESTION = "Find $\\frac{1}{2}x$ for x = 12345 数学."
THOUGHT = "### Step 1. so $\\frac{1}{2}$ of 12345\n\n### Step 2. wait, é≤5\n\n"
COMPLETION = f"{THOUGHT}</think>\n\nThe answer is \\boxed{{4}}."
R1_TOKENS = (
    *("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜tool▁calls▁begin｜>"),
    *("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"),
)
CHATML_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|box_start|>", "<|box_end|>")
PHI_TOKENS = ("<|endoftext|>", "<|fim_prefix|>", "<|dummy_85|>", "<|im_start|>", "<|im_end|>", "<|im_sep|>")


@dataclass(frozen=True)
class Published:
    """One model. prompt: what its template makes of QUESTION, and `<think>` where the template leaves it to the model.

    keeps_thought: whether the template, given the row as messages, keeps the thought of the last turn.
    """

    template: str
    tokens: tuple[str, ...]
    eos: str
    prompt: str
    keeps_thought: bool
    bos: str | None = None
    adds_bos: bool = False
    split: str = ONE_DIGIT
    thought_tokens: bool = True
    pad: str = "<|endoftext|>"
    architecture: str = "qwen3"


R1_PROMPT = "<｜begin▁of▁sentence｜><｜User｜>{Q}<｜Assistant｜><think>\n"
R1: dict[str, Any] = {
    "template": "trl:deepseek_r1_distill", "tokens": R1_TOKENS, "bos": R1_TOKENS[0], "eos": R1_TOKENS[1],
    "pad": R1_TOKENS[1], "adds_bos": True, "prompt": R1_PROMPT, "keeps_thought": False,
}  # fmt: skip
CHATML: dict[str, Any] = {"tokens": CHATML_TOKENS, "eos": "<|im_end|>"}
USER = "<|im_start|>user\n{Q}<|im_end|>\n<|im_start|>assistant\n<think>\n"
MODELS = {
    "R1-Distill-Qwen": Published(**R1),
    "R1-Distill-Llama": Published(**R1, split=THREE_DIGITS, architecture="llama"),
    "Qwen2.5": Published(
        template="trl:qwen2_5",
        prompt="<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
        + USER,
        thought_tokens=False,
        keeps_thought=True,
        **CHATML,
    ),
    "Qwen3": Published(template="trl:qwen3", prompt=USER, keeps_thought=True, **CHATML),
    "QwQ": Published(template="qwq_32b", prompt=USER, keeps_thought=False, **CHATML),
    "Phi-4-reasoning": Published(
        template="phi4_reasoning",
        tokens=PHI_TOKENS,
        bos="<|endoftext|>",
        eos="<|im_end|>",
        pad="<|dummy_85|>",
        prompt="{PHI}<|im_start|>user<|im_sep|>{Q}<|im_end|><|im_start|>assistant<|im_sep|><think>\n",
        keeps_thought=True,
        split=THREE_DIGITS,
        architecture="llama",
    ),
}


def template_of(name: str) -> str:
    package, _, file = name.rpartition(":")
    if not package:
        return (OWN / f"{file}.jinja").read_text(encoding="utf-8")
    spec = find_spec(package)  # its files are read; the package itself takes 20 s to import
    assert spec is not None and spec.submodule_search_locations
    return (Path(spec.submodule_search_locations[0]) / "chat_templates" / f"{file}.jinja").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def renderers() -> dict[str, Any]:
    from cord_distill.prompts.render import Renderer

    made = {}
    for name, one in MODELS.items():
        family = Family(
            vocab=640, split=one.split, template=template_of(one.template), architecture=one.architecture,
            special=one.tokens, eos=one.eos, pad=one.pad, bos=one.bos, adds_bos=one.adds_bos,
            thought_tokens=one.thought_tokens,
        )  # fmt: skip
        tokenizer = build_tokenizer(family, name)
        tokenizer.add_tokens(["\n\n"])  # one token in every real vocabulary
        made[name] = Renderer(tokenizer, name=name)
    return made


def row(system: str = "", question: str = QUESTION, completion: str = COMPLETION) -> dict[str, Any]:
    head = [{"role": "system", "content": system}] if system else []
    return {
        "prompt": [*head, {"role": "user", "content": question}],
        "completion": [{"role": "assistant", "content": f"<think>\n{completion}"}],
    }


def rendered(tmp_path: Path, renderer: Any, *rows: dict[str, Any]) -> Any:
    from cord_distill.training.rows import render

    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return render(path, renderer, max_length=4096, max_tokens=None, context=None)


def expected_prompt(name: str) -> str:
    phi = (OWN / "phi4_reasoning.jinja").read_text(encoding="utf-8").split("-#}", 1)[1].split("{%- for", 1)[0]
    said = "".join(part.split("' -}}")[0] for part in phi.split("{{- '")[1:])
    return MODELS[name].prompt.replace("{Q}", QUESTION).replace("{PHI}", said)


@pytest.mark.parametrize("name", MODELS)
def test_a_row_is_the_prompt_of_decoding_the_whole_thought_once_and_the_end(
    tmp_path: Path, renderers: dict[str, Any], name: str
) -> None:
    """Fails for the lazy versions: messages through the template (R1 and QwQ drop the thought), `<think>` twice where
    the template opens it, BOS twice where encode() adds one, and a prompt that is not the one of decoding."""
    renderer, one = renderers[name], MODELS[name]
    (ids,) = rendered(tmp_path, renderer, row()).columns["input_ids"]
    prompt = expected_prompt(name)
    assert renderer.decode(ids) == prompt + COMPLETION + one.eos
    assert renderer.decode(ids).count(THOUGHT) == 1
    bos = renderer.tokenizer.bos_token_id
    assert (0 if bos is None else ids.count(bos)) == (1 if one.adds_bos else 0)


@pytest.mark.parametrize("name", MODELS)
def test_the_mask_is_token_exact(tmp_path: Path, renderers: dict[str, Any], name: str) -> None:
    """Loss on the completion and the EOS that the model stops on; none on the prompt.

    Fails for a row that is encoded in one go: here the thought begins with a line break, which merges with the prompt's
    last token, so that the prompt is not the one of decoding and the mask is off by one.
    """
    from cord_distill.decode.model import Model
    from cord_distill.engines.base import Sampling

    renderer, one = renderers[name], MODELS[name]
    completion = f"\n{COMPLETION}"
    out = rendered(tmp_path, renderer, row(completion=completion))
    (ids,), (labels,) = out.columns["input_ids"], out.columns["labels"]
    decoding = Model(name, name, None, renderer, Sampling(0, 0)).context_ids(QUESTION, ())  # type: ignore[arg-type]
    assert ids[: len(decoding)] == decoding
    assert labels == [-100] * len(decoding) + ids[len(decoding) :]
    assert renderer.decode(labels[len(decoding) :]) == completion + one.eos
    assert labels[-1] == renderer.tokenizer.eos_token_id == renderer.end_of_turn_id
    assert labels.count(labels[-1]) == 1
    assert renderer.decode(decoding) == expected_prompt(name)


def test_which_templates_lose_the_thought_of_a_message(renderers: dict[str, Any]) -> None:
    """Why rows do not go through the template. Fails when a template is not the published one any more."""
    turn = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": f"<think>\n{COMPLETION}"}]
    kept = {
        name: THOUGHT.strip() in renderer.tokenizer.apply_chat_template(turn, tokenize=False)
        for name, renderer in renderers.items()
    }
    assert kept == {name: one.keeps_thought for name, one in MODELS.items()}


@pytest.mark.parametrize("name", MODELS)
def test_a_rows_own_system_message_is_kept_or_refused(tmp_path: Path, renderers: dict[str, Any], name: str) -> None:
    """Phi-4-reasoning has one system message and no other. Fails for a version that drops the row's in silence."""
    if name == "Phi-4-reasoning":
        with pytest.raises(CordError, match=r"line 1: .*leaves the system message 'Answer in verse.' out: put it into"):
            rendered(tmp_path, renderers[name], row(system="Answer in verse."))
        return
    (ids,) = rendered(tmp_path, renderers[name], row(system="Answer in verse.")).columns["input_ids"]
    text = renderers[name].decode(ids)
    assert text.count("Answer in verse.") == 1 and "You are Qwen" not in text


@pytest.mark.parametrize("name", MODELS)
def test_a_question_that_speaks_of_think_is_trained_as_text(
    tmp_path: Path, renderers: dict[str, Any], name: str
) -> None:
    """Fails for a version that opens a thought inside the question, and for one that drops the row. Phi-4's own system
    message speaks of the tag as well, and there it is the token."""
    renderer = renderers[name]
    out = rendered(tmp_path, renderer, row(), row(question="What does <think> do?"))
    assert (len(out.columns["labels"]), sum(out.dropped.values())) == (2, 0)
    tag = renderer.tokenizer.get_added_vocab().get("<think>")
    opened = [ids.count(tag) for ids in out.columns["input_ids"]]
    assert opened[0] == opened[1] and ("written out as text" in out.summary) == (tag is not None)
    assert "What does <think> do?" in renderer.decode(out.columns["input_ids"][1])
