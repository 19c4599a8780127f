"""What decides the results of decoding: the recipe values that a journal is bound to."""

from __future__ import annotations

from typing import Any

from cord_distill.decode.selectors.check import JUDGE, STUDENT
from cord_distill.model_files.content import by_content
from cord_distill.recipe.recipe import Recipe

# Keys that change where or how fast something runs, but no result: a journal goes on when they change.
NEUTRAL = {
    # A trace that was merged in fewer tries stays as it is; one that was not gets more.
    "decode.integration.tries",
    "decode.max_failed_share",
    # What problems say is bound to each row (Problem.content), wherever they lie and whatever commit they are of.
    "problems.path",
    "problems.revision",
    "decode.problems_in_flight",
    "decode.request_timeout",
    "decode.server_wait",
    "problems.limit",
    "models.cache_dir",
}
# Says which problems there are, and nothing about what comes of one.
WHICH_PROBLEMS = "problems.hard_for"
NEUTRAL_OF_MODELS = {
    "api_key_env",
    "devices",
    "note",
    "gpu_memory_utilization",
    "kv_cache_gib",
    "max_num_seqs",
    "max_num_batched_tokens",
    "max_model_len",
    "replicas",
    "tensor_parallel_size",
    "url",
    "concurrency",
}


def decode_inputs(recipe: Recipe) -> dict[str, Any]:
    """The recipe values that decide every result of decoding, by dotted key, defaults included.

    Files and model folders count by their content, so that a project that was moved is the same.
    """
    sections = recipe.model_dump(
        mode="json", include={"seed", "models", "teachers", "meta_prover", "problems", "decode"}
    )
    return {
        key: by_content(value) if isinstance(value, str) else value
        for key, value in _flatten({**sections, "seed": recipe.decode_seed}, "")
        if key not in NEUTRAL
        and not key.startswith(WHICH_PROBLEMS)
        and not (_of_model(key) and ".chat_template_kwargs." not in key and key.rsplit(".", 1)[-1] in NEUTRAL_OF_MODELS)
    }


def _flatten(value: Any, key: str) -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        return [pair for k, v in value.items() for pair in _flatten(v, f"{key}.{k}" if key else str(k))]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [pair for i, v in enumerate(value) for pair in _flatten(v, f"{key}.{i}")]
    return [(key, value)]


def _of_model(key: str) -> bool:
    # A reward model that holds less reads less of a trace.
    sections = (
        "teachers.",
        "meta_prover.",
        "decode.integration.",
        "decode.process_reward.",
        f"{JUDGE}.",
        f"{STUDENT}.",
    )
    return key.startswith(sections) and key != "decode.process_reward.max_model_len"
