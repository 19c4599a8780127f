"""The `decode` section: how trajectories are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from cord_distill.common.suggest import did_you_mean
from cord_distill.recipe.base import PlugIn, Positive, Section, Share, _module_function
from cord_distill.recipe.models import ChatModelConfig, MetaProverConfig, ModelConfig

# The paper's three lists: verification, multi-method validation, error correction.
PHRASES = (
    "let me check", "let me verify", "double-check", "going back to", "wait",
    "alternatively", "another way", "let's try a different approach", "using another method", "we can also verify",
    "this is wrong", "the mistake was", "that's impossible", "this contradicts", "the error is",
)  # fmt: skip


def _text_or_function(value: str) -> str:
    return value if value == "text" else _module_function(value)


PIPELINES = ("cord", "curation", "single", "mcts", "integration")
SEGMENTATIONS = ("step_marker", "line_break", "prefix_phrases")
SELECTORS = (
    "predictive_perplexity", "process_reward", "binary_judgment", "consensus", "student_fit", "gain", "random",
    "longest", "rank_surprisal",
)  # fmt: skip


def _named_or_function(names: tuple[str, ...]) -> Callable[[Any], str]:
    """One of our own names, or a plug-in of the same types."""

    def check(value: Any) -> str:
        if value in names:
            return str(value)
        if isinstance(value, str) and ":" in value:
            return _module_function(value)
        near = did_you_mean(str(value), names, "")
        hint = f"; {near}" if near else ""
        ours = " or ".join([", ".join(map(repr, names[:-1])), repr(names[-1])])
        raise ValueError(f"Input should be {ours} (got {value!r}), or a plug-in package.module:function{hint}")

    return check


class BudgetsConfig(Section):
    """Token budgets. They are counted in the meta-prover's tokens; the limit of one request is in its own model's."""

    reasoning_tokens: Positive = 16384
    """The longest thought."""
    answer_tokens: Positive = 4096
    """The longest final answer, behind the thought."""
    max_step_tokens: Positive = 2048
    """The longest step: a longer one is cut there and goes on as the next."""
    max_steps: Positive | None = None
    """The most steps of a trace, for teachers that end steps but never the thought; null sets no bound but the tokens.
    """

    @model_validator(mode="after")
    def _a_step_fits_into_the_thought(self) -> BudgetsConfig:
        if "max_step_tokens" in self.model_fields_set and self.max_step_tokens > self.reasoning_tokens:
            raise ValueError(
                f"max_step_tokens {self.max_step_tokens} is more than reasoning_tokens {self.reasoning_tokens}, the "
                "whole thought: lower it"
            )
        return self


class AdaptiveBeamConfig(Section):
    """Keeps more than beam_size candidates of a step while they are close to the best one."""

    max_beam: Positive
    """The most candidates that are kept at a step."""
    spread: Annotated[float, Field(ge=0)]
    """A candidate is kept while its score is less than this below the best one's."""


class CurationConfig(Section):
    """`pipeline: curation`: the complete trace with the best S is kept."""

    traces_per_teacher: Positive = 4
    """How many complete traces each teacher samples per problem."""


class ProcessRewardConfig(ModelConfig):
    """The model that rewards each step of a trace (`selector: process_reward`), and how it reads one."""

    engine: Literal["vllm", "server", "scripted"] = "vllm"
    """Where the reward model runs: `vllm` (its pooling, in process), `server` (the `/pooling` of a vLLM at `url`) or
    `scripted` (a plug-in function)."""
    step_separator: str | None = None
    """The text behind every step, at whose last token its reward is read; "" reads it at the step's own last token;
    null takes `<extra_0>` where the tokenizer has it (Qwen2.5-Math-PRM), else ""."""
    activation: Literal["auto", "softmax", "sigmoid", "none"] = "auto"
    """What makes a reward of the head's outputs: softmax, sigmoid or none of the output `head_output` (of the only one,
    where there is one); auto takes softmax for several outputs and sigmoid for one."""
    head_output: Annotated[int, Field(ge=0)] = 1
    """Which of the head's outputs says that a step is right, from 0."""
    aggregation: Literal["last", "min", "mean"] = "last"
    """How the rewards of a trace's steps become its score."""


