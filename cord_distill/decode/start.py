"""Starts the models that a recipe decodes with: teachers, meta-prover, judge, reward model, integrator."""

from __future__ import annotations

import functools
from dataclasses import replace

from cord_distill.common.errors import CordError
from cord_distill.decode.engine_pool import EnginePool, decoding_sections, path_of
from cord_distill.decode.pipelines import Ensemble
from cord_distill.decode.replay import Meter
from cord_distill.decode.reward_model import RewardModel, separator_of
from cord_distill.decode.selectors.check import JUDGE, STUDENT
from cord_distill.engines.chat import ChatModel
from cord_distill.grading import load_grader
from cord_distill.model_files.content import by_content
from cord_distill.model_files.locate import model_path
from cord_distill.prompts.render import renderer_of
from cord_distill.recipe.recipe import Recipe
from cord_distill.types import Problem

# What an integrator is told, without the question and the traces, and with some room (pipelines/integration.txt).
PROMPT_TOKENS = 1024
KEY = "decode.process_reward"


async def start_reward_model(recipe: Recipe, problems: list[Problem], pool: EnginePool) -> RewardModel | None:
    """The started reward model, None where the selector asks none.

    Raises CordError: no such model, or one that cannot hold the longest question and one step.
    """
    section = recipe.decode.process_reward
    if recipe.decode.selector != "process_reward" or section is None:
        return None
    path = path_of(recipe, section, KEY)
    renderer = renderer_of(section, path)
    renderer.check_prompt(thinks=False)
    budgets = recipe.decode.budgets
    prompt = max((len(renderer.turn_ids(problem.question)) for problem in problems), default=0)
    engine = await pool.engine(section, path, renderer, KEY, recipe, prompt + budgets.reasoning_tokens)
    longest: int | None = engine.max_model_len
    needed = prompt + budgets.max_step_tokens
    if longest is not None and longest < needed:
        raise CordError(
            f"{KEY}: {section.label} holds {longest} tokens, but the longest question and one step need {needed}: "
            f"lower decode.budgets.max_step_tokens, or raise {KEY}.max_model_len if the model allows it"
        )
    pool.meters.setdefault(section.label, Meter())
    separator = separator_of(renderer, section.step_separator)
    return RewardModel(section.label, f"{by_content(path)}@{section.revision}", engine, renderer, separator, longest)


async def start_ensemble(recipe: Recipe, problems: list[Problem], pool: EnginePool) -> Ensemble:
    """The started models of a recipe. problems: those that they must hold. Raises CordError as the pool does."""
    sections = decoding_sections(recipe)
    starts = [functools.partial(pool.model, recipe, section, key, problems) for key, section in sections.items()]
    others = [functools.partial(start, recipe, problems, pool) for start in (start_reward_model, start_integrator)]
    *made, reward_model, integrator = await pool.together(recipe, [*starts, *others])
    started = dict(zip(sections, made, strict=True))
    # Steps are written by teachers: of two models of one name, the teacher's vocabulary counts.
    vocabularies = {model.name: model.vocabulary for model in reversed(started.values())}
    models = {key: replace(model, vocabularies=vocabularies) for key, model in started.items()}
    prover = models.get("meta_prover")
    return Ensemble(
        tuple(models[f"teachers.{i}"] for i in range(len(recipe.teachers))),
        prover,
        recipe.decode,
        recipe.decode_seed,
        reward_model=reward_model,
        judge=models.get(JUDGE, prover) if recipe.decode.selector == "binary_judgment" else None,
        # It will be trained on the question alone, without the instructions for teachers.
        student=replace(models[STUDENT], instructions="") if STUDENT in models else None,
        grade=load_grader(recipe.problems.grader) if recipe.problems else None,
        integrator=integrator,
    )


async def start_integrator(recipe: Recipe, problems: list[Problem], pool: EnginePool) -> ChatModel | None:
    """The started integrator, None for other pipelines. Its context is to hold the teachers' traces at full length and
    the merged one."""
    section = recipe.decode.integration
    if section is None or recipe.decode.pipeline != "integration":
        return None
    budgets = recipe.decode.budgets
    traces = len(recipe.teachers) * section.traces_per_teacher * (budgets.reasoning_tokens + budgets.answer_tokens)
    teacher = recipe.teachers[0]
    renderer = renderer_of(teacher, model_path(recipe, teacher.model, "teachers.0.model"))
    longest = max(len(renderer.prompt_ids(problem.question)) for problem in problems)
    return await pool.chat(recipe, section, "decode.integration", PROMPT_TOKENS + longest + traces + section.max_tokens)
