"""What is asked: a suite is problems, where they come from, and how an answer is judged. Loads nothing heavy.

A task file (eval/*.py, or any path or module under `evaluate.tasks`) holds `SUITES = {name: Suite(...)}` and
`__getattr__ = tasks_table(SUITES)`, which gives lighteval its `TASKS_TABLE` when lighteval asks for it.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.hub import resolved_commit
from cord_distill.common.jsonl import read_jsonl, refuse_duplicates
from cord_distill.common.paths import bundled
from cord_distill.common.plugins import loaded
from cord_distill.common.suggest import nearest
from cord_distill.common.terminal import listed
from cord_distill.data.problem_rows import built_problems, problem_id
from cord_distill.evaluation.suite import MODULE_PREFIX, Hub, Row, Suite
from cord_distill.grading.golds import NAMED, refuse_unmatched, unmatched, unmatched_line
from cord_distill.grading.known_answer import known_answer, stated
from cord_distill.recipe.evaluate import DataFileConfig, EvaluateConfig
from cord_distill.types import Problem

HUB_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class LoadedSuite:
    """A suite with its problems. data_hash: of their texts, answers and order. source: file, builder or hub id.

    unmatched: ids of problems whose known answer the suite's own grader does not accept in a box; they count as wrong.
    revision: the commit of the hub's data set; None for files and builders.
    """

    suite: Suite
    problems: tuple[Problem, ...]
    source: str
    unmatched: tuple[str, ...] = ()
    revision: str | None = None

    @property
    def data_hash(self) -> str:
        rows = [asdict(problem) for problem in self.problems]
        text = json.dumps(rows, ensure_ascii=False, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def find_suites(evaluate: EvaluateConfig) -> dict[str, Any]:
    """The suites that the recipe names, in its order: ours as `Suite`, a plain lighteval task file's as its config.

    Raises CordError: an unknown suite (with those that there are), a task file that is not there.
    """
    known: dict[str, Any] = {}
    for path in sorted(bundled("eval").glob("*.py")):
        known |= _suites_of(_module(str(path)))
    for source in evaluate.tasks:
        known |= _suites_of(_module(source))
    for name, file in evaluate.files.items():
        if name not in known and name in evaluate.suites:
            if near := nearest(name, known, cutoff=0.9):
                raise CordError(f"evaluate.suites: there is no suite {name!r}; did you mean {near!r}?")
            known[name] = Suite(name, grader=file.grader or "math", hub=Hub("", problem="question"))
        elif file.grader:
            raise CordError(f"evaluate.data.{name}.grader: suite {name} has a grader of its own; remove the key")
    wanted = [name for asked in evaluate.suites for name in _members(asked, known, evaluate.data)]
    unused = [name for name in evaluate.data if name not in wanted]
    if unused:
        raise CordError(f"evaluate.data.{unused[0]}: evaluate.suites does not name it; add it there, or remove this")
    return {name: known[name] for name in wanted}


def _members(asked: str, known: Mapping[str, Any], data: Mapping[str, Any]) -> list[str]:
    """A suite, or those of a group: all of them, or only those that `evaluate.data` names when it names any."""
    if asked in known:
        return [asked]
    members = [name for name, suite in known.items() if isinstance(suite, Suite) and suite.group == asked]
    if not members:
        if near := nearest(asked, known, cutoff=0.85):
            raise CordError(f"evaluate.suites: there is no suite {asked!r}; did you mean {near!r}?")
        groups = {suite.group for suite in known.values() if isinstance(suite, Suite) and suite.group}
        raise CordError(
            f"evaluate.suites: there is no suite {asked!r}; there are: {', '.join(sorted(known))} "
            f"(groups: {', '.join(sorted(groups))})"
        )
    return [name for name in members if name in data] or members


def load_suite(suite: Suite, evaluate: EvaluateConfig) -> LoadedSuite:
    """The problems of a suite: from the recipe's file, else the builder, else the hub; the first `limit` of them.

    `evaluate.instruction` is put behind each question here: what is hashed and shown is what the model reads.
    """
    loaded = _with_checked_answers(_load(suite, evaluate), from_file=suite.name in evaluate.data)
    if not (evaluate.instruction and suite.instruct):
        return loaded
    asked = [replace(p, question=f"{p.question}\n\n{evaluate.instruction}") for p in loaded.problems]
    return replace(loaded, problems=tuple(asked))


def _with_checked_answers(loaded: LoadedSuite, *, from_file: bool) -> LoadedSuite:
    """Refuses known answers that a grader of ours can never accept, where the file can be mended; else counts them."""
    suite = loaded.suite
    if suite.judged:
        return loaded
    found = unmatched(loaded.problems, suite.load_grader())
    named = isinstance(suite.grader, str) and suite.grader in NAMED
    everything = len(found) == len(loaded.problems)
    if named and (from_file or everything):
        refuse_unmatched(found, loaded.source, str(suite.grader), f"evaluate.data.{suite.name}")
    # A grader of a user's own that accepts no gold at all reads no boxes.
    if not found or everything:
        return loaded
    print(unmatched_line(found, len(loaded.problems), f"suite {suite.name}"), flush=True)
    return replace(loaded, unmatched=tuple(problem.id for problem in found))


def _load(suite: Suite, evaluate: EvaluateConfig) -> LoadedSuite:
    file = evaluate.files.get(suite.name)
    revision = None
    if file is not None:
        problems, source = list(_from_file(file, suite)), Path(file.path).name
    elif suite.builder is not None:
        source = suite.builder
        problems = built_problems(source, suite.args, evaluate.limit, f"suite {suite.name}.builder")
    elif suite.hub is not None:
        hub = replace(suite.hub, revision=hub_revision(suite.hub, evaluate.revisions.get(suite.name)))
        problems, source, revision = list(_from_hub(suite, hub)), hub.repo, hub.revision
    else:
        raise CordError(f"suite {suite.name}: it has no data of its own; give evaluate.data.{suite.name}=FILE.jsonl")
    if not problems:
        raise CordError(f"suite {suite.name}: {source} holds no problems")
    refuse_duplicates((problem.id for problem in problems), source)
    return LoadedSuite(suite, tuple(problems[: evaluate.limit]), source, revision=revision)


def samples_per_problem(suite: str, samples: int | dict[str, int]) -> int:
    if isinstance(samples, int):
        return samples
    if suite not in samples:
        raise CordError(f"evaluate.samples: no number for suite {suite!r}; add {suite}: 16, or give one number for all")
    return samples[suite]


def _module(source: str) -> ModuleType:
    said = f"evaluate.tasks: {source!r}"
    if not source.endswith(".py"):
        if "" not in sys.path:
            sys.path.append("")
        return loaded(lambda: importlib.import_module(source), said, source)
    path = Path(source)
    if not path.is_file():
        raise CordError(f"evaluate.tasks: {path} is not there; give the path of a lighteval task file")
    spec = importlib.util.spec_from_file_location(f"{MODULE_PREFIX}{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module, loader = importlib.util.module_from_spec(spec), spec.loader

    def run() -> ModuleType:
        # A dataclass looks its own module up.
        sys.modules[module.__name__] = module
        loader.exec_module(module)
        return module

    return loaded(run, said, path.stem)


def _suites_of(module: ModuleType) -> dict[str, Any]:
    if hasattr(module, "SUITES"):
        return dict(module.SUITES)
    if hasattr(module, "TASKS_TABLE"):
        return {config.name: config for config in module.TASKS_TABLE}
    raise CordError(f"evaluate.tasks: {module.__name__} exports neither SUITES nor TASKS_TABLE")


def _from_file(file: DataFileConfig, suite: Suite) -> Iterator[Problem]:
    key = f"evaluate.data.{suite.name}"
    own = [name for name in ("question", "answer", "id", "answer_pattern") if getattr(file, name)]
    if suite.read and own:
        raise CordError(f"{key}.{own[0]}: suite {suite.name} reads its rows itself; remove the key")
    for index, (where, row) in enumerate(read_jsonl(Path(file.path), key=key, columns="id, problem, answer")):
        yield from _read(suite, row, where) if suite.read else [_problem(row, where, index, file, suite)]


def _read(suite: Suite, row: Row, where: str) -> list[Problem]:
    assert suite.read is not None
    try:
        return suite.read(row)
    except KeyError as error:
        raise CordError(f"{where}: no column {error} (there are: {listed(row)}); suite {suite.name} needs it") from None
    except (ValueError, TypeError) as error:
        raise CordError(f"{where}: {error}; drop or mend the row") from None


def _problem(row: Row, where: str, index: int, file: DataFileConfig, suite: Suite) -> Problem:
    key, hub = f"evaluate.data.{suite.name}", suite.hub

    def column(name: str, given: str | None, ours: str, theirs: str | None) -> Any:
        """The row's value: of the column that the recipe names, else of ours, else of the hub's."""
        wanted = [given] if given else [ours, *([theirs] if theirs else [])]
        found = next((one for one in wanted if one in row), None)
        if found is None:
            there = f"(there are: {listed(row)})"
            raise CordError(
                f"{where}: no column {wanted[0]!r} {there}; rename one to {wanted[0]!r}, or set {key}.{name}"
            )
        return row[found]

    numbered = hub is not None and hub.id is None and not file.id and "id" not in row
    named = None if numbered else column("id", file.id, "id", hub.id if hub else None)
    own_id = f"{index:05d}" if numbered else problem_id(named, where, f"{key}.id")
    question = column("question", file.question, "problem", hub.problem if hub else None)
    answer = column("answer", file.answer, "answer", hub.answer if hub else None)
    if not isinstance(question, str) or not question.strip():
        raise CordError(f"{where}: the problem is empty or not a text; drop or mend the row")
    known = known_answer(
        answer, where=where, what="the answer", key=f"{key}.answer_pattern", pattern=file.answer_pattern
    )
    return Problem(own_id, question, known)


def hub_problem(row: Row, hub: Hub, index: int) -> Problem:
    answer = stated(row[hub.answer])
    if hub.answer_mark:
        answer = answer.rpartition(hub.answer_mark)[2].strip().replace(",", "")
    return Problem(str(row[hub.id]) if hub.id else f"{index:05d}", row[hub.problem], answer)


def hub_revision(hub: Hub, asked: str | None) -> str | None:
    """The commit of the data set that is loaded: what the recipe or the suite asks for, else the newest, by its hash.

    Where the hub cannot be asked (offline, from the cache) it stays what was asked for.
    """
    wanted = asked or hub.revision
    return resolved_commit(hub.repo, wanted, HUB_SECONDS) or wanted


def _from_hub(suite: Suite, hub: Hub) -> Iterator[Problem]:
    try:
        rows = _hub_rows(hub)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise CordError(
            f"suite {suite.name}: the hub did not give {hub.repo!r} ({reason}); "
            f"give evaluate.data.{suite.name}=FILE.jsonl"
        ) from None
    for index, row in enumerate(rows):
        yield from _read(suite, row, f"{hub.repo}, row {index}") if suite.read else [hub_problem(row, hub, index)]


def _hub_rows(hub: Hub) -> Iterable[Row]:
    if hub.file:
        from huggingface_hub import hf_hub_download

        path = hf_hub_download(hub.repo, hub.file, repo_type="dataset", revision=hub.revision)
        return json.loads(Path(path).read_text(encoding="utf-8"))
    from datasets import load_dataset

    return load_dataset(hub.repo, hub.subset, split=hub.split, revision=hub.revision)
