"""The `models`, `teachers` and `meta_prover` sections: where a model is, how it runs and how it samples."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from cord_distill.recipe.base import FolderName, PlugIn, Positive, Section, Share, check_url, folder_name
from cord_distill.recipe.prompt_keys import PROMPT_DEFAULTS, TemplateArgs, check_thought, in_quotes, told_of_prompt
from cord_distill.types import THINK_CLOSE, THINK_OPEN


class ModelsConfig(Section):
    """Models that a stage builds before anything else; they are named `built:NAME` in the rest of the recipe."""

    builder: PlugIn
    """A plug-in, called as `builder(folder, **args)`, that writes one folder per model under `folder`."""
    args: dict[str, Any] = {}
    """The builder's arguments."""
    cache_dir: str | None = None
    """Built models are cached there by the hash of builder and args; null takes `outputs/models`."""


class RepetitionDetectionConfig(Section):
    """When a model that says the same again and again is stopped: vLLM's `repetition_detection`, with its names."""

    max_pattern_size: Positive = 64
    """The longest pattern that is looked for, in the model's own tokens."""
    min_pattern_size: Positive = 16
    """The shortest pattern that is looked for. A shorter pattern is found when copies of it fill this length; the zeros
    of 1000000 are thus not taken for a loop."""
    min_count: Annotated[int, Field(ge=2)] = 3
    """How often in a row the pattern must stand at the end of what one request has written."""

    @model_validator(mode="after")
    def _the_shortest_is_no_longer(self) -> RepetitionDetectionConfig:
        if self.min_pattern_size > self.max_pattern_size:
            raise ValueError(
                f"min_pattern_size {self.min_pattern_size} is more than max_pattern_size {self.max_pattern_size}: "
                "lower it"
            )
        return self