class StudentFitConfig(ModelConfig):
    """The student that `selector: student_fit` asks how likely it finds a step, and `rank_surprisal` what it makes of a
    trace. `weight` and `alone` are of student_fit."""

    weight: Annotated[float, Field(ge=0)] = 1.0
    """The weight of the student's probability beside S."""
    alone: bool = False
    """The student's probability is the whole score; S is left out."""


class BinaryJudgmentConfig(Section):
    """`selector: binary_judgment`: a judge is told that time is up and finishes from the prefix."""

    judge: MetaProverConfig | None = None
    """The model that finishes; null takes the meta-prover, and `same_as` shares a teacher's engine."""
    runs: Positive = 10
    """How many completions a prefix gets; the share of right ones is its score."""
    conclusion: str = (
        "\n\nTime is up. I have to give the final answer with what I have.\n</think>\n\nThe final answer is \\boxed{"
    )
    """The text that is written behind the prefix before the judge goes on."""
    max_tokens: Positive = 64
    """The longest completion."""


class MctsConfig(Section):
    """Monte Carlo tree search (`pipeline: mcts`)."""

    rollouts: Positive | None = None
    """How many finished traces a problem gets; null takes beam_size x teachers, as many as the beam has proposals per
    step."""
    exploration: Annotated[float, Field(ge=0)] = 1.414
    """The constant c of UCB1; sqrt(2) suits rewards in [0, 1]."""


class IntegrationConfig(ChatModelConfig):
    """`pipeline: integration`: a model merges complete traces of the teachers into one trace.

    A chat model like any: `server` asks the chat completions of an OpenAI-compatible `url`, `vllm` runs in process,
    `scripted` is a function `reply(prompt, sampling) -> text`.
    """

    max_tokens: Positive = 32768
    """The longest merged trace."""
    traces_per_teacher: Positive = 1
    """How many traces of each teacher the model is given."""
    prompt: str | None = None
    """A text file in place of our prompt (decode/pipelines/integration.txt): it holds {question} and {solutions}, and
    may hold {count} and {marker}."""
    tries: Positive = 3
    """How often the model is asked, each time with another seed, until its reply can be read."""


