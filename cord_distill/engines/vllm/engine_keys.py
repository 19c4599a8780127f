"""Which keys `engine_args` takes: the fields of vLLM's AsyncEngineArgs, known without vLLM (engine_keys.json).

`python -m cord_distill.engines.vllm.engine_keys` writes them anew; a test compares them with the installed vLLM.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from cord_distill.common.suggest import did_you_mean, nearest

# What vLLM's `kv_cache_dtype` may be (vllm.config.cache.CacheDType); a test compares them.
KV_CACHE_DTYPES = (
    "auto", "float16", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc", "fp8_ds_mla", "nvfp4_ds_mla",
    "turboquant_k8v4", "turboquant_4bit_nc", "turboquant_k3v4_nc", "turboquant_3bit_nc", "ultraquant_4bit",
    "int4_per_token_head", "int8_per_token_head", "fp8_per_token_head", "nvfp4", "nvfp4_4over6",
)  # fmt: skip
FILE = Path(__file__).with_suffix(".json")


@cache
def known_engine_keys() -> frozenset[str]:
    return frozenset(json.loads(FILE.read_text()))


def engine_args_faults(given: dict[str, Any], key: str) -> list[str]:
    """One sentence per name, or type of the KV cache, that vLLM does not know. key: of the recipe, e.g.
    `teachers.0.engine_args`."""
    found = []
    for name in given:
        if name not in known_engine_keys():
            near = nearest(str(name), known_engine_keys())
            hint = f"; did you mean {near!r}?" if near else ""
            found.append(f"{key}.{name} is no engine argument of vLLM{hint}")
    dtype = given.get("kv_cache_dtype", "auto")
    if dtype not in KV_CACHE_DTYPES:
        hint = did_you_mean(str(dtype), KV_CACHE_DTYPES, f"take one of {', '.join(KV_CACHE_DTYPES[:6])}")
        found.append(f"{key}.kv_cache_dtype: {dtype!r} is none that vLLM knows; {hint}")
    return found


def vllm_engine_keys() -> list[str]:
    from dataclasses import fields

    from vllm.engine.arg_utils import AsyncEngineArgs

    return sorted(one.name for one in fields(AsyncEngineArgs))


if __name__ == "__main__":
    FILE.write_text(json.dumps(vllm_engine_keys(), indent=0) + "\n")
