"""The plan of a recipe as a short page for `cord check`: per stage what it is about, and what would run."""

from __future__ import annotations

from collections.abc import Sequence

from cord_distill.model_files.locate import PREFIX
from cord_distill.recipe.recipe import Recipe
from cord_distill.recipe.train_keys import TRAININGS
from cord_distill.recipe.training_stages import section_of, stage_before, training_runs
from cord_distill.run.run import RunLog
from cord_distill.run.stages import NEW, Stage
from cord_distill.run_folder.paths import RunFolder, method_name


def plan_lines(variants: list[Recipe], stages: Sequence[Stage], problems: int | None) -> list[str]:
    """One line per stage: its state, its key, what it does. problems: how many, None = not known without a network."""
    recipe = variants[0]
    log = RunLog(RunFolder.of(recipe).root)
    runs = [one for variant in variants for one in training_runs(variant)]
    plain = {one.stage + "/" + RunFolder.of(one.model_copy(update={"stage": "train"})).label: one for one in runs}
    lines = []
    for stage in stages:
        reason = log.reason(stage, stage.fingerprint())
        state = "done" if reason is None else "would run"
        about = about_stage(stage, variants, plain.get(stage.key, recipe), problems)
        again = f"(again: {reason})" if reason not in (None, NEW) else ""
        lines.append(f"  {state:10s} {stage.key:20s} {about} {again}".rstrip())
    return lines


def about_stage(stage: Stage, variants: list[Recipe], one: Recipe, problems: int | None) -> str:
    kind, recipe = stage.group, variants[0]
    if kind == "generate":
        methods = [method_name(variant) for variant in variants]
        who = ", ".join(teacher.label for teacher in recipe.teachers)
        prover = recipe.meta_prover and (recipe.meta_prover.same_as or recipe.meta_prover.label)
        source = recipe.problems and recipe.problems.dataset
        found = f"the problems of {source}" if source else "no problems yet"
        count = found if problems is None else f"{problems} problems"
        said = [f"{count} by {' and '.join(methods)}", f"teachers {who}", f"meta-prover {prover}" if prover else ""]
        return "; ".join(filter(None, [*said, f"beam {recipe.decode.beam_size}"]))
    if kind in TRAININGS:
        train, before = section_of(one), stage_before(one)
        named = str(train.get("model_name_or_path", "")).removeprefix(PREFIX).rstrip("/").rsplit("/", 1)[-1]
        student = f"the student of {before.stage}" if before else named
        if kind == "distil":
            student += f", corrected by {train.get('teacher') or 'the teacher of its vocabulary'}"
        told = {"num_train_epochs": "{:g} epochs", "max_steps": "{:g} steps", "learning_rate": "lr {:g}"}
        return ", ".join([student, *(said.format(float(train[key])) for key, said in told.items() if key in train)])
    if kind == "evaluate":
        samples = recipe.evaluate.samples
        often = f"{samples} samples" if isinstance(samples, int) else "samples as the recipe says"
        return f"{', '.join(recipe.evaluate.suites)}, {often} per problem"
    return ""
