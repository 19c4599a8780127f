"""Rows of other runs and other people (`data.sources`): one small reader per format, every row kept or counted."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.data.rows import Incoming, from_text, from_trajectory
from cord_distill.recipe.data import Filters, Source
from cord_distill.types import THINK_CLOSE, THINK_OPEN, Trajectory

Row = dict[str, Any]
# (question, completion, system, correct) of one row; KeyError and TypeError mean that a column is not as it should be.
Reader = Callable[[Row], tuple[str, str, str, bool | None]]


def incoming(source: Source, filters: Filters, markers: re.Pattern[str] | None) -> Iterator[Incoming]:
    """Rows of one source, ids prefixed by its name. Raises CordError naming file, line and what is missing."""
    label, read = source.label, READERS.get(source.format)
    for number, (place, row) in enumerate(_rows(source)):
        if source.limit is not None and number >= source.limit:
            return
        id = f"{label}/{row.get('id') or row.get('problem_id') or f'{number:06d}'}"
        try:
            if read is None:
                made = Trajectory.from_row({**row, "candidates": []})
                kept = from_trajectory(made, filters, markers)
                yield Incoming(
                    id, kept.question, kept.completion, {**kept.row, "id": id}, kept.reason, kept.failed, kept.correct,
                    kept.score, kept.teachers, kept.tokens,
                )  # fmt: skip
                continue
            question, completion, system, correct = read(row)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise CordError(
                f"{place}: not a row of format {source.format!r} ({type(error).__name__}: {error}); it has the columns "
                f"{', '.join(map(str, row))}: set data.sources format, or mend the file"
            ) from None
        yield from_text(id, label, question, completion, filters, system, correct)


def copies(source: Source, id: str, seed: int) -> int:
    """How often the row `id` is written: floor(weight), and once more for a share of the rows drawn by their ids."""
    whole, rest = divmod(source.weight, 1)
    draw = int.from_bytes(hashlib.sha256(f"{seed}\0{id}".encode()).digest()[:8], "big") / 2**64
    return int(whole) + (draw < rest)


def _messages(row: Row) -> tuple[str, str, str, bool | None]:
    """Chat: [system,] user, assistant; the thought in the text, or beside it as `reasoning_content` or `thinking`."""
    turns = row.get("messages") or row["conversations"]
    roles = [str(t.get("role") or t["from"]) for t in turns]
    texts = [str(t["content"] if "content" in t else t["value"]) for t in turns]
    names = [{"human": "user", "gpt": "assistant"}.get(role, role) for role in roles]
    if names[-2:] != ["user", "assistant"] or names[:-2] not in ([], ["system"]):
        raise ValueError(f"roles are {', '.join(roles)}; a row is [system,] user, assistant")
    beside = turns[-1].get("reasoning_content") or turns[-1].get("thinking")
    completion = _thought(str(beside), texts[-1]) if beside else texts[-1]
    return texts[-2], completion, texts[0] if len(turns) == 3 else "", row.get("correct")


def _limo(row: Row) -> tuple[str, str, str, bool | None]:
    """LIMO: `solution` is the thought (it ends in the answer); the answer is said once more, in a box."""
    solution, answer = row["solution"], row["answer"]
    if not isinstance(solution, str):
        raise TypeError("solution is no text")
    if THINK_CLOSE in solution:
        return row["question"], solution, "", None
    return row["question"], _thought(solution, f"The final answer is $\\boxed{{{answer}}}$."), "", None


def _s1k(row: Row) -> tuple[str, str, str, bool | None]:
    """s1K-1.1 (DeepSeek-R1's thought and attempt, with a grade) or s1K (Gemini's, in a list of one)."""
    if row.get("deepseek_thinking_trajectory"):
        grade = {"yes": True, "no": False}.get(str(row.get("deepseek_grade") or "").strip().lower())
        return row["question"], _thought(row["deepseek_thinking_trajectory"], row["deepseek_attempt"]), "", grade
    return row["question"], _thought(row["thinking_trajectories"][0], row["attempt"]), "", None


def _own_rows(row: Row) -> tuple[str, str, str, bool | None]:
    """train.jsonl of another data set: prompt and completion as messages."""
    question, completion, system, _ = _messages({"messages": [*row["prompt"], *row["completion"]]})
    return question, completion, system, row.get("correct")


def _thought(thought: str, answer: str) -> str:
    return f"{THINK_OPEN}{thought.strip()}\n{THINK_CLOSE}\n\n{answer.strip()}"


READERS: dict[str, Reader] = {"messages": _messages, "limo": _limo, "s1k": _s1k, "rows": _own_rows}


def _rows(source: Source) -> Iterator[tuple[str, Row]]:
    if source.dataset:
        yield from _hub_rows(source)
        return
    path = Path(str(source.path))
    if not path.is_file():
        raise CordError(f"data.sources: {path} is not there; give a JSONL file, e.g. data.sources.0.path=rows.jsonl")
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                place = f"data.sources: {path.name}, line {number}"
                try:
                    row = json.loads(line)
                except ValueError:
                    raise CordError(f"{place}: not readable as JSON; each line must be one object") from None
                if not isinstance(row, dict):
                    raise CordError(f"{place}: not an object; each line must be one object")
                yield place, row


def _hub_rows(source: Source) -> Iterator[tuple[str, Row]]:
    from datasets import load_dataset

    try:
        dataset = load_dataset(source.dataset, source.subset, split=source.split)
    except (OSError, ValueError) as error:
        raise CordError(
            f"data.sources: {source.dataset!r} could not be loaded ({str(error).splitlines()[0]}); check the name and "
            "the network, or download it as JSONL and give path in place of dataset"
        ) from None
    for number, row in enumerate(dataset):
        yield f"data.sources: {source.dataset}, row {number}", row
