"""Rows of other runs and other people (`data.sources`): one small reader per format, every row kept or counted."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.hub import hub_rows
from cord_distill.common.jsonl import as_json, fault, read_rows
from cord_distill.common.terminal import listed
from cord_distill.data.cut_tail import cut_tail
from cord_distill.data.rows import CandidateRow, from_text, from_trajectory
from cord_distill.recipe.data import FiltersConfig, SourceConfig
from cord_distill.run_folder.shapes import odd_part
from cord_distill.types import THINK_CLOSE, THINK_OPEN, Trajectory

Row = dict[str, Any]
BESIDE = ("reasoning_content", "reasoning", "thinking")
# (question, completion, system, correct) of one row; KeyError and TypeError mean that a column is not as it should be.
Reader = Callable[[Row], tuple[str, str, str, bool | None]]


def incoming(
    source: SourceConfig, filters: FiltersConfig, markers: re.Pattern[str] | None, threshold: float | None = None
) -> Iterator[CandidateRow]:
    """Rows of one source, ids prefixed by its name. threshold: `data.cut_tail`, for trajectories.

    Raises CordError naming file, line and what is missing.
    """
    label, read = source.label, READERS.get(source.format)
    seen: Counter[str] = Counter()
    for number, (place, row) in enumerate(islice(_rows(source), source.limit)):
        named = next((row[key] for key in ("id", "problem_id") if row.get(key) not in (None, "")), f"{number:06d}")
        # Several traces of one problem share its id: each is a row of its own.
        seen[str(named)] += 1
        id = f"{label}/{named}" + (f"#{seen[str(named)]}" if seen[str(named)] > 1 else "")
        try:
            if fault({**row, "candidates": []} if read is None else row):
                raise OddRow("unusable_value")
            if read is None:
                if found := odd_part(row):
                    raise ValueError(found)
                made = Trajectory.from_row({**row, "candidates": []})
                made = made if threshold is None else cut_tail(made, threshold)
                kept = from_trajectory(made, filters, markers)
                yield replace(kept, id=id, row={**kept.row, "id": id})
                continue
            question, completion, system, correct = read(row)
        except OddRow as odd:
            yield CandidateRow(id, "", f"{place}: {odd}", {}, str(odd))
            continue
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise CordError(
                f"{place}: not a row of format {source.format!r} ({type(error).__name__}: {error}); it has the columns "
                f"{listed(row)}: set data.sources format, or mend the file"
            ) from None
        yield from_text(id, label, question, completion, filters, system, correct)


def copies_per_epoch(source: SourceConfig, id: str, seed: int) -> int:
    """How often the row `id` is written: floor(weight), and once more for a share of the rows drawn by their ids."""
    whole, rest = divmod(source.weight, 1)
    draw = int.from_bytes(hashlib.sha256(f"{seed}\0{id}".encode()).digest()[:8], "big") / 2**64
    return int(whole) + (draw < rest)


class OddRow(Exception):
    """A row of the right columns that cannot be trained; its text is the reason under which it is counted."""


def _text(value: Any, missing: str) -> str:
    """The text of a column, which holds a text or a list of text parts. null is "", or an OddRow of the reason
    `missing` where one is given. Raises OddRow for anything else."""
    if value is None and not missing:
        return ""
    if value is None:
        raise OddRow(missing)
    if isinstance(value, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in value):
        value = "".join(_text(part.get("text"), missing) for part in value)
    if not isinstance(value, str):
        raise OddRow("unusable_value")
    return value


def _grade(value: Any) -> bool | None:
    """What a `correct` column says; null or nothing: not graded. Text and numbers are read by what they mean."""
    if value is None or isinstance(value, bool):
        return value
    said = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": None}
    try:
        return said[str(value).strip().lower().removesuffix(".0")]
    except KeyError:
        raise OddRow("unusable_value") from None


def _messages(row: Row) -> tuple[str, str, str, bool | None]:
    """Chat: [system,] user, assistant; the thought in the text, or beside it (`reasoning_content`, `reasoning` ...)."""
    turns = row.get("messages") or row["conversations"]
    roles = [str(t.get("role") or t["from"]) for t in turns]
    names = [{"human": "user", "gpt": "assistant", "developer": "system"}.get(role, role) for role in roles]
    if names[-2:] != ["user", "assistant"] or names[:-2] not in ([], ["system"]):
        raise OddRow("other_turns")
    # A turn that only calls a tool may leave the text out.
    contents = [None if "tool_calls" in t else t["value"] if "content" not in t else t["content"] for t in turns]
    question, answer = _text(contents[-2], "no_question"), _text(contents[-1], "no_final_answer")
    system = contents[0] if len(turns) == 3 else row.get("system")
    beside = next((turns[-1][key] for key in BESIDE if turns[-1].get(key)), None)
    completion = _thought(_text(beside, "no_thought"), answer) if beside else answer
    return question, completion, _text(system, ""), _grade(row.get("correct"))


def _limo(row: Row) -> tuple[str, str, str, bool | None]:
    """LIMO: `solution` is the thought (it ends in the answer); the answer is said once more, in a box."""
    solution, answer = row["solution"], row["answer"]
    question, solution = _text(row["question"], "no_question"), _text(solution, "no_thought")
    if THINK_CLOSE in solution:
        return question, solution, "", None
    if isinstance(answer, bool) or not isinstance(answer, str | int | float | None):
        raise OddRow("unusable_value")
    if answer is None or str(answer).strip().lower() in ("", "nan", "none", "null"):
        raise OddRow("no_final_answer")
    return question, _thought(solution, f"The final answer is $\\boxed{{{answer}}}$."), "", None


def _s1k(row: Row) -> tuple[str, str, str, bool | None]:
    """s1K-1.1 (DeepSeek-R1's thought and attempt, with a grade) or s1K (Gemini's, in a list of one)."""
    if row.get("deepseek_thinking_trajectory"):
        grade = {"yes": True, "no": False}.get(str(row.get("deepseek_grade") or "").strip().lower())
        thought, attempt = row["deepseek_thinking_trajectory"], row["deepseek_attempt"]
    else:
        thought, attempt, grade = row["thinking_trajectories"][0], row["attempt"], None
    question = _text(row["question"], "no_question")
    return question, _thought(_text(thought, "no_thought"), _text(attempt, "no_final_answer")), "", grade


def _own_rows(row: Row) -> tuple[str, str, str, bool | None]:
    """train.jsonl of another data set: prompt and completion as messages."""
    return _messages({"messages": [*row["prompt"], *row["completion"]], "correct": row.get("correct")})


def _thought(thought: str, answer: str) -> str:
    return f"{THINK_OPEN}{thought.strip()}\n{THINK_CLOSE}\n\n{answer.strip()}"


READERS: dict[str, Reader] = {"messages": _messages, "limo": _limo, "s1k": _s1k, "rows": _own_rows}


def _rows(source: SourceConfig) -> Iterator[tuple[str, Row]]:
    if name := source.dataset:
        fix = "download it as JSONL and give path in place of dataset"
        dataset, _ = hub_rows("data.sources", name, source.subset, source.split, source.revision, fix)
        for number, row in enumerate(map(as_json, dataset)):
            yield f"data.sources: {name}, row {number}", row
        return
    columns = "one row per line, e.g. data.sources.0.path=rows.jsonl"
    for where, row in read_rows(Path(str(source.path)), key="data.sources", columns=columns):
        yield f"data.sources: {where}", row
