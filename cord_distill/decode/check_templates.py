"""The chat templates of a recipe's local models, looked at before an engine starts (`cord check`, `cord generate`)."""

from __future__ import annotations

from pathlib import Path

from cord_distill.common.errors import CordError
from cord_distill.decode.check import started_sections
from cord_distill.decode.engine_pool import decoding_sections
from cord_distill.decode.model_facts import ModelFacts, model_facts
from cord_distill.model_files.locate import model_path, yet_to_build
from cord_distill.prompts.cards import recommended_system_prompt
from cord_distill.prompts.template_check import template_fault
from cord_distill.prompts.thought import Thought
from cord_distill.prompts.tokenizer_file import changes_text, tokenizer_head
from cord_distill.recipe.models import ModelConfig
from cord_distill.recipe.prompt_keys import student_prompt
from cord_distill.recipe.recipe import Recipe

STUDENT = "train"
REWARD = "decode.process_reward"
CHATS = ("decode.integration", "evaluate.judge")


def template_faults(recipe: Recipe) -> list[str]:
    """Returns a sentence, with its key, for each local model whose chat template cannot be used; hub ids are
    skipped."""
    return _faults(recipe, rendering_sections(recipe))


def check_templates(recipe: Recipe) -> None:
    """Raises CordError for the first model of decoding whose chat template cannot be used."""
    faults = _faults(recipe, decoding_sections(recipe))
    if faults:
        raise CordError(faults[0])


def rendering_sections(recipe: Recipe) -> dict[str, ModelConfig]:
    """Every model of the recipe whose prompts are made here, by its dotted key; the student is `train`."""
    evaluate, sections = recipe.evaluate, started_sections(recipe)
    if evaluate.judge and evaluate.suites:
        sections["evaluate.judge"] = evaluate.judge
    # A server renders its chats itself.
    sections = {key: one for key, one in sections.items() if key not in CHATS or one.engine == "vllm"}
    student = recipe.train.get("model_name_or_path")
    if student:
        template = recipe.train.get("chat_template_path")
        sections[STUDENT] = ModelConfig(model=str(student), chat_template=template, **student_prompt(recipe.train))
    if evaluate.suites:
        sections |= {f"evaluate.models.{i}": section for i, section in enumerate(evaluate.models)}
    return sections


def local_folder_of(recipe: Recipe, key: str, section: ModelConfig) -> Path | None:
    """Where the model's files lie; None where that is the hub, is still to be built, or is a fault of its own."""
    if not section.model or yet_to_build(recipe, section.model):
        return None
    try:
        folder = Path(model_path(recipe, section.model, f"{key}.model"))
    except CordError:
        return None
    return folder if folder.is_dir() else None


def _system_prompt(section: ModelConfig, folder: Path) -> str:
    given = section.system_prompt
    return (recommended_system_prompt(str(folder)) if given is None else given) or ""


def facts_of(section: ModelConfig, folder: Path) -> ModelFacts:
    """What the files in `folder` say of the model of this section, under the section's own template and prompt."""
    return model_facts(
        folder,
        chat_template=section.chat_template,
        template_args=section.chat_template_kwargs,
        system=_system_prompt(section, folder),
        thought=Thought(section.think_open, section.think_close),
    )


def _faults(recipe: Recipe, sections: dict[str, ModelConfig]) -> list[str]:
    found = []
    for key, section in sections.items():
        folder = local_folder_of(recipe, key, section)
        if folder is None:
            continue
        fault = template_fault(
            folder,
            chat_template=section.chat_template,
            template_args=section.chat_template_kwargs,
            system_prompt=_system_prompt(section, folder),
            key="train.chat_template_path" if key == STUDENT else "chat_template",
            thinks=key != REWARD,
            thought=Thought(section.think_open, section.think_close),
        )
        fault = fault or _tokenizer_fault(folder, section, writes=key != REWARD)
        if fault:
            found.append(f"{key}: {section.label}: {fault}")
    return found


def _tokenizer_fault(folder: Path, section: ModelConfig, *, writes: bool) -> str | None:
    """Names what in tokenizer.json would change every trace, or leave a model that `writes` without an end of turn."""
    head = tokenizer_head(folder)
    changes = changes_text(head)
    if changes:
        return f"its tokenizer does not give text back: it {changes}, so a trace would change; take another model"
    if not head or not writes:
        return None
    facts = model_facts(folder, chat_template=section.chat_template, template_args=section.chat_template_kwargs)
    if facts.tokens["turn"]:
        return None
    return (
        "neither its chat template nor its tokenizer names an end of turn, so nothing would stop it; give another with "
        "`chat_template: ./file.jinja`, or set eos_token in its tokenizer_config.json"
    )
