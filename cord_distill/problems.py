"""Reading problems: a local JSONL file, a hub data set, or a plug-in; checked row by row before anything heavy
starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from cord_distill.errors import CordError
from cord_distill.jsonl import read_jsonl
from cord_distill.plugins import load_plugin
from cord_distill.recipe import Problems, Recipe
from cord_distill.types import Problem


def load_problems(recipe: Recipe) -> list[Problem]:
    """All problems of the recipe, in their order, ids unique, the first `limit` of them.

    Raises CordError naming file and row: a missing column, an empty question, an answer that is neither string nor
    number, an id that occurs twice.
    """
    source = recipe.problems
    if source is None:
        raise CordError(
            "problems: the recipe has no such section; give problems.path, problems.dataset or problems.builder"
        )
    if source.builder:
        problems = list(load_plugin(source.builder, "problems.builder")(**source.args))
        problems = problems[: source.limit]
        _refuse_duplicates(problems, source.builder)
        return problems
    if source.path:
        columns = f"the columns {source.question} and {source.answer}"
        rows, name = read_jsonl(Path(source.path), key="problems.path", columns=columns), source.path
    elif source.dataset:
        rows, name = _hub_rows(source), source.dataset
    else:
        raise CordError("problems: no source; give one of problems.path, problems.dataset, problems.builder")
    problems = []
    for where, row in rows:
        if source.limit and len(problems) >= source.limit:
            break
        problems.append(_problem(row, source, where, len(problems)))
    if not problems:
        raise CordError(f"{name}: holds no problems")
    _refuse_duplicates(problems, name)
    return problems


def _hub_rows(source: Problems) -> Iterator[tuple[str, dict[str, Any]]]:
    from datasets import load_dataset

    try:
        dataset = load_dataset(source.dataset, source.subset, split=source.split)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise CordError(
            f"problems.dataset: {source.dataset!r} could not be loaded ({reason}); check the name and the network, "
            f"or download it and "
            "give problems.path=FILE.jsonl"
        ) from None
    for number, row in enumerate(dataset):
        yield f"{source.dataset}, row {number}", row


def _problem(row: dict[str, Any], source: Problems, where: str, index: int) -> Problem:
    def column(key: str, name: str) -> Any:
        if name not in row:
            near = get_close_matches(name, row, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(map(str, row))}"
            raise CordError(f"{where}: no column {name!r}; set problems.{key} ({hint})")
        return row[name]

    question, answer = column("question", source.question), column("answer", source.answer)
    if not isinstance(question, str) or not question.strip():
        raise CordError(
            f"{where}: problems.question ({source.question!r}) is empty or not a text; drop or mend the row"
        )
    if isinstance(answer, bool) or not isinstance(answer, (str, int, float)) or not str(answer).strip():
        raise CordError(
            f"{where}: problems.answer ({source.answer!r}) is {answer!r}; the known answer must be a text or a number"
        )
    if source.context:
        context = column("context", source.context)
        context = "\n\n".join(context) if isinstance(context, list) else str(context)
        question = f"{context}\n\n{question}"
    named = source.id or ("id" if "id" in row else None)
    problem_id = str(column("id", named)) if named else f"{index:05d}"
    return Problem(problem_id, question, str(answer))


def _refuse_duplicates(problems: Iterable[Problem], name: str) -> None:
    seen: dict[str, int] = {}
    for number, problem in enumerate(problems, start=1):
        if problem.id in seen:
            raise CordError(
                f"{name}: problem id {problem.id!r} occurs twice (rows {seen[problem.id]} and {number}); make ids "
                f"unique, or set "
                "problems.id to another column"
            )
        seen[problem.id] = number
