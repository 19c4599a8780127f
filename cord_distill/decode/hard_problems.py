"""Which problems are hard: the rule, and what `cord problems` found by it (`try_problems.py` makes the tries).

The rule is that of the paper's PubMedQA-456: several tries of a small model, all of them wrong, with long reasoning.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.jsonl import read_json, read_jsonl
from cord_distill.decode.problems import Read, load_candidates
from cord_distill.model_files.content import by_content
from cord_distill.recipe.file import recipe_hash
from cord_distill.recipe.problems import HardForConfig
from cord_distill.recipe.prompt_keys import PROMPT_DEFAULTS
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.paths import RunFolder
from cord_distill.types import Problem, Stop

# What decides the text of a try. Devices and memory do not, nor does the rule, which reads what is written.
MODEL_KEYS = {
    *("model", "revision", "engine", "script", "engine_args", "dtype", "kv_cache_dtype", "system_prompt"),
    *("chat_template", "chat_template_kwargs", "temperature", "top_p", "top_k", "min_p", *PROMPT_DEFAULTS),
    *("repetition_detection", "served_model_name", "tries", "reasoning_tokens", "answer_tokens", "seed"),
}
SOURCE_KEYS = {
    *("builder", "args", "dataset", "subset", "revision", "split"),
    *("question", "answer", "id", "context"),
}
RULE_KEYS = {"min_reasoning_tokens", "reasoning_length"}
LENGTHS: dict[str, Callable[[Sequence[int]], float]] = {"mean": statistics.fmean, "min": min, "max": max}


@dataclass(frozen=True, slots=True)
class Try:
    """One answer of the small model. text: all after `<think>\\n`. reasoning_tokens: its own, up to `</think>`.

    stop: how it ended; LENGTH = one of its budgets was spent.
    """

    text: str
    reasoning_tokens: int
    stop: Stop


def why_not_hard(tries: Sequence[Try], right: Sequence[bool], hard_for: HardForConfig) -> str | None:
    """`solved`: a try is right. `short`: the reasoning is no longer than asked. None: the problem is kept."""
    if any(right):
        return "solved"
    length = LENGTHS[hard_for.reasoning_length]([one.reasoning_tokens for one in tries])
    return "short" if length <= hard_for.min_reasoning_tokens else None


def try_inputs(recipe: Recipe) -> dict[str, Any]:
    """The recipe values that decide the tries. Files and model folders count by their content."""
    problems, hard_for = recipe.problems, required(recipe)
    assert problems is not None
    models = recipe.models.model_dump(mode="json", exclude={"cache_dir"}) if recipe.models else None
    source, asked = (
        part.model_dump(mode="json", include=keys) for part, keys in ((problems, SOURCE_KEYS), (hard_for, MODEL_KEYS))
    )
    inputs = {
        **{f"problems.{key}": value for key, value in source.items()},
        **{f"problems.hard_for.{key}": value for key, value in asked.items()},
        **({"models": models} if hard_for.model.startswith("built:") else {}),
    }
    return {key: by_content(value) if isinstance(value, str) else value for key, value in inputs.items()}


def filter_fingerprint(recipe: Recipe) -> str:
    """The hash of all that decides which problems are kept, `problems.limit` and the problems' own content left out."""
    assert recipe.problems is not None
    judge = recipe.evaluate.judge if recipe.problems.grader == "judge" else None
    rule = {
        **required(recipe).model_dump(mode="json", include=RULE_KEYS),
        "grader": recipe.problems.grader,
        "judge": judge and judge.model_dump(mode="json"),
    }
    return recipe_hash({**try_inputs(recipe), "rule": rule})


def required(recipe: Recipe) -> HardForConfig:
    """Returns `problems.hard_for`. Raises CordError where the recipe has none."""
    if recipe.problems is None or recipe.problems.hard_for is None:
        raise CordError("problems.hard_for: the recipe has none; give the small model, e.g. problems.hard_for.model=ID")
    return recipe.problems.hard_for


def hard_ids(recipe: Recipe, candidates: Sequence[Problem]) -> set[str]:
    """Returns the ids that `cord problems` kept. Raises CordError: not run yet, run under other settings, on fewer
    problems, or on others under the same ids."""
    run = RunFolder.of(recipe)
    stats = read_json(run.problem_filter / "stats.json")
    make = "find them: cord problems RECIPE"
    if not stats or not run.hard_problems.is_file():
        raise CordError(f"problems.hard_for: {run.hard_problems} is not there yet; {make}")
    if stats.get("fingerprint") != filter_fingerprint(recipe):
        raise CordError(f"problems.hard_for: {run.hard_problems} was made under other settings; {make}")
    tried, wanted = stats.get("limit"), recipe.problems and recipe.problems.limit
    if tried is not None and (wanted is None or wanted > tried):
        raise CordError(f"problems.hard_for: only the first {tried} problems were tried; {make}")
    if tried == wanted and stats.get("content") != contents(candidates):
        raise CordError(f"problems.hard_for: {run.hard_problems} was found among other questions or answers; {make}")
    rows = [row for _, row in read_jsonl(run.hard_problems, key="problems.hard_for", columns="id, question and answer")]
    if not rows:
        raise CordError("problems.hard_for: no problem was hard enough; lower min_reasoning_tokens, or add problems")
    now = {problem.id: (problem.question, problem.answer) for problem in candidates}
    ids = set()
    for number, row in enumerate(rows, start=1):
        if not {"id", "question", "answer"} <= row.keys():
            raise CordError(
                f"problems.hard_for: {run.hard_problems}, row {number}: lacks id, question or answer; {make}"
            )
        ids.add(problem_id := str(row["id"]))
        tried_with = (row["question"], row["answer"])
        if now.get(problem_id, tried_with) != tried_with:
            raise CordError(
                f"problems.hard_for: {problem_id!r} has another question or answer than it was tried with; {make}"
            )
    return ids


def contents(problems: Sequence[Problem]) -> str:
    """Returns one hash of what all the candidates say."""
    return recipe_hash({"problems": [[problem.id, problem.content] for problem in problems]})


def load_problems(recipe: Recipe, read: Read = load_candidates) -> list[Problem]:
    """The problems that are decoded: all candidates, or with `problems.hard_for` those that `cord problems` kept. read:
    gives the candidates.

    Raises CordError as `load_candidates`, and where the hard ones were not found yet, or found under other settings.
    """
    candidates = read(recipe)
    if recipe.problems is None or recipe.problems.hard_for is None:
        return candidates
    hard = hard_ids(recipe, candidates)
    return [problem for problem in candidates if problem.id in hard]