class ModelConfig(Section):
    """A model that decodes or scores: where it is, how it runs, how it samples."""

    model: str = ""
    """A hub id, a local path (starting with ./, ../, ~ or /), or `built:NAME`."""
    name: FolderName | None = None
    """What records and tables call the model; null takes the last part of `model`."""
    note: str | None = None
    """A few words on what the model can or cannot do; tables and pictures show them, and no result changes."""
    revision: str | None = None
    """The commit, tag or branch of a hub id."""
    engine: Literal["vllm", "server", "scripted"] = "vllm"
    """Where the model runs: `vllm` (in process), `server` (an OpenAI-compatible URL that continues token ids) or
    `scripted` (a plug-in function answers; no weights are needed)."""
    script: PlugIn | None = None
    """The plug-in function of `engine: scripted`."""
    url: str | list[str] | None = None
    """The address of the server, or a list of replicas' addresses."""
    served_model_name: str | None = None
    """The server's name for the model, where it serves several."""
    api_key_env: str | None = None
    """The environment variable that holds the server's key."""
    temperature: Annotated[float, Field(ge=0)] = 0.6
    """The sampling temperature."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    """The nucleus of sampling."""
    top_k: int = -1
    """Only the k likeliest tokens are sampled; -1 takes all."""
    min_p: Share = 0.0
    """Only tokens of at least this share of the likeliest one's probability are sampled."""
    repetition_detection: RepetitionDetectionConfig | None = None
    """Ends what the model writes as soon as a pattern of tokens repeats; the trace ends there as if its budget were
    spent, with `stop: repetition`. `{}` takes the section's defaults, and null lets the model write on."""
    system_prompt: str | None = None
    """The system prompt; null takes what the model's card recommends (prompts/cards.yaml), "" sends none."""
    chat_template: str | None = None
    """A Jinja file in place of the tokenizer's own chat template."""
    chat_template_kwargs: TemplateArgs = {}
    """What the chat template is told besides, for example `{enable_thinking: true}`."""
    think_open: Annotated[str, BeforeValidator(in_quotes)] = THINK_OPEN
    """The text that opens the model's thought, with the line break behind it where its card has one: `"[THINK]"`."""
    think_close: Annotated[str, BeforeValidator(in_quotes)] = THINK_CLOSE
    """The text between the model's thought and its answer: `"[/THINK]"`."""
    prompt_suffix: str = ""
    """A text behind every question that this model is asked, such as the line that DeepSeek-R1's card recommends."""
    trust_remote_code: bool = False
    """Code that lies in the model's folder may run."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The type of weights and activations, as vLLM takes it."""
    devices: list[int] | None = None
    """The GPUs of this model, by number; null takes all."""
    tensor_parallel_size: Positive = 1
    """How many GPUs share one copy of the model."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    """The share of a GPU's memory that the engine may use."""
    kv_cache_dtype: str = "auto"
    """The type of the KV cache, as vLLM takes it."""
    kv_cache_gib: Annotated[float, Field(gt=0)] | None = None
    """The size of the KV cache; null takes what gpu_memory_utilization leaves."""
    max_model_len: Positive | None = None
    """The context length in tokens; null takes what prompt and budgets need."""
    max_num_seqs: Positive | None = None
    """How many sequences the engine decodes at once; null takes 256 on a GPU and 64 on a CPU."""
    max_num_batched_tokens: Positive | None = None
    """How many tokens one engine step may hold; null leaves it to vLLM."""
    replicas: Positive = 1
    """How many engines of this model run on the recipe's `cluster`."""
    engine_args: dict[str, Any] = {}
    """Any other of vLLM's engine arguments."""

    @property
    def label(self) -> str:
        """The name that records and tables show: `name`, else the last part of `model`."""
        return self.name or self.model.removeprefix("built:").rstrip("/").rsplit("/", 1)[-1] or self.engine

    @property
    def prompt_keys(self) -> dict[str, Any]:
        """What this section says of its prompt beyond the defaults; results are bound to it."""
        told = {"chat_template_kwargs": self.chat_template_kwargs} if self.chat_template_kwargs else {}
        return {**told, **told_of_prompt(self.model_dump(include=set(PROMPT_DEFAULTS)))}

    @property
    def urls(self) -> list[str]:
        return [self.url] if isinstance(self.url, str) else list(self.url or [])

    @model_validator(mode="after")
    def _thought_is_a_pair(self) -> ModelConfig:
        check_thought({"think_open": self.think_open, "think_close": self.think_close})
        return self

    @model_validator(mode="after")
    def _has_what_its_engine_needs(self) -> ModelConfig:
        if self.engine == "scripted" and not self.script:
            raise ValueError("engine: scripted needs script: package.module:function")
        if self.engine == "server" and not self.url:
            raise ValueError("engine: server needs url: http://127.0.0.1:8000")
        for url in self.urls:
            check_url(url)
        if len(set(self.urls)) < len(self.urls):
            raise ValueError("url: one replica is named twice")
        if self.engine == "server" and self.replicas > 1:
            raise ValueError("replicas are engines on a cluster; a server's replicas are a list of urls: url: [A, B]")
        if self.engine != "scripted" and not self.model and not getattr(self, "same_as", None):
            raise ValueError("model is missing: give a hub id, a local path (./x, /x) or built:NAME")
        if self.model:
            try:
                folder_name(self.label)
            except ValueError:
                raise ValueError(f"model: {self.label!r} can be no name in tables and folders: give `name`") from None
        return self


class MetaProverConfig(ModelConfig):
    """The model that only scores. `same_as: NAME` shares a teacher's engine, by the teacher's name."""

    same_as: str | None = None
    """The name of the teacher whose engine is shared."""

    @model_validator(mode="after")
    def _shares_or_is_its_own(self) -> MetaProverConfig:
        if self.same_as and self.model:
            raise ValueError(
                f"same_as {self.same_as!r} shares that teacher's engine, and model {self.model!r} is another one: "
                "keep one of them"
            )
        return self


class ChatModelConfig(ModelConfig):
    """A model that is asked in words and answers in words: at a `server` by its chat completions."""

    max_tokens: Positive = 8192
    """The longest answer."""
    concurrency: Positive = 16
    """How many requests are under way at once at one URL."""
    api_key_env: str | None = "OPENAI_API_KEY"
    """The environment variable that holds the server's key."""
