"""The README.md beside a trained student: what it was made of, how it was trained, what it scored, what it is not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cord_distill import __version__
from cord_distill.common.files import write_atomic
from cord_distill.common.jsonl import own_rows, read_json
from cord_distill.common.markdown import inline, markdown_table, without_places
from cord_distill.evaluation.figures import ModelScores, SuiteFigures
from cord_distill.model_files.locate import PREFIX, is_on_the_hub
from cord_distill.prompts.thought import Thought
from cord_distill.recipe.experiment import Experiment
from cord_distill.recipe.file import dump_recipe
from cord_distill.recipe.models import ModelConfig
from cord_distill.recipe.recipe import Recipe
from cord_distill.recipe.training_stages import base_model, section_of, stage_before, training_runs
from cord_distill.report.eval_results import write_eval_results
from cord_distill.report.summary import Summary
from cord_distill.report.table import percent_with_interval
from cord_distill.run_folder.paths import STATS_FILE, TRAIN_FILE, RunFolder
from cord_distill.run_folder.training_folder import TrainingFolder
from cord_distill.tracking.checkpoint_results import checkpoint_results

SHOWN = (
    "model_revision", "learning_rate", "num_train_epochs", "max_steps", "global_batch_size", "max_length",
    "lr_scheduler_type", "warmup_steps", "use_peft", "lora_r", "beta", "loss_type", "teacher", "temperature",
    "max_completion_length",
)  # fmt: skip
TAGS = {"train": "sft", "dpo": "dpo", "distil": "on-policy-distillation"}
STAGE_SAID = {
    "train": "fine-tuned on",
    "dpo": "fine-tuned and then trained on preferences between steps of",
    "distil": "fine-tuned and then distilled on its own answers to the questions of",
}
HOW = {
    "train": "Supervised fine-tuning (TRL); the loss is on thought and answer",
    "dpo": "Direct preference optimisation (TRL's DPOTrainer) on pairs that the meta-prover's scores chose",
    "distil": "On-policy distillation (TRL's DistillationTrainer): the student answers, a teacher corrects every token",
}
COMMON_TAGS = [
    *("reasoning", "chain-of-thought", "long-cot", "distillation", "knowledge-distillation", "multi-teacher"),
    *("cord", "cord-distill", "trl"),
]
MOST_QUESTION = 400
CITATION = """@inproceedings{yun-etal-2026-distilling,
  title     = {Distilling Long-{C}o{T} Reasoning through Collaborative Step-wise Multi-Teacher Decoding},
  author    = {Yun, Taewon and Shin, Jisu and Choi, Jeonghwan and Bang, Seunghwan and Song, Hwanjun},
  booktitle = {Findings of the Association for Computational Linguistics: {ACL} 2026},
  year      = {2026},
  pages     = {37452--37468},
  url       = {https://aclanthology.org/2026.findings-acl.1867/},
  note      = {arXiv:2605.02290}
}
"""


def write_model_card(recipe: Recipe, summary: Summary | None = None) -> Path | None:
    """Writes `final/README.md` of one training; None where there is no finished model.

    recipe: of one variant and one seed. summary: of the run, for the evaluation's figures.
    """
    trained = TrainingFolder.of(recipe)
    if not trained.has_model:
        return None
    suites, path = student_figures(recipe, summary), trained.final / "README.md"
    write_atomic(path, model_card(recipe, trained.figures, read_json(trained.run.dataset / STATS_FILE), suites))
    write_eval_results(trained.final, recipe, suites)
    return path


def write_checkpoint_card(recipe: Recipe, folder: Path, step: int) -> None:
    """Writes `folder/README.md` of a checkpoint that was exported, with its own figures where it was evaluated."""
    trained = TrainingFolder.of(recipe)
    results = next((r for r in checkpoint_results(trained) if r["step"] == step), {})
    suites = ModelScores.of(results, recipe.evaluate.suites).suites
    done = {**trained.figures, "steps": step}
    done.pop("mean_loss", None)  # of the whole training
    text = model_card(recipe, done, read_json(trained.run.dataset / STATS_FILE), suites, suffix=f"-checkpoint-{step}")
    write_atomic(folder / "README.md", text)


def write_model_cards(experiment: Experiment, summary: Summary) -> None:
    """`write_model_card` of every finished student of a recipe, with what its evaluation gave."""
    for recipe in experiment.methods:
        for one in training_runs(recipe):
            write_model_card(one, summary)


def student_figures(recipe: Recipe, summary: Summary | None) -> Mapping[str, SuiteFigures]:
    """suite -> its figures for the student that `recipe` trains, {} where it was not evaluated."""
    student = summary.students.get(RunFolder.of(recipe).student) if summary else None
    if student and recipe.train_seed is not None:
        student = student.seeds.get(recipe.train_seed)
    return student.suites if student else {}


def model_card(
    recipe: Recipe, done: dict[str, Any], stats: dict[str, Any], suites: Mapping[str, SuiteFigures], suffix: str = ""
) -> str:
    """Markdown with the hub's YAML header. done: done.json of the training; stats: stats.json of its data set. suffix:
    of the model's name."""
    name = f"{recipe.name}-{RunFolder.of(recipe).label}{suffix}"
    base = inline(_name(base_model(recipe)))
    tags = Thought.of(section_of(recipe))
    return f"""---
{_header(recipe, name, suites)}
---
# {inline(name)}

{base}, {STAGE_SAID[recipe.stage]} {_data(recipe, stats)} by cord-distill {__version__}.
It thinks in `{tags.tag}` … `{tags.close}` and then answers; the chat template opens the thought, or the prompt does.

```python
from transformers import pipeline

ask = pipeline("text-generation", model="PATH_OR_HUB_ID")
ask([{{"role": "user", "content": {json.dumps(_question(recipe), ensure_ascii=False)}}}], max_new_tokens=4096)
```

## Evaluation
{_evaluation(recipe, suites)}
## Training
{_training(recipe, done)}
## Limits
{_limits(recipe, stats)}
## Recipe
```yaml
{without_places(dump_recipe(recipe))}```

## Citation
```bibtex
{CITATION}```
"""


def _header(recipe: Recipe, name: str, suites: Mapping[str, SuiteFigures]) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    base = base_model(recipe)
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=suite,
            dataset_name=suite,
            metric_type=f"avg@{figures.k}",
            metric_value=round(100 * figures.avg_at_k, 2),
        )
        for suite, figures in suites.items()
        if figures.avg_at_k is not None
    ]
    data = ModelCardData(
        model_name=name,
        base_model=base if is_on_the_hub(base) else None,
        library_name="transformers",
        pipeline_tag="text-generation",
        license="other",
        tags=[*COMMON_TAGS, *_stage_tags(recipe)],
        datasets=_datasets(recipe) or None,
        eval_results=results or None,
    )
    return data.to_yaml()


