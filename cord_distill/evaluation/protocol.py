"""The protocol of an evaluation (all that can change a score, as in results.json): how it is read and compared."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from cord_distill.recipe.prompt_keys import PROMPT_DEFAULTS

# Who answers, not how: these differ between any two models.
OF_THE_MODEL = ("weights", "max_model_len")
PER_SUITE = ("version", "grader", "grader_version", "check", "judge_prompt_version", "data", "problems")
SHOWN_DEFAULTS = {"kv_cache_dtype": "auto", "tensor_parallel_size": 1, "top_k": -1, "min_p": 0.0, "dtype": "auto"}
# What a model is asked and how it is sampled, whatever runs it.
ASKED = ("instruction", "answer_in_thought", "temperature", "top_p", "top_k", "min_p", "max_new_tokens")


def comparability(protocol: dict[str, Any], suite: str) -> str:
    """`v1-g3-0f3a9c12`: the versions of suite and grader, and a hash of what is asked and how it is judged (data,
    instruction, sampling, token limit, judge). Figures of two models under one such name can stand side by side; what
    runs the model (engine, dtype, template) is in the protocol."""
    facts = {key: protocol["suites"][suite].get(key) for key in PER_SUITE}
    asked = {key: protocol.get(key) for key in ASKED}
    judge = protocol.get("judge") if "judge_prompt_version" in protocol["suites"][suite] else None
    text = json.dumps([suite, facts, asked, judge], sort_keys=True, default=str)
    return f"v{facts['version']}-g{facts['grader_version']}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def protocol_lines(protocol: dict[str, Any]) -> list[str]:
    """A few lines for people. What stands at its default is left out; results.json has everything."""
    kept = {key: value for key, value in protocol.items() if key not in SHOWN_DEFAULTS or value != SHOWN_DEFAULTS[key]}
    sampling = f"T={kept['temperature']:g}, top_p={kept['top_p']:g}, up to {kept['max_new_tokens']:,} new tokens"
    extra = "".join(f", {key} {kept[key]}" for key in ("top_k", "min_p") if key in kept)
    engine = [kept["engine_version"], f"on {kept['device']}"]
    engine += [f"{key} {kept[key]}" for key in ("dtype", "kv_cache_dtype", "tensor_parallel_size") if key in kept]
    system = (
        f"system prompt of {len(kept['system_prompt'])} characters" if kept["system_prompt"] else "no system prompt"
    )
    prompt = [system, f"chat template: {kept['chat_template']}"]
    if kept.get("chat_template_kwargs"):
        prompt.append(f"chat_template_kwargs: {kept['chat_template_kwargs']}")
    prompt += [f"{key}: {kept[key]!r}" for key in PROMPT_DEFAULTS if kept.get(key)]
    if kept.get("instruction"):
        prompt.append(f"instruction: {kept['instruction']!r}")
    found = [
        f"  sampling  {sampling}{extra}; own seed per sample, from {kept['seed']}",
        f"  prompt    {'; '.join(prompt)}",
        f"  engine    {', '.join(engine)}",
    ]
    for name, suite in kept["suites"].items():
        found.append(
            f"  suite     {name}: {suite['problems']} problems x {suite['samples']} samples from {suite['source']} "
            f"(data {suite['data'][:8]}), grader {suite['grader']} v{suite['grader_version']}"
        )
    if kept.get("judge"):
        found.append(f"  judge     {kept['judge']['model']}, T={kept['judge']['temperature']:g}")
    return found


def differences(a: dict[str, Any], b: dict[str, Any], suite: str) -> list[str]:
    """What differs between two protocols for one suite, as `key: a | b`. The number of samples is no part of it: it
    changes the interval of avg@k, not what is measured."""
    skipped = {*OF_THE_MODEL, "suites", "lighteval_tasks", "judge"}
    found = [_difference(key, a.get(key), b.get(key)) for key in sorted({*a, *b} - skipped) if a.get(key) != b.get(key)]
    one, other = (p.get("suites", {}).get(suite, {}) for p in (a, b))
    found += [
        _difference(f"{suite}.{key}", one.get(key), other.get(key))
        for key in PER_SUITE
        if one.get(key) != other.get(key)
    ]
    judged = "judge_prompt_version" in one
    if judged and a.get("judge") != b.get("judge"):
        found.append(_difference("judge", a.get("judge"), b.get("judge")))
    return found


def _difference(key: str, a: Any, b: Any) -> str:
    return f"{key}: {_short(a)} | {_short(b)}"


def _short(value: Any) -> str:
    text = "none" if value is None or value == "" else str(value)
    return text if len(text) <= 40 else text[:37] + "..."
