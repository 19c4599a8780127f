"""Trajectories to SFT rows: filters with counts, exact dedup, decontamination, a data-set card.

`build_dataset` streams `trajectories.jsonl` and writes `train.jsonl`, `stats.json` and `README.md`. A row is prompt and
completion as messages, with the whole thought, plus where it came from. Standard library only: rows that are too long
in the *student's* tokens (`data.filters.max_tokens`) are dropped where its tokenizer is loaded anyway (sft_data.py).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cord_distill.data_card import card_text
from cord_distill.decontaminate import Contamination
from cord_distill.errors import CordError
from cord_distill.recipe import Filters, Recipe
from cord_distill.run_folder import write_atomic
from cord_distill.types import THINK_CLOSE, THINK_OPEN, Stop, Trajectory

TRAIN_FILE = "train.jsonl"
STATS_FILE = "stats.json"


def build_dataset(recipe: Recipe, trajectories_path: Path, folder: Path) -> dict[str, Any]:
    """Writes the data set of one method under `folder`; returns what stats.json says.

    Counts: `rows` read, `kept`, `dropped` by reason, `teacher_share` of steps, `tokens` in the meta-prover's tokens,
    `sha256` of train.jsonl. Rows are ordered by id, whatever the order in which problems finished. Raises CordError
    on a file that is missing or damaged, and when no row is left.
    """
    if not trajectories_path.is_file():
        raise CordError(f"trajectories {trajectories_path} are not there: make them with cord generate")
    unwanted = Contamination.load(recipe.data.decontaminate, recipe.problems.question if recipe.problems else None)
    markers = None if recipe.data.keep_markers else marker_pattern(recipe.decode.step_marker)
    tally = _Tally()
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{TRAIN_FILE}.{os.getpid()}.tmp"
    try:
        with open(beside, "w+b") as spool:
            places: dict[str, tuple[int, int]] = {}
            for trajectory in read_trajectories(trajectories_path, tally.dropped):
                reason = tally.repeated(trajectory) or why_dropped(trajectory, recipe.data.filters)
                reason = reason or unwanted.reason(trajectory.problem.question)
                if reason:
                    tally.drop(trajectory, reason)
                    continue
                line = (json.dumps(sft_row(trajectory, markers), ensure_ascii=False) + "\n").encode()
                places[trajectory.id] = (spool.tell(), len(line))
                spool.write(line)
                tally.keep(trajectory)
            stats = tally.stats(recipe)
            if not places:
                raise CordError(_nothing_left(stats, trajectories_path))
            stats["sha256"] = _write_in_order(spool, places, folder / TRAIN_FILE)
    finally:
        beside.unlink(missing_ok=True)
    write_atomic(folder / STATS_FILE, json.dumps(stats, indent=2, ensure_ascii=False) + "\n")
    write_atomic(folder / "README.md", card_text(recipe, stats))
    return stats


def sft_row(trajectory: Trajectory, markers: re.Pattern[str] | None = None) -> dict[str, Any]:
    """One training row. markers: what to cut off the start of each step, None = keep the steps as they are."""
    reasoning = "".join(markers.sub("", step.text, count=1) if markers else step.text for step in trajectory.steps)
    return {
        "id": trajectory.id,
        "prompt": [{"role": "user", "content": trajectory.problem.question}],
        "completion": [{"role": "assistant", "content": THINK_OPEN + reasoning + trajectory.final_answer_text}],
        "pipeline": trajectory.pipeline,
        "score": trajectory.score,
        "correct": trajectory.correct,
        "teachers": [step.teacher for step in trajectory.steps],
        "recipe_hash": trajectory.recipe_hash,
        "seed": trajectory.seed,
    }


def why_dropped(trajectory: Trajectory, filters: Filters) -> str | None:
    """The first reason for which a trajectory makes no training row, or None."""
    return next((reason for reason, drops in FILTERS.items() if drops(trajectory, filters)), None)


def _one_thought(t: Trajectory) -> bool:
    return t.completion.count(THINK_CLOSE) == 1 and t.reasoning.endswith(THINK_CLOSE) and "<think>" not in t.completion


def _repetition(text: str) -> float:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return max(Counter(lines).values()) / len(lines) if len(lines) > 1 else 0.0


# Reasons in the order in which they are asked; the first four hold for every recipe.
FILTERS: dict[str, Callable[[Trajectory, Filters], bool]] = {
    "error": lambda t, f: t.error is not None,
    "aborted": lambda t, f: t.stop is Stop.ABORT or not t.steps,
    "thought_not_closed_once": lambda t, f: not _one_thought(t),
    "no_final_answer": lambda t, f: not t.final_answer_text.strip(),
    "not_graded": lambda t, f: f.correct and t.correct is None,
    "wrong_answer": lambda t, f: f.correct and t.correct is False,
    "not_finished": lambda t, f: f.finished and t.stop is not Stop.THINK_END,
    "no_box": lambda t, f: f.boxed and "\\boxed{" not in t.final_answer_text,
    "repetition": lambda t, f: f.max_repetition is not None and _repetition(t.reasoning) > f.max_repetition,
    "steps_not_checked": lambda t, f: f.steps_right and not t.checks.get("steps_right"),
    "wrong_step": lambda t, f: f.steps_right and not all(t.checks["steps_right"]),
}

# What to change when a reason took every row.
REMEDIES = {
    "error": "see `error` in the trajectories, then run cord generate again",
    "wrong_answer": "data.filters.correct=false keeps them",
    "not_graded": "data.filters.correct=false keeps them, or give problems.grader",
    "not_finished": "data.filters.finished=false keeps them, or raise decode.budgets.reasoning_tokens",
    "no_box": "data.filters.boxed=false keeps them",
    "repetition": "raise data.filters.max_repetition",
    "steps_not_checked": "give problems.process_check, or data.filters.steps_right=false",
    "wrong_step": "data.filters.steps_right=false keeps them",
    "contaminated": "these are the questions of data.decontaminate: take other problems",
}


def marker_pattern(step_marker: str) -> re.Pattern[str]:
    """Matches the marker (`### Step {t}.`) at the start of a step, with the blank after it."""
    return re.compile(r"\A\s*" + re.escape(step_marker.strip()).replace(re.escape("{t}"), r"\d+") + " ?")


def read_trajectories(path: Path, dropped: Counter[str]) -> Iterator[Trajectory]:
    """Rows one by one. A torn last line (a killed writer) is counted; any other damage is a CordError with its line."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                # The pruned candidates are most of the bytes and no part of a training row.
                yield Trajectory.from_row({**json.loads(line), "candidates": []})
            except (ValueError, KeyError, TypeError) as error:
                if not line.endswith(b"\n"):
                    dropped["torn_line"] += 1
                    return
                raise CordError(
                    f"{path}, line {number}: not a trajectory row ({type(error).__name__}: {error}); remove this "
                    "line and run cord generate again"
                ) from None


