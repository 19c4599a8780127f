"""What a run decoded, for the page: the methods of a run folder, and their rows as an index with one chunk per row."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.jsonl import read_json
from cord_distill.common.terminal import plain
from cord_distill.recipe.experiment import Experiment
from cord_distill.run_folder.paths import AUDIT_FILE, RunFolder, method_name
from cord_distill.run_folder.trajectories import read_rows, row_facts
from cord_distill.view.payload import cut, packed, tree_of

ROWS = "trajectories.jsonl"
# Runs with more bytes of rows than WHOLE_BELOW keep CUT_TEXT characters of a candidate that is not on the chosen trace.
WHOLE_BELOW = 64_000_000
CUT_TEXT = 200
DIGITS = 6


@dataclass(frozen=True, slots=True)
class Run:
    """Where a run's rows are. methods: name to file, in the order in which they are shown. teachers: the recipe's."""

    name: str
    root: Path
    methods: dict[str, Path]
    teachers: list[str]
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def whole_texts(self) -> bool:
        return sum(path.stat().st_size for path in self.methods.values()) < WHOLE_BELOW


def find_run(source: str | Path, overrides: Sequence[str] = ()) -> Run:
    """The run of a folder (`outputs/x`), or of a recipe's file or name.

    Raises CordError where there are no trajectories, with the command that makes some.
    """
    folder = Path(source)
    if not folder.is_dir():
        try:
            return run_of(Experiment.load(source, overrides))
        except CordError as error:
            if "no such file" in str(error) and len(folder.parts) > 1 and not folder.suffix:
                raise CordError(f"{source}: there is no such run folder; decode first, or give the recipe") from None
            raise
    if overrides:
        raise CordError(f"{overrides[0]}: {source} is a run folder, and overrides are a recipe's: leave it out")
    return _run(folder.absolute(), _recipe_in(folder), "RECIPE")


def run_of(experiment: Experiment) -> Run:
    """The run that a recipe describes. Raises CordError as `find_run`."""
    return _run(RunFolder.of(experiment.methods[0]).root, experiment, experiment.source)


def _run(root: Path, experiment: Experiment | None, source: str) -> Run:
    """experiment: whose name, methods and teachers are shown, in its order; None = those that the rows name."""
    recipes = experiment.methods if experiment else []
    name, order = recipes[0].name if recipes else root.name, [method_name(one) for one in recipes]
    teachers = {teacher.label: teacher.note for one in recipes for teacher in one.teachers}
    methods = _methods(root, order, name)
    if not methods:
        raise CordError(f"{root}: no {ROWS} in it or one folder below; make some: cord generate {source}")
    return Run(name, root, methods, list(teachers), {name: note for name, note in teachers.items() if note})


def gather(
    run: Run, max_text: int | None = None, tick: Callable[[], Any] = lambda: None
) -> tuple[dict[str, Any], dict[str, str]]:
    """`gather_rows` of a run's files. tick is called once a row. The index has `effects` too: per method what a step of
    each teacher, and of all, does for the answer, where `cord audit` ran."""
    rows = {m: read_rows(path) for m, path in run.methods.items()}
    index, chunks = gather_rows(run.name, run.teachers, rows, max_text, tick, run.notes)
    audits = [read_json(path.with_name(AUDIT_FILE)) for path in run.methods.values()]
    effects = [{name: rounded(one["effect"]) for name, one in found.items()} for found in audits]
    return {**index, "effects": effects}, chunks


def gather_rows(
    name: str,
    teachers: Iterable[str],
    methods: Mapping[str, Iterable[dict[str, Any]]],
    max_text: int | None = None,
    tick: Callable[[], Any] = lambda: None,
    notes: Mapping[str, str] | None = None,
) -> tuple[dict[str, Any], dict[str, str]]:
    """(index, chunks). Each row is read once and packed at once, so that a large run needs little memory.

    index: {name, teachers, notes (one per teacher), methods, cut, checked (were any steps?), problems: [[id, question,
    answer, {method number: facts}]]}, facts: [kind, prediction, S, steps, tokens of the trace, generated tokens,
    {teacher number: its steps}, error].
    chunks: "METHOD-PROBLEM" (numbers) to what `pack.packed` made of `chunk`. Of an id given twice the last row counts.
    max_text: characters of a candidate off the chosen trace; None: all.
    """
    teachers = list(teachers)
    problems: dict[str, list[Any]] = {}
    numbers: dict[str, int] = {}
    chunks: dict[str, str] = {}
    checked = False
    for m, rows in enumerate(methods.values()):
        for row in rows:
            problem = row.get("problem") or {}
            p = numbers.setdefault(row["id"], len(numbers))
            entry = problems.setdefault(row["id"], [row["id"], "", "", {}])
            entry[1:3] = problem.get("question") or "", problem.get("answer") or ""
            tree = tree_of(row, teachers, None)
            checked = checked or (row.get("checks") or {}).get("all_right") is not None
            entry[3][m] = facts_of(row, tree)
            chunks[f"{m}-{p}"] = packed(chunk(row, tree, max_text))
            tick()
    index = {"name": name, "teachers": teachers, "methods": list(methods), "cut": max_text, "checked": checked}
    said = [(notes or {}).get(teacher, "") for teacher in teachers]
    return {**index, "notes": said, "problems": list(problems.values())}, chunks


def facts_of(row: dict[str, Any], tree: dict[str, Any]) -> list[Any]:
    """What the list shows, filters and sorts by."""
    facts, used = row_facts(row), dict[int, int]()
    for teacher, *_ in tree["steps"]:
        used[teacher] = used.get(teacher, 0) + 1
    spent = facts["num_tokens"].get("generated_total")
    score = rounded(facts["score"])
    return [tree["kind"], row.get("prediction"), score, len(tree["steps"]), facts["trace_tokens"], spent, used,
            row.get("error")]  # fmt: skip


def chunk(row: dict[str, Any], tree: dict[str, Any], max_text: int | None) -> dict[str, Any]:
    """`tree_of`'s tree for the page: each text once, in `texts`; candidates and steps hold its number.

    `steps`: [teacher, score, text, right, tokens, category]. Texts of the chosen trace are whole.
    """
    texts: dict[str, int] = {}

    def number(text: str, limit: int | None = None) -> int:
        return texts.setdefault(cut(text, limit), len(texts))

    path = tree["path"]
    if row.get("pipeline") == "integration" and len(tree["columns"]) > 1:
        # The merged trace has no one parent.
        last = next((i for i, c in reversed(list(enumerate(tree["columns"][-1]))) if c[4]), -1)
        path = [-1] * (len(tree["columns"]) - 1) + [last]
    steps = [
        [teacher, rounded(score), number(text), right, step.get("num_tokens"), step.get("category")]
        for (teacher, score, text, right), step in zip(tree["steps"], row.get("steps") or [], strict=True)
    ]
    columns = [
        [
            [parent, teacher, sample, rounded(score), kept, stop,
             number(text, None if path[t : t + 1] == [i] else max_text), error]
            for i, (parent, teacher, sample, score, kept, stop, text, error) in enumerate(column)
        ]
        for t, column in enumerate(tree["columns"])
    ]  # fmt: skip
    return {**tree, "score": rounded(tree["score"]), "path": path, "columns": columns, "steps": steps,
            "texts": list(texts)}  # fmt: skip


def rounded(score: float | None) -> float | None:
    return None if score is None or not math.isfinite(score) else round(score, DIGITS)


def _methods(root: Path, order: list[str], name: str) -> dict[str, Path]:
    """Rows of the folder itself and of the folders in it, the recipe's methods first."""
    found = {path.parent.name: path for path in sorted(root.glob(f"*/{ROWS}"))}
    if (root / ROWS).is_file():
        found[order[0] if len(order) == 1 else name] = root / ROWS
    return {method: found[method] for method in [*(x for x in order if x in found), *found]}


def _recipe_in(folder: Path) -> Experiment | None:
    """The recipe of a run folder; None where it is missing or cannot be read any more."""
    if not (folder / "recipe.yaml").is_file():
        return None
    try:
        return Experiment.load(folder / "recipe.yaml")
    except CordError as error:
        print(plain(f"note: methods and teachers by name: {error}"), file=sys.stderr)
        return None
