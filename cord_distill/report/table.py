"""The figures of a summary as one table: its cells once, then for the terminal, for Markdown and for the page."""

from __future__ import annotations

import io
import shutil
import sys
import textwrap
from typing import Any

from cord_distill.evaluation.over_seeds import NOTE, seeds_said

HEADS = ("", "right answers %", "all steps right %", "S", "tokens/problem", "{avg} %", "step accuracy %")
NONE = "–"
# Below this width the two halves (the data, the models) are drawn as two tables.
WIDE = 96


def table_cells(summary: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and rows, as text: the methods with their students, the untrained student, the teachers, other models.

    Columns 1-4 are about the data of a method (`answer_accuracy` with its 95% interval, `all_steps_right`, mean
    perplexity score S, generated tokens per problem); 5-6 about a model on the held-out suite.
    """
    methods, students, teachers = (summary.get(key) or {} for key in ("methods", "students", "teachers"))
    k = next((s["k"] for s in students.values() if s.get("k")), None)
    avg = f"avg@{k}" if k else "avg@k"
    rows = []
    for name in dict.fromkeys(["untrained", *methods, *students]):
        method, student = methods.get(name, {}), students.get(name, {})
        if method or student:
            said = f"{name}, {seeds_said(student)}" if "seeds" in student else name
            rows.append([said + _failed(method), *_data(method), *_model(student, f"avg_at_{student.get('k')}")])
        for seed, run in (student.get("seeds") or {}).items():
            rows.append([f"{name}, seed {seed}", *_data({}), *_model(run, f"avg_at_{run.get('k')}")])
    for name, teacher in teachers.items():
        tries = f", avg@{teacher['k']}" if teacher.get("k") not in (None, k) else ""
        rows.append([f"{name} (teacher{tries})", *_data({}), *_model(teacher, "answer_accuracy")])
    for name, model in (summary.get("models") or {}).items():
        rows.append([name, *_data({}), *_model(model, f"avg_at_{model.get('k')}")])
    return [head.format(avg=avg) for head in HEADS], rows


def terminal_table(summary: dict[str, Any], width: int | None = None, colour: bool | None = None) -> str:
    """The table for a terminal of `width` columns (default: this one's). Without colour it is plain ASCII lines.

    colour: default is whether standard output is a terminal.
    """
    width = width or shutil.get_terminal_size((120, 24)).columns
    head, rows = table_cells(summary)
    if not rows:
        return "Nothing measured yet."
    drawn = []
    for title, columns in _halves(width, head):
        kept = [row for row in rows if len(columns) == len(head) or any(row[i] != NONE for i in columns[1:])]
        cells = [[row[i] for i in columns] for row in kept]
        drawn.append(draw_table(title, [head[i] for i in columns], cells, width, colour))
    return "\n".join([*drawn, *(textwrap.fill(note, width) for note in table_notes(summary))])


def table_notes(summary: dict[str, Any]) -> list[str]:
    """What the table's intervals are over, where that differs from row to row."""
    return [NOTE] if any("seeds" in student for student in (summary.get("students") or {}).values()) else []


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
        table.add_column(Text(name), justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)
    text = out.getvalue() if colour else out.getvalue().replace(NONE, "-")
    return "\n".join(line.rstrip() for line in text.splitlines())


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table of plain cells; bars and line ends in a name cannot break it."""

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(" ".join(c.split()).replace("|", "\\|").replace("<", "&lt;") for c in cells) + " |"

    rule = "|---|" + "---:|" * (len(head) - 1)
    return "\n".join([line(head), rule, *map(line, rows)])


def percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.1f}"


def percent_with_interval(share: float | None, interval: list[float] | None) -> str:
    return percent(share) + (f" [{percent(interval[0])}, {percent(interval[1])}]" if interval else "")


def duration(seconds: float) -> str:
    """12.3 s below two minutes, 4 min 05 s below two hours, then 3 h 20 min."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"


def _halves(width: int, head: list[str]) -> list[tuple[str | None, list[int]]]:
    if width >= WIDE:
        return [(None, list(range(len(head))))]
    return [("Data", [0, 1, 2, 3, 4]), ("Models, held out", [0, 5, 6])]


def _data(method: dict[str, Any]) -> list[str]:
    score, tokens = method.get("score"), method.get("tokens_per_problem")
    return [
        percent_with_interval(method.get("answer_accuracy"), method.get("answer_accuracy_ci")),
        percent(method.get("all_steps_right")),
        NONE if score is None else f"{score:.3f}",
        NONE if tokens is None else f"{tokens:,.0f}",
    ]


def _model(figures: dict[str, Any], key: str) -> list[str]:
    shown = percent_with_interval(figures.get(key), figures.get(f"{key}_ci"))
    return [shown, percent(figures.get("step_accuracy"))]


def _failed(method: dict[str, Any]) -> str:
    return f" ({method['failed']} failed)" if method.get("failed") else ""
