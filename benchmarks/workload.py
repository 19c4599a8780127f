"""The fixed workload of the decoding benchmark: problems, models, forced lengths, and our pipeline bound to an engine.

Proposals end where their length says (16-112 tokens, uniform, mean 64, drawn from the request's seed): their last
tokens are the next marker, and its stop string ends them (forced_ending.py).
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cord_distill.decode.model import Model, Scored
from cord_distill.decode.pipelines import Ensemble
from cord_distill.decode.replay import Meter, ReplayEngine
from cord_distill.engines.base import Generation, Sampling
from cord_distill.engines.vllm.engine import VllmEngine
from cord_distill.prompts.render import Renderer, load_renderer
from cord_distill.recipe.decode import DecodeConfig
from cord_distill.recipe.models import ModelConfig
from cord_distill.run_folder.journal import Journal
from cord_distill.types import THINK_CLOSE, Problem, Step, Stop

MARKER = "### Step"
SHORTEST, LONGEST = 16, 112
# "8 + 5": tokens of the scoring suffix and of the answer, in the random models' vocabulary.
SUFFIX_TOKENS, ANSWER_TOKENS = 8, 5


@dataclass(frozen=True)
class Size:
    """How much work: problems P, proposals per prefix K, beams B, steps, tokens of a question."""

    problems: int = 16
    proposals: int = 3
    beams: int = 4
    steps: int = 12
    question: int = 200
    slots: int = 64


def marker_ids(renderer: Renderer) -> list[int]:
    return renderer.encode("\n\n" + MARKER)


def forced_length(seed: int) -> int:
    return SHORTEST + seed % (LONGEST - SHORTEST + 1)


@dataclass
class Forced:
    """An engine whose proposals have forced lengths. lengths, prompts: of the proposals, as asked."""

    engine: VllmEngine
    renderer: Renderer
    lengths: list[int] = field(default_factory=list)
    prompts: list[list[int]] = field(default_factory=list)
    generated: int = 0
    given: int = 0
    cached: int = 0

    def __post_init__(self) -> None:
        self.close_id = self.renderer.tokenizer.convert_tokens_to_ids(THINK_CLOSE)
        self.tail = marker_ids(self.renderer)

    def sampling(self, sampling: Sampling, length: int) -> Sampling:
        """No token may end the text before its length; stop strings are looked for at every token, and end it there."""
        never = (*sampling.banned_ids, *sampling.stop_ids, self.close_id)
        return replace(sampling, max_tokens=length, stop_ids=(), banned_ids=never)

    async def generate(self, ids: list[int], sampling: Sampling) -> Generation:
        if not sampling.stop:  # the final answer, which the workload does not hold
            return Generation((self.tail[0],), self.renderer.decode(self.tail[:1]), Stop.LENGTH)
        length = forced_length(sampling.seed)
        self.lengths.append(length)
        self.prompts.append(ids)
        out = await self.engine.generate(ids, self.sampling(sampling, length))
        self.generated += len(out.ids)
        self.given += len(ids)
        self.cached += out.cached
        return out

    async def logprobs(self, ids: list[int], target_ids: list[int]) -> list[float]:
        return await self.engine.logprobs(ids, target_ids)

    async def close(self) -> None:
        await self.engine.close()


class ScoresByDefault(Forced):
    """Scores as vLLM gives them when asked for nothing else: log-probs of the whole prompt, past the prefix cache."""

    async def logprobs(self, ids: list[int], target_ids: list[int]) -> list[float]:
        from vllm import SamplingParams

        out = await self.engine.runner.run(ids + target_ids, SamplingParams(max_tokens=1, prompt_logprobs=0))
        rows = out.prompt_logprobs[-len(target_ids) :]
        return [row[token].logprob for row, token in zip(rows, target_ids, strict=True)]


class Unscored:
    """A meta-prover that costs nothing: S from a hash, so that the search selects without a model."""

    def open_ids(self, step: Step) -> tuple[int, ...]:
        return step.ids

    async def score(self, question: str, steps: tuple, suffix: str, answer: str) -> Scored:
        digest = hashlib.sha256(steps[-1].text.encode()).digest()
        return Scored(int.from_bytes(digest[:4], "big") / 2**32, len(steps[-1].ids), 0)


class TextModel(Model):
    """A model whose state is text alone: every prompt is rendered and tokenised from its first character."""

    def context_ids(self, question: str, steps: tuple) -> list[int]:
        return self.renderer.encode(self.renderer.prompt_text(question) + "".join(step.text for step in steps))


def text_of(renderer: Renderer, tokens: int, rng: random.Random) -> str:
    """Some text of about `tokens` tokens."""
    words = ["compute", "the", "sum", "of", "factors", "$x^2$", "equals", "radius", "so", "that", "triangle", "7"]
    text = " ".join(rng.choice(words) for _ in range(tokens))
    return renderer.decode(renderer.encode(text)[:tokens])


def problems(renderer: Renderer, size: Size) -> list[Problem]:
    rng = random.Random(0)
    return [Problem(f"p{i}", text_of(renderer, size.question, rng), answer_of(renderer)) for i in range(size.problems)]


def answer_of(renderer: Renderer) -> str:
    """An answer of 5 tokens: the random models' vocabulary has one for each digit."""
    assert len(renderer.encode("12345")) == ANSWER_TOKENS
    return "12345"