class DecodeConfig(Section):
    """How trajectories are made. docs/decisions.md says what the paper leaves open and what each key decides."""

    pipeline: Annotated[str, BeforeValidator(_named_or_function(PIPELINES))] = "cord"
    """How a trace comes about: `cord` (the step-level search of all teachers), `curation` (complete traces of which the
    best is kept), `single` (one trace of one teacher), `mcts` (tree search) or `integration` (a model merges complete
    traces); or a plug-in `search(problem, ensemble, **pipeline_args) -> Outcome` (docs/your_own_selector.md)."""
    pipeline_args: dict[str, Any] = {}
    """Arguments for a plug-in of `pipeline`."""
    beam_size: Annotated[Positive, Field(le=1024)] = 4
    """B, the number of traces that live on after each step; 1 is greedy."""
    segmentation: Annotated[str, BeforeValidator(_named_or_function(SEGMENTATIONS))] = "step_marker"
    """What ends a step: the next `step_marker`, a blank line (`line_break`), one of `phrases` (`prefix_phrases`), or a
    plug-in that is called with `segmentation_args` and gives a Segmentation."""
    segmentation_args: dict[str, Any] = {}
    """Arguments for a plug-in of `segmentation`."""
    step_marker: str = "### Step {t}."
    """How a step begins; {t} stands for its number."""
    phrases: list[str] = list(PHRASES)
    """The phrases that begin a step under `segmentation: prefix_phrases`."""
    adaptive_beam: AdaptiveBeamConfig | None = None
    """Lets more than beam_size traces live on where scores are close; null keeps beam_size."""
    deduplicate: Annotated[str, AfterValidator(_text_or_function)] | None = None
    """`text`, or a plug-in `key(problem, step_texts) -> hashable`: of the candidates of one step with equal keys only
    the best takes part. null lets all take part."""
    step_filter: PlugIn | None = None
    """A plug-in `check(problem, step_texts) -> bool`; a candidate that fails it is recorded and never selected."""
    selector: Annotated[str, BeforeValidator(_named_or_function(SELECTORS))] = "predictive_perplexity"
    """What candidates are ordered by: S of the known answer (`predictive_perplexity`), a process reward model, a
    judge's completions, how likely the other teachers find the step (`consensus`, which needs no known answer), S and
    how likely the student finds it (`student_fit`), the rise of S above its highest value so far (`gain`), of
    complete traces how much the student can learn from them (`rank_surprisal`) or their length (`longest`), or chance
    (`random`); or a plug-in `rate(problem, ensemble, steps, key, **selector_args) -> Rating`."""
    selector_args: dict[str, Any] = {}
    """Arguments for a plug-in of `selector`."""
    survivors: Literal["best", "sampled"] = "best"
    """Which candidates of a step live on: the best, or some that are drawn without return in proportion to their scores
    (particle selection) by the recipe's seed."""
    process_reward: ProcessRewardConfig | None = None
    """The reward model of `selector: process_reward`."""
    student_fit: StudentFitConfig | None = None
    """The student of `selector: student_fit` and `rank_surprisal`."""
    binary_judgment: BinaryJudgmentConfig = BinaryJudgmentConfig()
    """The settings of `selector: binary_judgment`."""
    proposals_per_teacher: Positive = 1
    """How many next steps each teacher proposes for each live trace."""
    fill_first_step: bool = False
    """At step 1, where there is one trace, teachers propose more steps until there are beam_size."""
    step_instructions: str = ""
    """A text behind every question while teachers decode and the meta-prover scores, for models that do not number
    their steps by themselves; the student's rows hold the question alone."""
    rival_answers: Annotated[int, Field(ge=0)] = 0
    """So many other answers that the problem's traces gave are scored behind the kept trace, beside the known one: the
    report shows the margin. What is selected does not change."""
    answer_opening: str | None = None
    """How the final answer begins when two tries gave none that can be read, for example "\\n\\nThe final answer is
    \\\\boxed{"; null tries again only where the answer is empty, and then repeats the answer that the thought states.
    """
    answer_suffix: str = " </think> The final answer is {A}."
    """The text between a trace and the known answer {A} when the trace is scored."""
    score_ending: bool = False
    """What `answer_suffix` holds behind {A} and the end of the turn are scored with the known answer. Without them, as
    in the paper, a trace that says 13.5 predicts the answer 13 well, because 13.5 begins with 13."""
    curation: CurationConfig = CurationConfig()
    """The settings of `pipeline: curation`."""
    mcts: MctsConfig = MctsConfig()
    """The settings of `pipeline: mcts`."""
    integration: IntegrationConfig | None = None
    """The model of `pipeline: integration`."""
    budgets: BudgetsConfig = BudgetsConfig()
    """The longest thought, answer and step."""
    deterministic: bool | None = None
    """Engines neither cut prompts into chunks nor read cached prefixes, so that every run gives the same bytes; null
    does so for CPU engines in process."""
    problems_in_flight: Positive | None = None
    """How many problems are searched at once; null takes as many as the KV caches hold."""
    request_timeout: Annotated[float, Field(gt=0)] = 3600.0
    """How many seconds one request may take before it counts as failed."""
    server_wait: Annotated[float, Field(ge=0)] = 600.0
    """How many seconds a server may be away before the run ends, or busy before its request fails (docs/engines.md)."""
    max_failed_share: Share = 0.05
    """The share of problems that may fail: `cord run` stops after decoding where more did."""

    @model_validator(mode="after")
    def _arguments_are_for_a_plug_in(self) -> DecodeConfig:
        for key in ("pipeline", "segmentation", "selector"):
            if getattr(self, f"{key}_args") and ":" not in getattr(self, key):
                raise ValueError(f"{key}_args are for a plug-in, and {key} is {getattr(self, key)!r}: remove them")
        return self

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
