"""`cord grade RUN`: the stored samples of an evaluation graded anew, beside the verdicts that it has. Asks no model.

For graders that changed since. Nothing is written: `cord evaluate` takes the same samples and writes new results.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.files import write_atomic
from cord_distill.common.jsonl import own_rows, read_object
from cord_distill.evaluation.judging import with_judge
from cord_distill.evaluation.records import Record, judge, sample_figures
from cord_distill.evaluation.samples import Sample, read_samples
from cord_distill.evaluation.suite import Suite
from cord_distill.evaluation.suites import find_suites
from cord_distill.grading import GRADER_VERSION
from cord_distill.grading.judge import Judge, Keep
from cord_distill.recipe.evaluate import EvaluateConfig
from cord_distill.run_folder.paths import JUDGEMENTS, PROBLEMS, RESULTS, SAMPLES
from cord_distill.types import Problem

SHOWN = 5


@dataclass(frozen=True, slots=True)
class Change:
    """One verdict that is another one now."""

    suite: str
    id: str
    sample: int
    answer: str
    before: tuple[str | None, bool | None]
    after: tuple[str | None, bool | None]


@dataclass(frozen=True, slots=True)
class Rescored:
    """One suite of one checkpoint. before, after: avg@k. skipped: why it could not be graded, else ""."""

    label: str
    suite: str
    grader_version: int
    before: float
    after: float = 0.0
    num_samples: int = 0
    changes: tuple[Change, ...] = ()
    skipped: str = ""


def rescore(folder: str | Path, tasks: Sequence[str] = (), json_out: str | Path | None = None) -> list[Rescored]:
    """Grades what lies under `folder` (a run, its `eval/`, or one `eval/<label>`) and prints what changed.

    tasks: task files of suites that are not ours. json_out: one object per changed verdict. Raises CordError where no
    evaluation lies there.
    """
    found = [one for label in _evaluations(Path(folder)) for one in _rescored(label, tasks)]
    for one in found:
        print("\n".join(_lines(one)))
    if json_out is not None:
        changes = [asdict(change) for one in found for change in one.changes]
        write_atomic(Path(json_out), "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in changes))
    return found


def _evaluations(folder: Path) -> list[Path]:
    places = [folder, *(path.parent for path in sorted(folder.glob(f"*/{RESULTS}")))]
    places += [path.parent for path in sorted(folder.glob(f"eval/*/{RESULTS}"))]
    found = [place for place in places if (place / RESULTS).is_file() and (place / PROBLEMS).is_file()]
    if not found:
        raise CordError(f"{folder}: no finished evaluation lies there; give a run, its eval/ or an eval/<label> folder")
    return found


def _rescored(folder: Path, tasks: Sequence[str]) -> Iterator[Rescored]:
    results = read_object(folder / RESULTS) or {}
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in own_rows(folder / PROBLEMS):
        rows.setdefault(row["suite"], []).append(row)
    samples = read_samples(folder / SAMPLES)[0] if (folder / SAMPLES).is_file() else {}
    for name, problems in rows.items():
        then = (results.get("suites") or {}).get(name)
        if then is None:
            why = f"{RESULTS} says nothing of it: its evaluation was stopped; run cord evaluate again"
            yield Rescored(folder.name, name, GRADER_VERSION, 0.0, skipped=why)
            continue
        version = results["protocol"]["suites"][name]["grader_version"]
        try:
            now = _graded(name, problems, samples, results["protocol"], folder, tasks)
            after = sample_figures(now)["avg_at_k"]
        except CordError as error:
            yield Rescored(folder.name, name, version, then["avg_at_k"], skipped=str(error))
            continue
        changes = [change for row, record in zip(problems, now, strict=True) for change in _changes(row, record)]
        total = sum(len(record.correct) for record in now)
        yield Rescored(folder.name, name, version, then["avg_at_k"], after, total, tuple(changes))


def _graded(
    name: str,
    rows: Sequence[dict[str, Any]],
    samples: dict[str, Sample],
    protocol: dict[str, Any],
    folder: Path,
    tasks: Sequence[str],
) -> list[Record]:
    suite = find_suites(EvaluateConfig(suites=[name], tasks=list(tasks)))[name]
    if not isinstance(suite, Suite):
        raise CordError(f"suite {name}: a task of lighteval's own, graded by lighteval alone")
    if any("keys" not in row for row in rows):
        raise CordError(f"suite {name}: a row of {PROBLEMS} names no samples; run cord evaluate on it again")
    if missing := [key for row in rows for key in row["keys"] if key not in samples]:
        raise CordError(f"suite {name}: {len(missing)} samples are not in {SAMPLES} any more")
    if suite.judged:
        suite = with_judge(
            suite, Judge(protocol["judge"], folder / JUDGEMENTS, _asks_nobody), protocol["judge"]["form"]
        )
    grade, check = suite.load_grader(protocol["answer_in_thought"]), suite.load_check()
    return [
        judge(
            name,
            Problem(row["id"], row["question"], row["answer"], row["meta"]),
            [samples[key] for key in row["keys"]],
            grade,
            check,
            suite.measure,
        )
        for row in rows
    ]


async def _asks_nobody(prompts: list[str], keep: Keep) -> None:
    raise CordError("a judge is asked by cord evaluate alone")


def _changes(row: dict[str, Any], record: Record) -> Iterator[Change]:
    for i, after in enumerate(zip(record.predictions, record.correct, strict=True)):
        before = row["predictions"][i], row["correct"][i]
        if before[1] != after[1]:
            yield Change(record.suite, record.id, i, record.answer, before, after)


def _lines(one: Rescored) -> list[str]:
    if one.skipped:
        return [f"{one.label} {one.suite}: not graded: {one.skipped}"]
    right = sum(change.after[1] is True for change in one.changes)
    said = (
        f"{one.label} {one.suite}: grader v{one.grader_version} -> v{GRADER_VERSION}, avg@k {one.before:.1%} -> "
        f"{one.after:.1%}; {len(one.changes)} of {one.num_samples} verdicts changed"
    )
    said += f" ({right} to right)" if one.changes else ""
    shown = [
        f"  {c.id} sample {c.sample}: {c.after[0]!r} for {c.answer!r} is {_word(c.after[1])}, was {_word(c.before[1])}"
        for c in one.changes[:SHOWN]
    ]
    return [said, *shown]


def _word(verdict: bool | None) -> str:
    return "without a verdict" if verdict is None else "right" if verdict else "wrong"