class _Tally:
    """Counts while rows stream by."""

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        self.failed: set[str] = set()
        self.good: set[str] = set()
        self.texts: set[bytes] = set()
        self.teachers: Counter[str] = Counter()
        self.sums: Counter[str] = Counter()
        self.longest = 0
        self.scores: list[float] = []

    def repeated(self, t: Trajectory) -> str | None:
        if t.error is not None:
            return None
        text = hashlib.sha256(f"{t.problem.question}\0{t.completion}".encode()).digest()
        if t.id in self.good or text in self.texts:
            return "duplicate"
        self.texts.add(text)
        return None

    def drop(self, t: Trajectory, reason: str) -> None:
        if reason == "error":
            self.failed.add(t.id)
        else:
            self.good.add(t.id)
            self.dropped[reason] += 1

    def keep(self, t: Trajectory) -> None:
        self.good.add(t.id)
        self.teachers.update(step.teacher for step in t.steps)
        self.sums.update({"kept": 1, "correct": int(t.correct is True)})
        self.sums.update({key: t.num_tokens.get(key, 0) for key in ("reasoning", "answer")})
        self.longest = max(self.longest, t.num_tokens.get("reasoning", 0) + t.num_tokens.get("answer", 0))
        if t.score is not None:
            self.scores.append(t.score)

    def stats(self, recipe: Recipe) -> dict[str, Any]:
        # A problem that failed and was tried again with success is no failure.
        errors = len(self.failed - self.good)
        dropped = dict(sorted({**self.dropped, **({"error": errors} if errors else {})}.items()))
        kept, steps = self.sums["kept"], sum(self.teachers.values())
        return {
            "rows": kept + sum(dropped.values()),
            "kept": kept,
            "dropped": dropped,
            "correct": self.sums["correct"],
            "mean_score": sum(self.scores) / len(self.scores) if self.scores else None,
            "steps": steps,
            "teacher_share": {name: count / steps for name, count in sorted(self.teachers.items())},
            "tokens": {
                "reasoning": self.sums["reasoning"],
                "answer": self.sums["answer"],
                "mean_per_row": (self.sums["reasoning"] + self.sums["answer"]) / kept if kept else 0.0,
                "longest_row": self.longest,
                "unit": "tokens of the meta-prover",
            },
            "filters": recipe.data.filters.model_dump(),
            "keep_markers": recipe.data.keep_markers,
        }


def _nothing_left(stats: dict[str, Any], path: Path) -> str:
    dropped = stats["dropped"]
    if not dropped:
        return f"{path} holds no trajectory: run cord generate"
    reason = max(dropped, key=lambda key: dropped[key])
    counts = ", ".join(f"{count} {name}" for name, count in dropped.items())
    fix = REMEDIES.get(reason, "look at the trajectories with cord view")
    return f"no training row is left of {stats['rows']} trajectories ({counts}): {fix}"


def _write_in_order(spool: Any, places: dict[str, tuple[int, int]], path: Path) -> str:
    """Copies the spooled lines by id into `path`, atomically; returns the sha256 of the file."""
    digest = hashlib.sha256()
    beside = path.with_name(f".{path.name}.{os.getpid()}.sorted.tmp")
    with open(beside, "wb") as out:
        for _, (start, length) in sorted(places.items()):
            spool.seek(start)
            line = spool.read(length)
            digest.update(line)
            out.write(line)
        out.flush()
        os.fsync(out.fileno())
    os.replace(beside, path)
    return digest.hexdigest()
