"""Tiny random-weight models with real-world tokenizers: what a smoke test needs and no accuracy at all.

A `models.builder` for recipes. Each model copies the manners of a published family: its special tokens, its chat
template (one opens the thought itself, one does not, one brings its own system prompt) and a byte-level BPE vocabulary
that shares no numbering with the others.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cord_distill.common.errors import CordError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

VERSION = 1
STAMP = "random_model.json"
MAX_LENGTH = 4096
THOUGHT_TOKENS = ("<think>", "</think>")

# Turns as the DeepSeek-R1-Distill template writes them: BOS in the template, earlier thoughts dropped.
R1_TEMPLATE = """\
{%- set ns = namespace(system='') -%}
{%- for message in messages if message['role'] == 'system' -%}
{%- set ns.system = message['content'] -%}
{%- endfor -%}
{{- bos_token + ns.system -}}
{%- for message in messages -%}
{%- if message['role'] == 'user' -%}
{{- '<｜User｜>' + message['content'] -}}
{%- elif message['role'] == 'assistant' -%}
{{- '<｜Assistant｜>' + message['content'].split('</think>')[-1] + '<｜end▁of▁sentence｜>' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<｜Assistant｜><think>\\n' -}}
{%- endif -%}
"""

# ChatML as QwQ writes it: thoughts of all turns but the last are dropped.
QWQ_TEMPLATE = """\
{%- for message in messages -%}
{%- set content = message['content'] -%}
{%- if message['role'] == 'assistant' and not loop.last -%}
{%- set content = content.split('</think>')[-1].lstrip('\\n') -%}
{%- endif -%}
{{- '<|im_start|>' + message['role'] + '\\n' + content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n<think>\\n' -}}
{%- endif -%}
"""

# Phi-4-reasoning: a system prompt of its own when the conversation brings none; the model opens the thought itself.
PHI4_TEMPLATE = """\
{%- if not messages or messages[0]['role'] != 'system' -%}
{{- '<|im_start|>system<|im_sep|>You are a careful assistant. Explore the question in steps and check each one. ' -}}
{{- 'Write a Thought and a Solution in this format: <think> {Thought section} </think> {Solution section}.' -}}
{{- '<|im_end|>' -}}
{%- endif -%}
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '<|im_sep|>' + message['content'] + '<|im_end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant<|im_sep|>' -}}
{%- endif -%}
"""

CHATML_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""

# How digits are cut is where real vocabularies differ most in mathematics.
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
ONE_DIGIT, THREE_DIGITS, ANY_DIGITS = WORDS % r"\p{N}", WORDS % r"\p{N}{1,3}", WORDS % r"\p{N}+"


@dataclass(frozen=True)
class Family:
    """One model's manners. vocab counts all ids, added tokens included; split is the regex before the merges.

    adds_bos: as published, encode() puts BOS in front, so a rendered template encoded carelessly has two.
    thought_tokens: `<think>` and `</think>` are tokens of their own; else they are spelled out.
    """

    vocab: int
    split: str
    template: str
    architecture: str
    special: tuple[str, ...]
    eos: str
    pad: str
    bos: str | None = None
    adds_bos: bool = False
    thought_tokens: bool = True


FAMILIES = {
    "r1": Family(
        vocab=600,
        split=ONE_DIGIT,
        template=R1_TEMPLATE,
        architecture="qwen3",
        special=("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
        bos="<｜begin▁of▁sentence｜>",
        adds_bos=True,
        eos="<｜end▁of▁sentence｜>",
        pad="<｜end▁of▁sentence｜>",
    ),
    "qwq": Family(
        vocab=700,
        split=ONE_DIGIT,
        template=QWQ_TEMPLATE,
        architecture="qwen3",
        special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        eos="<|im_end|>",
        pad="<|endoftext|>",
    ),
    "phi4": Family(
        vocab=800,
        split=THREE_DIGITS,
        template=PHI4_TEMPLATE,
        architecture="llama",
        special=("<|endoftext|>", "<|dummy_85|>", "<|im_start|>", "<|im_end|>", "<|im_sep|>"),
        bos="<|endoftext|>",
        eos="<|im_end|>",
        pad="<|dummy_85|>",
    ),
    "prover": Family(
        vocab=900,
        split=ANY_DIGITS,
        template=CHATML_TEMPLATE,
        architecture="llama",
        special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        eos="<|im_end|>",
        pad="<|endoftext|>",
    ),
}


def build_models(
    folder: str | Path, *, seed: int = 0, names: Sequence[str] = ("r1", "qwq", "phi4", "prover")
) -> dict[str, Path]:
    """Writes one model folder per name under `folder` and returns their paths; a folder that is there is kept.

    The same seed gives the same files, byte for byte. `r1` is also meant to be the student.
    """
    unknown = sorted(set(names) - set(FAMILIES))
    if unknown:
        raise CordError(f"random_models: no model is called {unknown[0]!r}; there are: {', '.join(FAMILIES)}")
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    return {name: _build(root / name, name, seed) for name in names}


def _build(target: Path, name: str, seed: int) -> Path:
    stamp = {"builder": "cord_distill.worlds.random_models", "version": VERSION, "name": name, "seed": seed}
    if target.is_dir():
        found = target / STAMP
        if found.is_file() and json.loads(found.read_text()) == stamp:
            return target
        raise CordError(
            f"{target} is there, but is not the random model {name!r} of seed {seed}; remove it and run again"
        )
    partial = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=target.parent))
    try:
        _write(partial, name, seed)
        (partial / STAMP).write_text(json.dumps(stamp, indent=2) + "\n")
        partial.chmod(0o755)  # mkdtemp makes private folders
        partial.rename(target)
    except OSError:
        if not target.is_dir():  # else another process built the same one first
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _write(folder: Path, name: str, seed: int) -> None:
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.utils import logging

    family = FAMILIES[name]
    tokenizer = build_tokenizer(family, name, seed)
    config = _config(family, tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random.Random(f"{seed}/{name}/weights").getrandbits(63))
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    # do_sample must be on: evaluation backends refuse several samples from a checkpoint that decodes greedily.
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        do_sample=True,
        temperature=0.6,
        top_p=0.95,
    )
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    if bars:
        logging.enable_progress_bar()
    tokenizer.save_pretrained(folder)


def _config(family: Family, tokenizer: PreTrainedTokenizerFast) -> Any:
    from transformers import LlamaConfig, Qwen3Config

    make = {"llama": LlamaConfig, "qwen3": Qwen3Config}[family.architecture]
    return make(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,  # vLLM's CPU attention takes no smaller head
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )


def build_tokenizer(family: Family, name: str, seed: int = 0) -> PreTrainedTokenizerFast:
    """A tokenizer with the manners of `family`, its vocabulary trained on the spot. name and seed decide the merges."""
    from tokenizers import AddedToken, processors
    from transformers import PreTrainedTokenizerFast

    core = _bpe(family, name, seed)
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in family.special])
    if family.thought_tokens:
        core.add_tokens([AddedToken(token, special=False, normalized=False) for token in THOUGHT_TOKENS])
    if family.adds_bos:
        bos = str(family.bos)
        core.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, core.token_to_id(bos))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=family.bos,
        eos_token=family.eos,
        pad_token=family.pad,
        chat_template=family.template,
        clean_up_tokenization_spaces=False,
        model_max_length=MAX_LENGTH,
    )


def _bpe(family: Family, name: str, seed: int) -> Tokenizer:
    """A byte-level BPE, trained on the spot, whose ids are then shuffled: ids of one model mean nothing to another."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(family.split), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    size = family.vocab - len(family.special) - len(THOUGHT_TOKENS) * family.thought_tokens
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    rng = random.Random(f"{seed}/{name}/text")
    core.train_from_iterator(_corpus(rng), trainer)
    trained = json.loads(core.to_str())["model"]
    tokens = sorted(trained["vocab"])
    rng.shuffle(tokens)
    merges = [(left, right) for left, right in trained["merges"]]
    core.model = models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges)
    return core


def _corpus(rng: random.Random) -> Iterator[str]:
    """Mathematical English with LaTeX, numbers and step markers: enough for the merges of the largest vocabulary."""
    for _ in range(1500):
        a, b, c = rng.randint(0, 20), rng.randint(1, 999), rng.randint(0, 99999)
        formula = rng.choice(MATHS).format(a=a, b=b, c=c)
        deed = f"{rng.choice(STARTS)} {rng.choice(VERBS)} the {rng.choice(THINGS)}"
        yield f"{deed} ${formula}$, {rng.choice(ENDS)} {c}.\n"
        if rng.random() < 0.3:
            yield f"\n### Step {rng.randint(1, 40)}. Because \\({formula}\\), the {rng.choice(THINGS)} is {b}.\n\n"
        if rng.random() < 0.1:
            yield f"The final answer is \\boxed{{{c}}}.\n"


STARTS = (
    "Let us|We can|So we|Now we|Wait, we should|Therefore we|First, we|Hmm, maybe we|Alternatively, I could|"
    "Okay, let me|Suppose that you|By symmetry they|Finally, we must|Actually, one might|Recall how to"
).split("|")
VERBS = (
    "compute|consider|simplify|check|factor|substitute|count|rewrite|bound|expand|verify|minimize|maximize|evaluate|"
    "differentiate|integrate|eliminate|estimate|compare|choose|construct|understand|double-check|solve for"
).split("|")
THINGS = (
    "equation|triangle|sum|number of ways|remainder|polynomial|probability|sequence|integral|product of the roots|"
    "perimeter|geometric series|common difference|radius of the circle|quadratic function|prime factorization|"
    "expected value|greatest common divisor|area between both curves|permutation|matrix|inequality|hypotenuse|"
    "complex number|derivative|modulus|intersection point|binomial coefficient|logarithm|angle bisector"
).split("|")
ENDS = (
    "which is|which gives|hence the result equals|so that would be|and this leaves|contradicting our guess of|"
    "exactly as expected:|because every other case yields|where each term contributes|but not more than"
).split("|")
MATHS = (
    "\\frac{{{a}}}{{{b}}}|x^{{{a}}}+{b}x-{c}=0|\\sqrt{{{a}}}|\\sum_{{i=1}}^{{{b}}} i|{a} \\cdot {b} = {c}|"
    "a_{{{a}}} \\leq {b}|\\sin\\theta = {a}|\\left({a},{b}\\right)|n \\equiv {a} \\pmod{{{b}}}|"
    "\\binom{{{b}}}{{{a}}}|\\int_{{0}}^{{{a}}} f(t)\\,dt|\\lfloor \\log_{{2}} {b} \\rfloor|\\angle ABC = {b}^\\circ|"
    "\\begin{{align*}} y &= {a}z \\\\ z &= {b} \\end{{align*}}|\\text{{if }} k \\geq {a}|"
    "\\overline{{AB}} \\parallel {{CD}}"
).split("|")
