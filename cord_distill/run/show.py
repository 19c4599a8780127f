"""`cord show`: what each model of a recipe is sent, word for word. Loads tokenizers and no engine.

Per model the prompt of the first problem; for the model that scores, the text whose answer is predicted, with the
answer's tokens; for the student the first training row with its mask.
"""

from __future__ import annotations

from dataclasses import dataclass

from cord_distill.common.errors import CordError
from cord_distill.common.paths import short_path
from cord_distill.decode.check_templates import REWARD, STUDENT, facts_of, local_folder_of, rendering_sections
from cord_distill.decode.engine_pool import step_instructions
from cord_distill.decode.ensemble import segmentation_of
from cord_distill.decode.model import Model
from cord_distill.decode.model_facts import facts_line
from cord_distill.decode.problems import load_candidates
from cord_distill.engines.base import Sampling
from cord_distill.prompts.render import Renderer, renderer_of
from cord_distill.recipe.experiment import Experiment
from cord_distill.recipe.models import ModelConfig
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.paths import TRAIN_FILE, RunFolder
from cord_distill.training.rows import render, visible
from cord_distill.types import Problem, Step, Stop

EXAMPLE = Problem("an example, since no problem is at hand", "What is the sum of 17 and 25?", "42")
# Read in another way than a question with a thought behind it.
CHATS = ("decode.integration", "evaluate.judge")


@dataclass(frozen=True, slots=True)
class Shown:
    """One model: a title, and parts with a heading each."""

    title: str
    parts: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return "\n".join([f"# {self.title}", *(f"--- {head}\n{visible(text)}" for head, text in self.parts)])


def show(experiment: Experiment) -> list[Shown]:
    """What each model is sent whose files are here. Raises CordError where none is, or a tokenizer is unusable."""
    recipe = experiment.recipe
    problem = _first_problem(recipe)
    sections = {key: section for key, section in rendering_sections(recipe).items() if key not in CHATS}
    shown = [one for key, section in sections.items() if (one := _of_model(recipe, key, section, problem)) is not None]
    if not shown:
        raise CordError(
            f"{experiment.source}: none of its models is here yet: build them (cord models), or download them"
        )
    return shown


def _first_problem(recipe: Recipe) -> Problem:
    local = recipe.problems is not None and not recipe.problems.dataset
    candidates = load_candidates(recipe) if local else []
    return candidates[0] if candidates else EXAMPLE


def _of_model(recipe: Recipe, key: str, section: ModelConfig, problem: Problem) -> Shown | None:
    folder = local_folder_of(recipe, key, section)
    if folder is None:
        return None
    title = f"{key}, {section.label}: {facts_line(facts_of(section, folder))}"
    renderer = renderer_of(section, str(folder))
    if key == STUDENT:
        return Shown(title, _training_row(recipe, renderer))
    if key == REWARD:
        text = renderer.turn_text(problem.question)
        return Shown(title, ((f"before the steps of {problem.id}", text),))
    decodes = not key.startswith(("evaluate.", "problems."))
    question = problem.question + (step_instructions(recipe) if decodes else "")
    ids = renderer.prompt_ids(question)
    opening = segmentation_of(recipe.decode).opening(()) if decodes else ""
    head = f"prompt of {problem.id}, {len(ids)} tokens" + (f"; a first step begins {opening!r}" if opening else "")
    if renderer.foreign(question) != question:
        head += "; control tokens in the question are sent as text"
    parts = [(head, renderer.prompt_text(question))]
    if key == "meta_prover":
        parts.append(_scored(recipe, renderer, problem, question, opening))
    return Shown(title, tuple(parts))


def _scored(recipe: Recipe, renderer: Renderer, problem: Problem, question: str, opening: str) -> tuple[str, str]:
    """The text behind which the known answer is predicted, with a stand-in for the steps."""
    ending = recipe.decode.score_ending
    model = Model("shown", "shown", None, renderer, Sampling(0, 0), score_ending=ending)  # type: ignore[arg-type]
    step = Step(1, "", f"{opening} [the steps]\n\n", (), 0, None, Stop.STEP)
    suffix = recipe.decode.answer_suffix
    ids, _ = model.reading(question, (step,), suffix.partition("{A}")[0])
    before, target = model.answer_ids(suffix, problem.answer)
    tokens = " ".join(repr(renderer.decode_as_is([i])) for i in target)
    behind = renderer.decode_as_is([*ids, *before])[len(renderer.prompt_text(question)) :]
    head = f"scored behind the same prompt: the probability of the {len(target)} tokens {tokens}"
    return head, behind + renderer.decode_as_is(target)


def _training_row(recipe: Recipe, renderer: Renderer) -> tuple[tuple[str, str], ...]:
    file = RunFolder.of(recipe).dataset / TRAIN_FILE
    if not file.is_file():
        said = f"{short_path(file)} is made by cord data; this is the prompt of an example"
        return ("no training row yet", said), ("given, no loss", renderer.prompt_text(EXAMPLE.question))
    longest = int(recipe.train.get("max_length") or 1 << 30)
    rows = render(file, renderer, max_length=longest, max_tokens=recipe.data.filters.max_tokens, context=None, limit=1)
    return ((f"the first row of {short_path(file)}", rows.sample.rstrip("\n")),)
