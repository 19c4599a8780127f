"""The first half of decoding: every mistake that the recipe, its files and its model folders show without an engine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from cord_distill.common.errors import CordError, faults_in
from cord_distill.common.plugins import load_plugin
from cord_distill.decode.devices import device_faults
from cord_distill.decode.engine_pool import decoding_sections
from cord_distill.decode.own import check_own
from cord_distill.decode.pipelines.check import check_baselines
from cord_distill.decode.pipelines.hooks import check_hooks
from cord_distill.decode.pipelines.own import pipeline_of
from cord_distill.decode.problems import Read, load_candidates
from cord_distill.decode.selectors.check import check_selector, judge_section
from cord_distill.engines.vllm.engine_keys import engine_args_faults
from cord_distill.grading import load_grader
from cord_distill.model_files.build import model_builder
from cord_distill.model_files.locate import model_path, yet_to_build
from cord_distill.model_files.look import folder_facts, folder_faults
from cord_distill.recipe.evaluate import JudgeConfig
from cord_distill.recipe.models import ModelConfig
from cord_distill.recipe.recipe import Recipe
from cord_distill.types import Problem

# The tokenizer is asked for the longest questions only where so many tokens could decide.
NEAR = 65536
LONGEST = 3


def decoding_faults(recipe: Recipe, gpus: int | None = None, read: Read = load_candidates) -> list[str]:
    """Returns one sentence per mistake, for `cord check`. gpus: of the machine that decodes; None = another machine
    than this one. read: gives the problems."""
    if not recipe.teachers:
        wanted = recipe.problems is not None and not recipe.data.sources
        return ["teachers: the recipe names none for its problems; give at least one model"] if wanted else []
    found: list[str] = []
    problems: list[Problem] = []
    if recipe.problems is None or not recipe.problems.dataset:
        try:
            problems = read(recipe)
        except CordError as error:
            found.append(str(error))
    for check in _checks(recipe):
        found += faults_in(check)
    sections = started_sections(recipe)
    found += _plugin_faults(recipe, sections)
    for key, section in sections.items():
        found += model_faults(recipe, section, key, problems)
    found += device_faults(sections, gpus)
    return list(dict.fromkeys(found))


def check_decode(recipe: Recipe) -> None:
    """Checks a recipe's settings for `cord generate`, before a model is built or loaded. Raises CordError."""
    if not recipe.teachers:
        raise CordError("teachers: the recipe names none; give at least one model")
    for check in _checks(recipe):
        check()


def _checks(recipe: Recipe) -> list[Callable[[], object]]:
    """The checks of the settings alone. Each raises CordError."""
    of_recipe = [partial(check, recipe) for check in (check_selector, check_baselines)]
    return [*of_recipe, *(partial(check, recipe.decode) for check in (check_hooks, check_own, pipeline_of))]


def _plugin_faults(recipe: Recipe, sections: dict[str, ModelConfig]) -> list[str]:
    """Names graders, checks and scripts that cannot be loaded."""
    found = []
    if recipe.models:
        found += faults_in(model_builder, recipe.models)
    if recipe.problems and recipe.problems.grader != "judge":
        found += faults_in(load_grader, recipe.problems.grader)
    if recipe.problems and recipe.problems.hard_for and recipe.problems.grader == "judge":
        found += faults_in(judge_of, recipe)
    if recipe.problems and recipe.problems.process_check:
        found += faults_in(load_plugin, recipe.problems.process_check, "problems.process_check")
    for key, section in sections.items():
        if section.engine == "scripted" and section.script:
            found += faults_in(load_plugin, section.script, f"{key}.script")
    return found


def judge_of(recipe: Recipe) -> JudgeConfig:
    """The judge of `problems.grader: judge`, which decides which problems are hard. Raises CordError."""
    if recipe.evaluate.judge is None:
        raise CordError(
            "problems.grader: judge asks evaluate.judge, and there is none; give it, e.g. "
            "evaluate.judge={engine: server, url: http://127.0.0.1:8000/v1, model: Qwen/Qwen3-32B}"
        )
    return recipe.evaluate.judge


