"""The figures of a summary as two tables, the data and the models: their cells, for terminal, Markdown and page."""

from __future__ import annotations

import io
import shutil
import sys
import textwrap
from collections.abc import Sequence

from cord_distill.common.terminal import plain
from cord_distill.decode.figures import MethodFigures
from cord_distill.evaluation.figures import ModelScores
from cord_distill.evaluation.over_seeds import NOTE, seeds_said
from cord_distill.report.summary import Summary

NONE = "–"
DATA_TITLE, MODELS_TITLE = "The data", "The models, on problems that none of them has seen"
DIFFERENCE_NOTE = (
    "A difference of two students is paired over problems (95% bootstrap interval, p by flipping signs); what training "
    "again with another seed would give is not in it (`seed: [0, 1, 2]` measures that)."
)
Cells = tuple[list[str], list[list[str]]]


def data_cells(summary: Summary) -> Cells:
    """Head and rows about each method's traces; a figure that no method has is left out.

    The share of right answers has its 95% interval; S is the mean perplexity score; tokens are those that were
    generated, and those that were read for scores.
    """
    head = ["", "right answers %", "all steps right %", "S", "tokens/problem", "scored tokens/problem"]
    return known_columns(head, [[name + _failed(method), *_data(method)] for name, method in summary.methods.items()])


def model_cells(summary: Summary) -> Cells:
    """Head and rows of the held-out suite: the untrained student, those of the methods, the teachers, other models."""
    notes = summary.protocol.teacher_notes
    k = next((student.first.k for student in summary.students.values() if student.first.k), None)
    rows = []
    for name, student in summary.students.items():
        called = student_said(name)
        rows.append([f"{called}, {seeds_said(student)}" if student.seeds else called, *_model(student)])
        rows += [[f"{called}, seed {seed}", *_model(run)] for seed, run in student.seeds.items()]
    for name, teacher in summary.teachers.items():
        said = [f"avg@{teacher.first.k}"] if teacher.first.k not in (None, k) else []
        said += [notes[name]] if notes.get(name) else []
        rows.append([f"{name} ({', '.join(['teacher', *said])})", *_model(teacher)])
    rows += [[name, *_model(model)] for name, model in summary.models.items()]
    return known_columns(["", f"right, avg@{k or 'k'} %", "steps right %"], rows)


def student_said(name: str) -> str:
    """How tables and pictures call a student: by the method whose data it was trained on."""
    return "student before fine-tuning" if name == "untrained" else f"student on {name}"


def known_columns(head: list[str], rows: list[list[str]], unknown: Sequence[str] = (NONE,)) -> Cells:
    """Without the columns, the first one excepted, of which every cell is one of `unknown`."""
    kept = [i for i in range(len(head)) if i == 0 or any(row[i] not in unknown for row in rows)]
    return [head[i] for i in kept], [[row[i] for i in kept] for row in rows]


def terminal_table(summary: Summary, width: int | None = None, colour: bool | None = None) -> str:
    """Both tables for a terminal of `width` columns (default: this one's). Without colour it is plain ASCII lines.

    colour: default is whether standard output is a terminal.
    """
    width = width or shutil.get_terminal_size((120, 24)).columns
    tables = [(DATA_TITLE, data_cells(summary)), (MODELS_TITLE, model_cells(summary))]
    drawn = [draw_table(title, head, rows, width, colour) for title, (head, rows) in tables if rows]
    if not drawn:
        return "Nothing measured yet."
    return "\n".join([*drawn, *(textwrap.fill(note, width) for note in table_notes(summary))])


def table_notes(summary: Summary) -> list[str]:
    """What the intervals are over, where that is not the same everywhere, or what they leave out."""
    seeds = any(student.seeds for student in summary.students.values())
    return [NOTE] * seeds + [DIFFERENCE_NOTE] * bool(summary.differences)


def draw_table(
    title: str | None, head: list[str], rows: list[list[str]], width: int | None = None, colour: bool | None = None
) -> str:
    """One table for a terminal: the first column to the left, the others to the right; cells that are too wide fold."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = width or shutil.get_terminal_size((120, 24)).columns
    colour = sys.stdout.isatty() if colour is None else colour
    out = io.StringIO()
    console = Console(
        file=out, width=width, force_terminal=colour, no_color=not colour, highlight=False, legacy_windows=False
    )
    table = Table(box=box.SIMPLE_HEAD if colour else box.ASCII2, title=title, title_justify="left")
    for i, name in enumerate(head):
        table.add_column(Text(plain(name)), justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    console.print(table)
    text = out.getvalue() if colour else out.getvalue().replace(NONE, "-")
    return "\n".join(line.rstrip() for line in text.splitlines())


def percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.1f}"


def percent_with_interval(share: float | None, interval: list[float] | None) -> str:
    return percent(share) + (f" [{percent(interval[0])}, {percent(interval[1])}]" if interval else "")


def duration(seconds: float) -> str:
    """12.3 s below a minute, 4 min 05 s below two hours, then 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"


def number(value: float | None, digits: int = 1) -> str:
    return NONE if value is None else f"{value:,.{digits}f}"


def _data(method: MethodFigures) -> list[str]:
    return [
        percent_with_interval(method.answer_accuracy, method.answer_accuracy_ci),
        percent(method.all_steps_right),
        number(method.score, 3),
        number(method.tokens_per_problem, 0),
        number(method.scored_tokens_per_problem, 0),
    ]


def _model(scores: ModelScores) -> list[str]:
    first = scores.first
    return [percent_with_interval(first.avg_at_k, first.avg_at_k_ci), percent(first.step_accuracy)]


def _failed(method: MethodFigures) -> str:
    return f" ({method.failed} failed)" if method.failed else ""