def _question(recipe: Recipe) -> str:
    """One that the model was trained on, so that a reader sees what it is for; it is cut where it is long."""
    file = RunFolder.of(recipe).dataset / TRAIN_FILE
    row = next(own_rows(file), None) if file.is_file() else None
    asked = " ".join(str(row["prompt"][-1]["content"]).replace("`", "'").split()) if row else "What is 12 * 13?"
    return asked if len(asked) <= MOST_QUESTION else asked[:MOST_QUESTION] + "…"


def _data(recipe: Recipe, stats: dict[str, Any]) -> str:
    rows = f"{stats['kept']} reasoning traces" if "kept" in stats else "reasoning traces"
    if not recipe.teachers:
        return f"{rows} of other people ({', '.join(inline(source.label) for source in recipe.data.sources)})"
    writers = ", ".join(inline(_teacher(t)) for t in recipe.teachers)
    return f"{rows} written by {writers} ({recipe.decode.pipeline})"


def _evaluation(recipe: Recipe, suites: Mapping[str, SuiteFigures]) -> str:
    if not suites:
        return "Not evaluated.\n"
    rows = [
        [suite, percent_with_interval(one.avg_at_k, one.avg_at_k_ci), str(one.k), str(one.num_problems)]
        for suite, one in suites.items()
    ]
    asked = recipe.evaluate
    how = f"T={asked.temperature:g}, top_p={asked.top_p:g}, at most {asked.max_new_tokens} new"
    table = markdown_table(["suite", "avg@k, % with 95% interval", "k", "problems"], rows)
    return f"{table}\n\n{how} tokens; graded by cord-distill, not comparable with figures of another protocol.\n"


def _training(recipe: Recipe, done: dict[str, Any]) -> str:
    section = section_of(recipe)
    rows = [[key, str(section[key])] for key in SHOWN if section.get(key) is not None]
    rows += [["seed", str(recipe.training_seed)]]
    rows += [[said, str(done[key])] for key, said in (("steps", "updates"), ("world_size", "processes")) if key in done]
    rows += [["ZeRO stage", str(done["zero_stage"])]] if done.get("zero_stage") else []
    rows += [["mean loss", f"{done['mean_loss']:.4f}"]] if done.get("mean_loss") is not None else []
    before = stage_before(recipe)
    from_there = f", from the student of `{before.stage}`" if before else ""
    return f"{HOW[recipe.stage]}{from_there}.\n\n{markdown_table(['value', ''], rows)}\n"


def _stage_tags(recipe: Recipe) -> list[str]:
    """What was done to the base model, in order, as the hub calls it."""
    before = stage_before(recipe)
    return [*(_stage_tags(before) if before else []), TAGS[recipe.stage]]


def _limits(recipe: Recipe, stats: dict[str, Any]) -> str:
    wrong = stats["graded"] - stats["correct"] if "graded" in stats else 0
    lines = [
        "It imitates the traces of other models, with their mistakes; nobody has checked these by hand.",
        f"{wrong} of the {stats['graded']} graded traces end in a wrong answer." if wrong else "",
        "It was trained on one kind of question; what it does elsewhere was not measured.",
        "The training questions were not compared with any benchmark." if not recipe.data.decontaminate else "",
        "No licence was chosen here: those of the base model, the teachers and the questions apply.",
    ]
    return "".join(f"- {line}\n" for line in lines if line)


def _datasets(recipe: Recipe) -> list[str]:
    """Hub ids of the questions, and of other people's rows."""
    asked = recipe.problems.dataset if recipe.problems else None
    return list(dict.fromkeys(name for name in (asked, *(source.dataset for source in recipe.data.sources)) if name))


def _teacher(teacher: ModelConfig) -> str:
    return (_name(teacher.model) or teacher.label) + (f" at revision {teacher.revision}" if teacher.revision else "")


def _name(model: str) -> str:
    """A hub id as it is; of a folder of this machine only its name."""
    return model if is_on_the_hub(model) else model.removeprefix(PREFIX).rstrip("/").rsplit("/", 1)[-1]
