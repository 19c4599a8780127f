"""The `decode` section: how trajectories are made."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from cord_distill.recipe.base import PlugIn, Positive, Section, _module_function
from cord_distill.recipe.models import ChatModelConfig, MetaProverConfig, ModelConfig

# The paper's three lists: verification, multi-method validation, error correction.
PHRASES = (
    "let me check", "let me verify", "double-check", "going back to", "wait",
    "alternatively", "another way", "let's try a different approach", "using another method", "we can also verify",
    "this is wrong", "the mistake was", "that's impossible", "this contradicts", "the error is",
)  # fmt: skip


def _text_or_function(value: str) -> str:
    return value if value == "text" else _module_function(value)


class BudgetsConfig(Section):
    """Token budgets, counted in the meta-prover's tokens (sampling limits: the proposer's own).

    reasoning_tokens: of a whole thought. answer_tokens: of what follows it. max_step_tokens: a longer step is cut there
    and goes on as the next. max_steps: bounds the search for teachers that end steps but never the thought; null = no
    bound but the tokens.
    """

    reasoning_tokens: Positive = 16384
    answer_tokens: Positive = 4096
    max_step_tokens: Positive = 2048
    max_steps: Positive | None = None


class AdaptiveBeamConfig(Section):
    """Keeps more than beam_size candidates of a step while they are close to the best one.

    max_beam: at most so many. spread: the best score minus theirs has to be smaller than this.
    """

    max_beam: Positive
    spread: Annotated[float, Field(ge=0)]


class CurationConfig(Section):
    """`pipeline: curation`: the complete trace with the best S is kept.

    traces_per_teacher: complete traces sampled from each teacher.
    """

    traces_per_teacher: Positive = 4


class ProcessRewardConfig(ModelConfig):
    """The model that rewards each step of a trace (`selector: process_reward`), and how it reads one (reward.py).

    engine: `vllm` (its pooling), `server` (the `/pooling` of a vLLM at `url`), `scripted`.
    step_separator: text behind every step, at whose last token its reward is read; "" reads it at the step's own last
    token; null takes `<extra_0>` where the tokenizer has it (Qwen2.5-Math-PRM), else "". activation: what makes a
    reward of the head's outputs: softmax, sigmoid or none of output `head_output` (of the only one, where there is
    one); auto = softmax for several, sigmoid for one. aggregation: of the steps' rewards.
    """

    engine: Literal["vllm", "server", "scripted"] = "vllm"
    step_separator: str | None = None
    activation: Literal["auto", "softmax", "sigmoid", "none"] = "auto"
    head_output: Annotated[int, Field(ge=0)] = 1
    aggregation: Literal["last", "min", "mean"] = "last"


class BinaryJudgmentConfig(Section):
    """`selector: binary_judgment`: a judge is told that time is up and finishes from the prefix.

    judge: null = the meta-prover; else a model of its own, or `same_as` a teacher. runs: completions per prefix, the
    share of which that is right is the value. conclusion: what is written behind the prefix. max_tokens: for each.
    """

    judge: MetaProverConfig | None = None
    runs: Positive = 10
    conclusion: str = (
        "\n\nTime is up. I have to give the final answer with what I have.\n</think>\n\nThe final answer is \\boxed{"
    )
    max_tokens: Positive = 64


class MctsConfig(Section):
    """Monte Carlo tree search (`pipeline: mcts`).

    rollouts: finished traces per problem; null = beam_size x teachers, as many as the beam has proposals per step.
    exploration: c of UCB1, sqrt(2) for rewards in [0, 1].
    """

    rollouts: Positive | None = None
    exploration: Annotated[float, Field(ge=0)] = 1.414


class IntegrationConfig(ChatModelConfig):
    """`pipeline: integration`: a model merges complete traces of the teachers into one trace (prompts/integration.txt).

    A chat model like any: `server` asks the chat completions of an OpenAI-compatible `url`, `vllm` runs in process,
    `scripted` is a function `reply(prompt, sampling) -> text`. traces_per_teacher: how many it is given of each. tries:
    how often it is asked, each time with another seed, until its reply can be read.
    """

    max_tokens: Positive = 32768
    traces_per_teacher: Positive = 1
    tries: Positive = 3


class DecodeConfig(Section):
    """How trajectories are made. docs/decisions.md says what the paper leaves open and what each key decides.

    beam_size: B, the traces that live on after each step; 1 is greedy. step_marker: how a step begins; {t} is its
    number. proposals_per_teacher: next steps that each teacher proposes for each live trace. fill_first_step: more of
    them at step 1, where there is one trace, until there are beam_size. answer_suffix: what stands between a trace and
    the known answer {A} when it is scored. step_instructions: a text behind every question while teachers decode and
    the meta-prover scores, for models that do not number their steps by themselves; the student's rows hold the
    question alone. answer_opening: how the final answer begins when two tries gave none that can be read, e.g.
    "\\n\\nThe final answer is \\\\boxed{"; null = only an empty one is tried again, and then the answer that the
    thought states is repeated. selector: what candidates are ordered by. deterministic: no chunked prefill and no cache
    reads, for the same bytes in every run; null = on for CPU engines in process. problems_in_flight: searches at once;
    null = as many as the KV caches hold. request_timeout, server_wait: seconds (docs/engines.md).

    phrases: what begins a step with `segmentation: prefix_phrases`. deduplicate: `text`, or a plug-in `key(problem,
    step_texts) -> hashable`: of the candidates of one step with equal keys only the best takes part. step_filter: a
    plug-in `check(problem, step_texts) -> bool`; a candidate that fails is recorded and never selected.
    """

    pipeline: Literal["cord", "curation", "single", "mcts", "integration"] = "cord"
    beam_size: Positive = 4
    segmentation: Literal["step_marker", "line_break", "prefix_phrases"] = "step_marker"
    step_marker: str = "### Step {t}."
    phrases: list[str] = list(PHRASES)
    adaptive_beam: AdaptiveBeamConfig | None = None
    deduplicate: Annotated[str, AfterValidator(_text_or_function)] | None = None
    step_filter: PlugIn | None = None
    selector: Literal["predictive_perplexity", "process_reward", "binary_judgment", "random", "longest"] = (
        "predictive_perplexity"
    )
    process_reward: ProcessRewardConfig | None = None
    binary_judgment: BinaryJudgmentConfig = BinaryJudgmentConfig()
    proposals_per_teacher: Positive = 1
    fill_first_step: bool = False
    step_instructions: str = ""
    answer_opening: str | None = None
    answer_suffix: str = " </think> The final answer is {A}."
    curation: CurationConfig = CurationConfig()
    mcts: MctsConfig = MctsConfig()
    integration: IntegrationConfig | None = None
    budgets: BudgetsConfig = BudgetsConfig()
    deterministic: bool | None = None
    problems_in_flight: Positive | None = None
    request_timeout: Annotated[float, Field(gt=0)] = 3600.0
    server_wait: Annotated[float, Field(ge=0)] = 600.0

    @model_validator(mode="after")
    def _templates_have_their_fields(self) -> DecodeConfig:
        if "{A}" not in self.answer_suffix:
            raise ValueError("answer_suffix has no {A}: it must hold the place of the known answer")
        if "{t}" not in self.step_marker or not self.step_marker.partition("{t}")[0].strip():
            raise ValueError("step_marker needs some text and then {t}, e.g. '### Step {t}.'")
        if not self.phrases or not all(phrase.strip() for phrase in self.phrases):
            raise ValueError("phrases needs at least one phrase and no empty one, e.g. [wait, alternatively]")
        if self.adaptive_beam and self.adaptive_beam.max_beam < self.beam_size:
            raise ValueError(
                f"adaptive_beam.max_beam {self.adaptive_beam.max_beam} is less than beam_size {self.beam_size}, which "
                "is always kept: raise it, or lower beam_size"
            )
        return self
