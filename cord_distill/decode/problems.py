"""Reading problems: a local JSONL file, a hub data set, or a plug-in; checked row by row before anything heavy
starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.hub import hub_rows
from cord_distill.common.jsonl import as_json, fault, read_jsonl, refuse_duplicates
from cord_distill.common.suggest import nearest
from cord_distill.common.terminal import listed, one_line
from cord_distill.data.problem_rows import built_problems, meta_fault, problem_id
from cord_distill.decode.same_questions import refuse_two_answers
from cord_distill.grading.golds import check_known_answers
from cord_distill.grading.known_answer import known_answer
from cord_distill.recipe.problems import ProblemsConfig
from cord_distill.recipe.recipe import Recipe
from cord_distill.types import HUB_COMMIT, Problem

# What gives the problems of a recipe: `load_candidates`, or `Readings` in front of it.
Read = Callable[[Recipe], list[Problem]]
# So many are looked through for one that was meant.
MOST_NAMES = 1000
UNIQUE = "make ids unique, or set problems.id to another column"


def load_candidates(recipe: Recipe) -> list[Problem]:
    """Reads the problems of the recipe's source in their order, at most `limit` of them, with unique ids.

    Raises CordError naming file and row: a missing column, an empty question, an answer that is neither string nor
    number or (AIME) no integer, an id that occurs twice, a question with two different answers.
    """
    source = recipe.problems
    if source is None:
        raise CordError(
            "problems: the recipe has no such section; give problems.path, problems.dataset or problems.builder"
        )
    if source.builder:
        return built_problems(source.builder, source.args, source.limit, "problems.builder")
    if source.path:
        answer = "" if source.answer is None else f" and {source.answer}"
        columns = f"the column{'s' if answer else ''} {source.question}{answer}"
        rows, name = read_jsonl(Path(source.path), key="problems.path", columns=columns), source.path
    elif source.dataset:
        rows, name = _hub_rows(source), source.dataset
    else:
        raise CordError("problems: no source; give one of problems.path, problems.dataset, problems.builder")
    problems = [_problem(row, source, where, n) for n, (where, row) in enumerate(islice(rows, source.limit))]
    if not problems:
        raise CordError(f"{name}: holds no problems")
    refuse_duplicates((problem.id for problem in problems), name, "problem id", UNIQUE)
    check_known_answers(problems, name, source.grader)
    refuse_two_answers(problems, name, source.grader)
    return problems


class Readings:
    """Problems that one command reads once for each source: its checks, its variants and its decoding share them."""

    def __init__(self) -> None:
        self._read: dict[str, list[Problem] | CordError] = {}

    def __call__(self, recipe: Recipe) -> list[Problem]:
        """Reads as `load_candidates` does; what a source raised is raised again."""
        key = recipe.problems.model_dump_json() if recipe.problems else ""
        if key not in self._read:
            try:
                self._read[key] = load_candidates(recipe)
            except CordError as error:
                self._read[key] = error
        found = self._read[key]
        if isinstance(found, CordError):
            raise found
        return list(found)


def _hub_rows(source: ProblemsConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    name = str(source.dataset)
    fix = "download it and give problems.path=FILE.jsonl"
    dataset, commit = hub_rows("problems.dataset", name, source.subset, source.split, source.revision, fix)
    for number, row in enumerate(map(as_json, dataset)):
        meta = row.get("meta") if isinstance(row.get("meta"), dict) else {}
        yield f"{name}, row {number}", {**row, "meta": {**meta, **({HUB_COMMIT: f"{name}@{commit}"} if commit else {})}}


def _problem(row: dict[str, Any], source: ProblemsConfig, where: str, index: int) -> Problem:
    def column(key: str, name: str, *, joined: bool = True) -> Any:
        try:
            return column_of(row, name, joined=joined)
        except KeyError:
            names = column_names(row)
            near = nearest(name, names[:MOST_NAMES], cutoff=0.4)
            hint = f"did you mean {one_line(near, 60)!r}?" if near else f"there are: {listed(names)}"
            raise CordError(f"{where}: no column {name!r}; set problems.{key} ({hint})") from None

    question = column("question", source.question)
    if _is_chat(question):
        raise CordError(
            f"{where}: problems.question ({source.question!r}) holds chat messages, and a question is one text: name "
            "a column of texts, or write the user's message into one (rows that are chats already are trained on by "
            "data.sources, format: messages)"
        )
    if not isinstance(question, str) or not question.strip():
        raise CordError(
            f"{where}: problems.question ({source.question!r}) is empty or not a text; drop or mend the row"
        )
    odd = fault(question)
    if odd:
        raise CordError(f"{where}: problems.question ({source.question!r}) holds {odd}; drop or mend the row")
    known = ""
    if source.answer is not None:
        known = known_answer(
            column("answer", source.answer, joined=False),
            where=where,
            what=f"problems.answer ({source.answer!r})",
            key="problems.answer_pattern",
            pattern=source.answer_pattern,
        )
    if source.context:
        context = column("context", source.context)
        if not isinstance(context, str) or not context.strip():
            raise CordError(
                f"{where}: problems.context ({source.context!r}) is empty or no text; drop or mend the row, or name "
                "a column of texts (a field of it: column.field)"
            )
        question = f"{context}\n\n{question}"
    named = source.id or ("id" if "id" in row else None)
    own_id = (
        problem_id(column("id", named, joined=False), where, f"problems.id: {named!r}") if named else f"{index:05d}"
    )
    meta = row.get("meta")
    wrong = meta_fault(meta)
    if wrong:
        raise CordError(f"{where}: meta {wrong}; mend or remove it")
    return Problem(own_id, question, known, meta if isinstance(meta, dict) else {})


def _is_chat(value: Any) -> bool:
    """Whether a column holds a list of {role, content}, or of ShareGPT's {from, value}."""
    turns = value if isinstance(value, list) else []
    pairs = ({"role", "content"}, {"from", "value"})
    return bool(turns) and all(isinstance(one, dict) and any(pair <= one.keys() for pair in pairs) for one in turns)


def column_of(row: dict[str, Any], name: str, *, joined: bool = True) -> Any:
    """Returns a row's value; `a.b` is the field b of the column a. joined: a list of texts is one text, with blank
    lines between; several known answers are not one.

    Raises KeyError where there is no such column or field.
    """
    value: Any = row
    for part in [name] if name in row else name.split("."):
        if not isinstance(value, dict):
            raise KeyError(name)
        value = value[part]
    if joined and isinstance(value, list) and value and all(isinstance(piece, str) for piece in value):
        return "\n\n".join(value)
    return value


def column_names(row: dict[str, Any]) -> list[str]:
    """Returns the names that `column_of` takes: the columns, and the fields of those that have some."""
    return [
        name
        for column, value in row.items()
        for name in ([f"{column}.{field}" for field in value] if isinstance(value, dict) else [str(column)])
    ]
