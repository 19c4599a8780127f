"""vLLM behind the Engine seam: ids in, ids out. runners.py says how a request runs (in process or AsyncLLM)."""

from __future__ import annotations

import asyncio
import math
import re
import time
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.quiet import has_gpu, prepare_environment, slots
from cord_distill.common.verbosity import note
from cord_distill.engines.base import Generation, Sampling, vllm_ending
from cord_distill.engines.vllm import shims as vllm_shims
from cord_distill.model_files.context import longer_than_stated, read_config
from cord_distill.recipe.models import ModelConfig

CPU_KV_GIB = 0.5
# vLLM's refusal of a model whose KV cache does not hold one text of the longest context.
TOO_SMALL = re.compile(r"max seq len \((\d+)\), \(([\d.]+) GiB KV cache is needed.*?memory \(([\d.]+) GiB\)")


class VllmEngine:
    """One model on vLLM.

    deterministic: no prefix-cache reads, no split prefill, so that an answer depends on the request alone (CPU, one
    thread, in process). Otherwise scores read the prefix cache.
    """

    def __init__(self, runner: Any, *, deterministic: bool, native_scores: bool, name: str) -> None:
        self.runner = runner
        self.deterministic = deterministic
        self.native_scores = native_scores
        self.name = name
        self.max_model_len: int = runner.max_model_len
        self.kv_tokens: int = runner.kv_tokens
        self.slots: int = runner.config.scheduler_config.max_num_seqs

    @classmethod
    async def start(
        cls, model: ModelConfig, path: str, *, deterministic: bool | None = None, max_model_len: int | None = None,
        step_timeout: float | None = None,
    ) -> VllmEngine:  # fmt: skip
        """Loads `path` as `model` says. deterministic None = true on CPU. max_model_len: for a recipe that gives none.
        step_timeout: seconds of one step after which an engine in this process is taken to hang (watchdog.py).

        Raises CordError when vLLM refuses the model or the settings, with its reason.
        """
        runner = load_runner(model, path, deterministic, max_model_len, step_timeout)
        deterministic = not has_gpu() if deterministic is None else deterministic
        native = runner.config.use_v2_model_runner
        return cls(runner, deterministic=deterministic, native_scores=native, name=model.label)

    @property
    def steps(self) -> int | None:
        """Forward passes so far; None where the engine's core runs in a process of its own."""
        return getattr(self.runner, "steps", None)

    async def generate(self, ids: list[int], sampling: Sampling) -> Generation:
        out = await self.runner.run(ids, self.sampling_params(sampling))
        best = out.outputs[0]
        stop, matched = vllm_ending(best.finish_reason, best.stop_reason)
        return Generation(
            ids=tuple(best.token_ids),
            text=best.text,
            stop=stop,
            matched=matched,
            cached=out.num_cached_tokens or 0,
        )

    def sampling_params(self, sampling: Sampling) -> Any:
        """vLLM's own object for a sampling request."""
        from vllm import SamplingParams
        from vllm.sampling_params import RepetitionDetectionParams, RequestOutputKind

        repetition = sampling.repetition
        return SamplingParams(
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            seed=sampling.seed,
            repetition_detection=RepetitionDetectionParams(**repetition.model_dump()) if repetition else None,
            stop=list(sampling.stop),
            stop_token_ids=list(sampling.stop_ids),
            logit_bias=dict.fromkeys(sampling.banned_ids, -100.0) or None,
            skip_special_tokens=False,
            spaces_between_special_tokens=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            skip_clone=True,
        )

    async def logprobs(self, ids: list[int], target_ids: list[int]) -> list[float]:
        if not target_ids:
            return []
        if self.native_scores:
            scored = await self._native(ids, target_ids)
        else:
            scored = await self._prompt_logprobs(ids, target_ids)
        return scored if scored is not None else await self._one_by_one(ids, target_ids)

    async def ranked(self, ids: list[int], target_ids: list[int]) -> list[tuple[float, int]]:
        """Log-probs and ranks of the tokens, from one pass over all of it: rows out of the cache would hold neither."""
        found = await self._prompt_rows(ids, target_ids, skip_cache=True)
        return [(one.logprob, one.rank) for one in found or ()]

    async def _native(self, ids: list[int], target_ids: list[int]) -> list[float] | None:
        """vLLM's fixed-token scoring (model runner V2): only the answer's rows. None: the cache hit ran past them."""
        out = await self.runner.run(
            ids + target_ids,
            self._scoring_params(
                prompt_logprob_token_ids=[[token] for token in target_ids],
                prompt_logprob_start=len(ids) - 1,
                skip_reading_prefix_cache=self.deterministic,
            ),
        )
        rows = out.prompt_token_id_logprobs
        return None if rows is None else [float(row[0]) for row in rows]

    async def _prompt_logprobs(self, ids: list[int], target_ids: list[int]) -> list[float] | None:
        """Log-probs of the prompt's own tokens (model runner V1). None: rows out of the cache hold no values."""
        found = await self._prompt_rows(ids, target_ids, skip_cache=self.deterministic)
        return None if found is None else [one.logprob for one in found]

    async def _prompt_rows(self, ids: list[int], target_ids: list[int], *, skip_cache: bool) -> list[Any] | None:
        """vLLM's log-prob and rank of each target as a token of the prompt; None where they came out of the cache."""
        params = self._scoring_params(prompt_logprobs=0, flat_logprobs=True, skip_reading_prefix_cache=skip_cache)
        out = await self.runner.run(ids + target_ids, params)
        if (out.num_cached_tokens or 0) > len(ids) - 1:
            return None
        return [row[token] for row, token in zip(out.prompt_logprobs[-len(target_ids) :], target_ids, strict=True)]

    async def _one_by_one(self, ids: list[int], target_ids: list[int]) -> list[float]:
        """One tiny request per answer token, all at once: always valid, reads the cache."""

        async def one(i: int, token: int) -> float:
            params = self._scoring_params(logprob_token_ids=[token], logprobs=1)
            out = await self.runner.run(ids + target_ids[:i], params)
            return out.outputs[0].logprobs[0][token].logprob

        return list(await asyncio.gather(*(one(i, token) for i, token in enumerate(target_ids))))

    @staticmethod
    def _scoring_params(**fields: Any) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            max_tokens=1,
            temperature=0.0,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            skip_clone=True,
            **fields,
        )

    async def close(self) -> None:
        await self.runner.close()


