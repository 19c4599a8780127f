"""Starting the model that merges traces (`decode.integration`)."""

from __future__ import annotations

from cord_distill.chat import ChatModel
from cord_distill.engines.start import EnginePool
from cord_distill.model import Model
from cord_distill.recipe import Recipe
from cord_distill.types import Problem

# What an integrator is told, without the question and the traces, and with some room (prompts/integration.txt).
PROMPT_TOKENS = 1024


async def start_integrator(
    recipe: Recipe, teachers: tuple[Model, ...], problems: list[Problem], pool: EnginePool
) -> ChatModel | None:
    """None for other pipelines. Its context is to hold the teachers' traces at full length and the merged one."""
    section = recipe.decode.integration
    if section is None or recipe.decode.pipeline != "integration":
        return None
    budgets = recipe.decode.budgets
    traces = len(teachers) * section.traces_per_teacher * (budgets.reasoning_tokens + budgets.answer_tokens)
    longest = max(len(teachers[0].renderer.encode(problem.question)) for problem in problems)
    return await pool.chat(recipe, section, "decode.integration", PROMPT_TOKENS + longest + traces + section.max_tokens)
