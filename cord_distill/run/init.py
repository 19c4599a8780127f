"""`cord init` and `cord recipes`: a recipe for one's own questions, models and GPUs; the bundled ones, to copy."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cord_distill.common.errors import CordError
from cord_distill.common.jsonl import read_jsonl
from cord_distill.common.paths import bundled
from cord_distill.common.terminal import listed
from cord_distill.recipe.file import find_recipe

QUESTIONS = ("question", "problem", "prompt", "Question", "Problem", "instruction", "input")
ANSWERS = ("answer", "final_answer", "Answer", "solution", "target", "output")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a recipe is made for. gpus: of one node; 0 = a CPU. suites: what the student is measured on."""

    questions: str
    teachers: Sequence[str]
    student: str
    gpus: int = 0
    meta_prover: str | None = None
    suites: Sequence[str] = ("math_500",)


def asked(questions: str | None, teachers: Sequence[str], student: str | None) -> tuple[str, list[str], str]:
    """What the flags left out, asked for on a terminal. Raises CordError naming the flag where there is none."""
    return (
        questions or _ask("--questions", "file of questions with known answers (JSONL, CSV, Parquet)"),
        list(teachers) or _ask("--teachers", "teachers (hub ids or folders, by blanks)").split(),
        student or _ask("--student", "student to train (hub id or folder)"),
    )


def write_recipe(path: Path, wishes: Wishes) -> None:
    """Raises CordError: the file is there, the questions cannot be read, a column is not found."""
    if path.exists():
        raise CordError(f"{path} is there already; give another name, or remove it")
    text = yaml.safe_dump(recipe_for(wishes), sort_keys=False, allow_unicode=True, width=120)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# cord check {path}\n{text}", encoding="utf-8")


def recipe_for(wishes: Wishes) -> dict[str, Any]:
    file = Path(wishes.questions).expanduser()
    problems: dict[str, Any] = {"dataset": wishes.questions}
    if file.is_file():
        _, row = next(read_jsonl(file, key="--questions", columns="a question and an answer"), ("", {}))
        question, answer = _column(row, QUESTIONS, file), _column(row, ANSWERS, file)
        problems = {"path": str(file.absolute()), "question": question, "answer": answer}
    elif re.search(r"\.(jsonl?|csv|parquet|gz)$", wishes.questions):
        raise CordError(f"--questions: {file} is not there")
    shares = _placed(len(wishes.teachers), wishes.gpus)
    teachers = [{"model": _model(name), **share} for name, share in zip(wishes.teachers, shares, strict=True)]
    prover = wishes.meta_prover or _label(wishes.teachers[0])
    shared = prover in map(_label, wishes.teachers)
    train: dict[str, Any] = {"model_name_or_path": _model(wishes.student), "global_batch_size": 8}
    if wishes.gpus > 1:
        train["deepspeed"] = "zero3"
    return {
        "teachers": teachers,
        "meta_prover": {"same_as": prover} if shared else {"model": _model(prover)},
        "problems": problems,
        "decode": {"beam_size": 4},
        "train": train,
        "evaluate": {"suites": list(wishes.suites)},
    }


def bundled_recipes() -> list[str]:
    """Name and first words of each, one a line."""
    found = sorted(bundled("recipes").glob("*.yaml"))
    width = max(len(file.stem) for file in found)
    return [f"{file.stem:{width}s}  {_about(file)}" for file in found]


def copy_recipe(name: str, to: Path) -> None:
    """A copy with its comments, whose references to other bundled files hold anywhere. Raises CordError."""
    if to.exists():
        raise CordError(f"{to} is there already; give another name, or remove it")
    text = find_recipe(name).read_text(encoding="utf-8")
    text = re.sub(r"\.\./accelerate_configs/deepspeed/(\w+)\.json", r"\1", text)
    text = re.sub(r"^extends: (\w+)\.yaml$", r"extends: \1", text, flags=re.M)
    to.write_text(text, encoding="utf-8")


def _about(file: Path) -> str:
    lines = file.read_text(encoding="utf-8").splitlines()
    said = [line.lstrip("# ") for line in lines if line.startswith("#")]
    words = [line for line in said if line and not line.startswith(("cord ", "accelerate "))]
    return words[0] if words else ""


def _ask(flag: str, what: str) -> str:
    answer = input(f"{what}: ").strip() if sys.stdin.isatty() else ""
    if not answer:
        raise CordError(f"cord init: {flag} is missing: {what}")
    return answer


def _column(row: dict[str, Any], names: Sequence[str], file: Path) -> str:
    found = next((name for name in names if name in row), None)
    if found is None:
        raise CordError(
            f"--questions: {file}: no column among {', '.join(names)} (there are: {listed(row)}); rename one"
        )
    return found


def _placed(teachers: int, gpus: int) -> list[dict[str, Any]]:
    """Devices of each teacher: the GPUs in equal parts, by powers of two; a share of one where there are too few."""
    if gpus == 0:
        return [{}] * teachers
    each = 1
    while each * 2 * teachers <= gpus:
        each *= 2
    if gpus < teachers:
        share = int(90 / -(-teachers // gpus)) / 100
        return [{"devices": [i % gpus], "gpu_memory_utilization": share} for i in range(teachers)]
    parts = [list(range(i * each, (i + 1) * each)) for i in range(teachers)]
    return [{"devices": part, **({"tensor_parallel_size": each} if each > 1 else {})} for part in parts]


def _model(name: str) -> str:
    """A folder as a path that holds anywhere; a hub id as it is."""
    folder = Path(name).expanduser()
    return str(folder.absolute()) if (folder / "config.json").is_file() else name


def _label(name: str) -> str:
    return name.rstrip("/").rsplit("/", 1)[-1]