def started_sections(recipe: Recipe) -> dict[str, ModelConfig]:
    """The models that decoding starts, by their dotted names. A judge whose `same_as` names nobody is left out."""
    decode = recipe.decode
    if faults_in(judge_section, recipe):
        unjudged = decode.model_copy(update={"selector": "predictive_perplexity"})
        found = decoding_sections(recipe.model_copy(update={"decode": unjudged}))
    else:
        found = decoding_sections(recipe)
    if decode.process_reward is not None and decode.selector == "process_reward":
        found["decode.process_reward"] = decode.process_reward
    if decode.integration is not None and decode.pipeline == "integration":
        found["decode.integration"] = decode.integration
    if recipe.problems and recipe.problems.hard_for:
        found["problems.hard_for"] = recipe.problems.hard_for
    return found


def model_faults(recipe: Recipe, section: ModelConfig, key: str, problems: list[Problem]) -> list[str]:
    """Checks a model's folder, engine arguments and context. Hub ids and models that are yet to be built are
    skipped."""
    found = []
    if section.engine == "vllm":
        found += engine_args_faults(section.engine_args, f"{key}.engine_args")
        found += engine_args_faults({"kv_cache_dtype": section.kv_cache_dtype}, key)
    needed = budget_tokens(recipe, key)
    own = section.max_model_len
    if own is not None and section.engine != "scripted" and own <= needed:
        found.append(
            f"{key}.max_model_len {own} holds no prompt beside the budgets' {needed} tokens: lower decode.budgets, or "
            "raise it if the model allows it"
        )
    asked_in_words = key == "decode.integration" and section.engine != "vllm"
    if not section.model or asked_in_words:
        return found
    if yet_to_build(recipe, section.model):
        return found
    try:
        folder = Path(model_path(recipe, section.model, f"{key}.model"))
        if not folder.is_dir():
            return found
        facts = folder_facts(folder, f"{key}.model")
    except CordError as error:
        return [*found, str(error)]
    found += folder_faults(folder, f"{key}.model", weights=section.engine == "vllm")
    parts = section.tensor_parallel_size
    if section.engine == "vllm" and facts.heads and facts.heads % parts:
        fits = [n for n in range(1, 17) if facts.heads % n == 0]
        found.append(
            f"{key}.tensor_parallel_size {parts} does not divide the {facts.heads} attention heads of {section.label}; "
            f"take one of {', '.join(map(str, fits))}"
        )
    limit = min((x for x in (own, facts.positions) if x), default=None)
    if limit is not None and section.engine != "scripted" and not (own and own <= needed):
        needed += _longest_question(folder, problems) if needed <= limit < needed + NEAR else 0
        if needed >= limit:
            name = f"{key}.max_model_len" if limit == own else f"{key}: {section.label}"
            found.append(
                f"{name} holds {limit} tokens, but problems and budgets need more than {needed}: lower decode.budgets"
            )
    return found


def budget_tokens(recipe: Recipe, key: str) -> int:
    """Tokens that the model of this key may have to read and write behind a question, by the budgets."""
    if key == "problems.hard_for" and recipe.problems and recipe.problems.hard_for:
        return recipe.problems.hard_for.reasoning_tokens + recipe.problems.hard_for.answer_tokens
    if key == "decode.process_reward":
        return recipe.decode.budgets.max_step_tokens
    if key == "decode.integration":
        return 0
    return recipe.decode.budgets.reasoning_tokens + recipe.decode.budgets.answer_tokens


def _longest_question(folder: Path, problems: list[Problem]) -> int:
    """Tokens of the longest question, by the folder's tokenizer.json; 0 where it cannot be read so."""
    if not problems or not (folder / "tokenizer.json").is_file():
        return 0
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception:  # a damaged file is the tokenizer's own to complain of
        return 0
    longest = sorted((problem.question for problem in problems), key=len)[-LONGEST:]
    return max(len(tokenizer.encode(text, add_special_tokens=False).ids) for text in longest)