def suffix_of(renderer: Renderer) -> str:
    """A suffix of exactly 8 tokens before `{A}`, whatever the vocabulary."""
    head = renderer.encode("\n</think> So the final answer we have found is surely this one")[:SUFFIX_TOKENS]
    return renderer.decode(head) + "{A}"


def build_model(folder: Path, *, layers: int, hidden: int, positions: int) -> Path:
    """A random Qwen3 (heads of 32, half as many for keys) with the tokenizer of the package's random `qwq`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from cord_distill.worlds.random_models import build_models

    source = build_models(folder / "base", names=("qwq",))["qwq"]
    target = folder / f"qwen3_{layers}x{hidden}"
    if not target.exists():
        config = AutoConfig.from_pretrained(source)
        config.hidden_size, config.intermediate_size = hidden, 2 * hidden
        config.num_attention_heads, config.num_key_value_heads = hidden // 32, hidden // 64
        config.num_hidden_layers, config.max_position_embeddings = layers, positions
        config.layer_types = ["full_attention"] * layers
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(target)
        AutoTokenizer.from_pretrained(source).save_pretrained(target)
    return target


async def start_engine(path: Path, size: Size, **settings: Any) -> tuple[VllmEngine, Renderer]:
    from forced_ending import EndsInMarker

    renderer = load_renderer(str(path), name="teacher")
    EndsInMarker.tail = marker_ids(renderer)
    forced = {"logits_processors": [EndsInMarker]}
    section = ModelConfig(model=str(path), max_num_seqs=size.slots, engine_args=forced, **settings)
    return await VllmEngine.start(section, str(path), deterministic=False), renderer


def ensemble(
    engine: Forced,
    prover: Any,
    renderer: Renderer,
    size: Size,
    *,
    model: type[Model] = Model,
) -> Ensemble:
    """The run's models, as `start_ensemble` makes them. prover: an engine, or None for `Unscored`."""
    sampling = Sampling(0, 0, temperature=1.0, top_p=1.0)
    # The same sampling for all variants and the baseline; top-p on CPU is a sort of the vocabulary for each of them.
    vocabularies = {"teacher": "v"}
    teacher = model("teacher", "v", engine, renderer, sampling, None, vocabularies)
    scorer = Unscored() if prover is None else model("prover", "v", prover, renderer, sampling, None, vocabularies)
    decode = DecodeConfig(
        beam_size=size.beams,
        proposals_per_teacher=size.proposals,
        fill_first_step=True,
        answer_suffix=suffix_of(renderer),
        budgets={"max_steps": size.steps, "reasoning_tokens": 1 << 20, "max_step_tokens": LONGEST + 8},
    )
    return Ensemble((teacher,), scorer, decode, seed=0)


def bound(whole: Ensemble, problem: Problem, journal: Journal, meters: dict[str, Meter]) -> Ensemble:
    """The ensemble behind the problem's journal, as `generate` binds it."""

    def of(model: Any) -> Any:
        if isinstance(model, Unscored):
            return model
        meter = meters.setdefault(model.name, Meter())
        return model.for_problem(ReplayEngine(model.engine, journal, problem.id, model.name, meter, 3600.0))

    return replace(whole, teachers=tuple(map(of, whole.teachers)), meta_prover=of(whole.meta_prover))


def row_of(outcome: Any) -> dict[str, Any]:
    """What the journal is given at the end of a problem."""
    return json.loads(json.dumps({"steps": [s.text for s in outcome.steps], "score": outcome.score, "error": None}))
