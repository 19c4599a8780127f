"""Which keys `engine_args` takes: the fields of vLLM's AsyncEngineArgs, known without vLLM (engine_keys.json).

`python -m cord_distill.engines.vllm.engine_keys` writes them anew; a test compares them with the installed vLLM.
"""

from __future__ import annotations

import json
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")


@cache
def known_engine_keys() -> frozenset[str]:
    return frozenset(json.loads(FILE.read_text()))


def engine_args_faults(given: dict[str, Any], key: str) -> list[str]:
    """One sentence per name that vLLM does not know. key: of the recipe, e.g. `teachers.0.engine_args`."""
    found = []
    for name in given:
        if name not in known_engine_keys():
            near = get_close_matches(str(name), known_engine_keys(), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            found.append(f"{key}.{name} is no engine argument of vLLM{hint}")
    return found


def vllm_engine_keys() -> list[str]:
    from dataclasses import fields

    from vllm.engine.arg_utils import AsyncEngineArgs

    return sorted(one.name for one in fields(AsyncEngineArgs))


if __name__ == "__main__":
    FILE.write_text(json.dumps(vllm_engine_keys(), indent=0) + "\n")
