"""The `models`, `teachers` and `meta_prover` sections: where a model is, how it runs and how it samples."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cord_distill.recipe.base import FolderName, PlugIn, Positive, Section, Share
from cord_distill.recipe.template_args import TemplateArgs


class ModelsConfig(Section):
    """Models that a stage builds before anything else; they are named `built:NAME` in the rest of the recipe.

    builder: a plug-in, called as `builder(folder, **args)`, that writes one folder per model under `folder`. args: for
    it. cache_dir: results are cached there by the hash of builder and args; null = `outputs/models`.
    """

    builder: PlugIn
    args: dict[str, Any] = {}
    cache_dir: str | None = None


class ModelConfig(Section):
    """A model that decodes or scores: where it is, how it runs, how it samples.

    model: hub id, local path (starting with ./, ../, ~ or /), or `built:NAME`. system_prompt: null takes what the
    model's card recommends (prompts/cards.yaml), "" means none. engine: `vllm` (in process), `server` (an
    OpenAI-compatible URL that continues token ids), `scripted` (answers by a plug-in function; needs no weights).
    url: of the server, or a list of replicas. served_model_name: its name for the model, where it has several.
    api_key_env: the environment variable that holds the key.

    name: what records and tables call it; null = the last part of `model`. revision: of a hub id. script: the function
    of `scripted`. chat_template: a Jinja file in place of the tokenizer's own. chat_template_kwargs: what the template
    is told besides, e.g. `{enable_thinking: true}`. top_k: -1 = all. devices: GPUs, by
    number; null = all. kv_cache_gib: size of the KV cache; null = what gpu_memory_utilization leaves. max_model_len:
    tokens; null = what prompt and budgets need. dtype, tensor_parallel_size, gpu_memory_utilization, kv_cache_dtype,
    max_num_seqs, max_num_batched_tokens: vLLM's own. engine_args: any other of vLLM's.
    """

    model: str = ""
    name: FolderName | None = None
    revision: str | None = None
    engine: Literal["vllm", "server", "scripted"] = "vllm"
    script: PlugIn | None = None
    url: str | list[str] | None = None
    served_model_name: str | None = None
    api_key_env: str | None = None
    temperature: Annotated[float, Field(ge=0)] = 0.6
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    top_k: int = -1
    min_p: Share = 0.0
    system_prompt: str | None = None
    chat_template: str | None = None
    chat_template_kwargs: TemplateArgs = {}
    trust_remote_code: bool = False
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    devices: list[int] | None = None
    tensor_parallel_size: Positive = 1
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    kv_cache_dtype: str = "auto"
    kv_cache_gib: Annotated[float, Field(gt=0)] | None = None
    max_model_len: Positive | None = None
    max_num_seqs: Positive | None = None
    max_num_batched_tokens: Positive | None = None
    engine_args: dict[str, Any] = {}

    @property
    def label(self) -> str:
        """The name that records and tables show: `name`, else the last part of `model`."""
        return self.name or self.model.removeprefix("built:").rstrip("/").rsplit("/", 1)[-1] or self.engine

    @property
    def urls(self) -> list[str]:
        return [self.url] if isinstance(self.url, str) else list(self.url or [])

    @model_validator(mode="after")
    def _has_what_its_engine_needs(self) -> ModelConfig:
        if self.engine == "scripted" and not self.script:
            raise ValueError("engine: scripted needs script: package.module:function")
        if self.engine == "server" and not self.url:
            raise ValueError("engine: server needs url: http://127.0.0.1:8000")
        bad = [url for url in self.urls if not url.startswith(("http://", "https://"))]
        if bad:
            raise ValueError(f"url: {bad[0]!r} is no address; write it like http://127.0.0.1:8000")
        if len(set(self.urls)) < len(self.urls):
            raise ValueError("url: one replica is named twice")
        if self.engine != "scripted" and not self.model and not getattr(self, "same_as", None):
            raise ValueError("model is missing: give a hub id, a local path (./x, /x) or built:NAME")
        return self


class MetaProverConfig(ModelConfig):
    """The model that only scores. `same_as: NAME` shares a teacher's engine, by the teacher's name."""

    same_as: str | None = None


class ChatModelConfig(ModelConfig):
    """A model that is asked in words and answers in words: at a `server` by its chat completions.

    max_tokens: of one answer. concurrency: requests under way at once at a URL.
    """

    max_tokens: Positive = 8192
    concurrency: Positive = 16
    api_key_env: str | None = "OPENAI_API_KEY"