def load_runner(
    model: ModelConfig, path: str, deterministic: bool | None, max_model_len: int | None, step_timeout: float | None,
    **pooling: Any,
) -> Any:  # fmt: skip
    """vLLM with the model's weights, in this process on a CPU (runners.py). Arguments as for VllmEngine.start.

    pooling: further engine arguments, of a reward model. Raises CordError when vLLM refuses, with its reason.
    """
    on_cpu = not has_gpu()
    deterministic = on_cpu if deterministic is None else deterministic
    prepare_environment()
    from cord_distill.engines.vllm.runners import AsyncRunner, InProcessRunner

    vllm_shims.install()
    args = engine_args(model, path, on_cpu=on_cpu, deterministic=deterministic, max_model_len=max_model_len)
    where = "the CPU" if on_cpu else f"GPUs {', '.join(map(str, model.devices))}" if model.devices else "the GPU"
    note(f"loading {model.label} on {where} ...")
    begun = time.monotonic()
    try:
        runner = (InProcessRunner if on_cpu else AsyncRunner)({**pooling, **args})
    except Exception as error:  # whatever a damaged file makes a library raise
        raise CordError(f"{model.label}: {why_not_loaded(str(error), path)}") from error
    note(f"{model.label} is ready after {time.monotonic() - begun:.0f} s")
    if step_timeout and isinstance(runner, InProcessRunner):
        runner.watch(step_timeout, model.label)
    return runner


def why_not_loaded(reason: str, path: str) -> str:
    """What vLLM said when it refused a model, with our keys in place of its own where the KV cache is too small."""
    reason = " ".join(reason.split())
    short = TOO_SMALL.search(reason)
    if not short:
        return f"vLLM could not load {path!r}: {reason[:500]}"
    length, needed, has = int(short[1]), float(short[2]), float(short[3])
    return (
        f"a text of {length:,} tokens takes {needed:g} GiB of KV cache, and there are {has:g}: set kv_cache_gib: "
        f"{math.ceil(needed * 10 + 1) / 10:g} (evaluate.engine.kv_cache_gib for a student), or lower the longest text "
        "(decode.budgets, evaluate.max_new_tokens)"
    )


def engine_args(
    model: ModelConfig, path: str, *, on_cpu: bool, deterministic: bool, max_model_len: int | None
) -> dict[str, Any]:
    """vLLM's engine arguments for a recipe's model. `engine_args` of the recipe wins over all of them."""
    max_num_seqs = slots(model.max_num_seqs, not on_cpu)
    length = model.max_model_len or max_model_len
    args: dict[str, Any] = {
        "model": path,
        "revision": model.revision,
        "trust_remote_code": model.trust_remote_code,
        "load_format": "safetensors",
        "dtype": "float32" if on_cpu and model.dtype == "auto" else model.dtype,
        "max_model_len": length,
        "max_num_seqs": max_num_seqs,
        "generation_config": "vllm",
        "seed": 0,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "block_size": 32 if on_cpu else 64,
        "enable_prefix_caching": not deterministic,
        "prefix_caching_hash_algo": "xxhash",
        "tensor_parallel_size": model.tensor_parallel_size,
        "gpu_memory_utilization": model.gpu_memory_utilization,
        "kv_cache_dtype": model.kv_cache_dtype,
    }
    if model.devices is not None and not on_cpu:
        args["device_ids"] = model.devices
    if on_cpu:
        args["enforce_eager"] = True
        args["kv_cache_memory_bytes"] = int((model.kv_cache_gib or CPU_KV_GIB) * 2**30)
    elif model.kv_cache_gib:
        args["kv_cache_memory_bytes"] = int(model.kv_cache_gib * 2**30)
    if deterministic or (on_cpu and length):
        # Nothing may split a prefill: on CPU a seeded request whose prefill was chunked kills vLLM's engine.
        args["enable_chunked_prefill"] = False
    if deterministic:
        args["max_num_batched_tokens"] = model.max_num_batched_tokens or max_num_seqs * (length or 4096)
    elif on_cpu:
        # Room for the longest prompt beside every running request, or it would wait for all of them to end.
        args["max_num_batched_tokens"] = model.max_num_batched_tokens or max(8192, (length or 0) + max_num_seqs)
    else:
        args["max_num_batched_tokens"] = model.max_num_batched_tokens or 16384
    longer = _longer(model, path, length)
    return {**args, **({"hf_overrides": longer} if longer else {}), **model.engine_args}


def _longer(model: ModelConfig, path: str, length: int | None) -> dict[str, Any]:
    """What vLLM has to be told about a YaRN model's config, {} for others. What is wrong with a path vLLM says."""
    if not length:
        return {}
    try:
        config = read_config(path, revision=model.revision, trust_remote_code=model.trust_remote_code)
    except (OSError, ValueError):
        return {}
    return longer_than_stated(config, length)
