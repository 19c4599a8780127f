"""The pictures of the report, as SVG that is part of the page: its colours are the page's, so both themes can read it.

matplotlib draws with stand-in colours, which become `var(--ink)` and the like. Text stays text.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from cord_distill.evaluation.figures import ModelScores
from cord_distill.report.losses import Curve
from cord_distill.report.summary import Summary
from cord_distill.report.table import student_said

# (label, share, its interval, colour)
Bar = tuple[str, float | None, list[float] | None, str]

# Stand-ins that matplotlib writes as they are, and the custom properties of page.css that they become.
INK, FAINT = "#010203", "#010204"
SERIES = [f"#0102{0x10 + i:02x}" for i in range(8)]
BAR = "#010205"
VARIABLES = {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    BAR: "var(--bar)",
    **{c: f"var(--t{i})" for i, c in enumerate(SERIES)},
}
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "cord-distill",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
}
DASHES = ["-", (0, (4, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2))]
WIDTH = 4.4  # inches: two beside each other on a laptop, one on a phone


def pictures(summary: Summary, losses: Mapping[str, Curve] | None = None) -> list[tuple[str, str]]:
    """(what it shows, SVG) of every picture for which there are figures. losses: of `loss_curves`."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        return _pictures(summary) + _losses(losses or {})


def _pictures(summary: Summary) -> list[tuple[str, str]]:
    methods, notes = summary.methods, summary.protocol.teacher_notes
    models: list[Bar] = []
    for name, student in summary.students.items():
        said = f"{student_said(name)}, {len(student.seeds)} seeds" if student.seeds else student_said(name)
        models.append(_bar(said, student, BAR if name in methods else FAINT))
    for name, teacher in summary.teachers.items():
        models.append(_bar(f"{name}\n{notes[name]}" if notes.get(name) else name, teacher, FAINT))
    models += [_bar(name, model, FAINT) for name, model in summary.models.items()]
    made = _bars("Held-out problems: right answers, % with 95% interval", models, "models")
    data = [(name, one.answer_accuracy, one.answer_accuracy_ci, BAR) for name, one in methods.items()]
    made += _bars("The data: right answers, % with 95% interval", data, "data")
    for i, (name, method) in enumerate(methods.items()):
        title = f"{name}: who wrote which part of the trace, %"
        made += _deciles(title, method.hit_rate.deciles, summary.protocol.teachers, f"h{i}")
    return made


def _bar(label: str, scores: ModelScores, colour: str) -> Bar:
    return label, scores.first.avg_at_k, scores.first.avg_at_k_ci, colour


def _bars(title: str, bars: Sequence[Bar], prefix: str) -> list[tuple[str, str]]:
    shown = [bar for bar in bars if bar[1] is not None]
    if not shown:
        return []
    labels = ["\n".join(map(_folded, bar[0].split("\n"))) for bar in shown]
    figure, axes = _figure(0.75 + 0.36 * len(shown) + 0.13 * sum(label.count("\n") for label in labels))
    for y, (_, share, interval, colour) in enumerate(shown):
        assert share is not None
        axes.barh(y, 100 * share, color=colour, height=0.62)
        end = share
        if interval:
            low, high = interval
            axes.plot([100 * low, 100 * high], [y, y], color=INK, linewidth=1.6, solid_capstyle="butt")
            axes.plot([100 * low, 100 * high], [y, y], color=INK, linewidth=0, marker="|", markersize=7)
            end = max(share, high)
        axes.text(100 * end + 2, y, f"{100 * share:.1f}", va="center")
    axes.set_yticks(range(len(shown)), labels)
    axes.invert_yaxis()
    axes.set_xlim(0, 112)
    axes.set_xticks(range(0, 101, 25))
    axes.grid(axis="x")
    axes.tick_params(length=0)
    axes.spines["bottom"].set_visible(False)
    return [(title, _svg(figure, prefix))]


def _losses(losses: Mapping[str, Curve]) -> list[tuple[str, str]]:
    if not losses:
        return []
    figure, axes = _figure(2.3)
    for i, (label, curve) in enumerate(losses.items()):
        steps, values = zip(*curve, strict=True)
        # Teachers have colours; methods differ by their line.
        axes.plot(steps, values, color=INK, linestyle=DASHES[i % len(DASHES)], linewidth=1.3, label=_short(label))
    axes.set_xlabel("update")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    _legend(axes, len(losses))
    return [("Training loss per token", _svg(figure, "loss"))]


def _deciles(title: str, deciles: list[dict[str, float]], everyone: list[str], prefix: str) -> list[tuple[str, str]]:
    if not deciles:
        return []
    names = teacher_order(everyone, deciles[0])
    figure, axes = _figure(2.3)
    bottom = [0.0] * len(deciles)
    for i, name in enumerate(names):
        shares = [100 * d.get(name, 0.0) for d in deciles]
        x = [10 * d + 5 for d in range(len(deciles))]
        axes.bar(x, shares, width=9, bottom=bottom, color=SERIES[i % len(SERIES)], label=_short(name))
        bottom = [a + b for a, b in zip(bottom, shares, strict=True)]
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    axes.set_xticks(range(0, 101, 20))
    axes.set_yticks([0, 50, 100])
    axes.set_xlabel("% of the trace")
    _legend(axes, len(names))
    return [(title, _svg(figure, prefix))]


def _legend(axes: Any, entries: int) -> None:
    columns = min(entries, 3)
    axes.tick_params(length=0)
    axes.legend(ncols=columns, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), handlelength=1, borderpad=0.2)


def teacher_order(protocol: list[str], seen: Any) -> list[str]:
    """The recipe's order first, so that a teacher has the same colour everywhere; then any other, by name."""
    return [*protocol, *sorted(set(seen) - set(protocol))]


def _figure(height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Any, prefix: str) -> str:
    """The figure as an <svg> element: no prolog, ids of its own (`prefix`), the page's colours, scaled to its place."""
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", svg)
    svg = re.sub(r'<svg ([^>]*?)width="[^"]*" height="[^"]*"', r"<svg \1", svg, count=1, flags=re.S)
    svg = re.sub(r'<svg ([^>]*?)height="[^"]*"([^>]*?)width="[^"]*"', r"<svg \1\2", svg, count=1, flags=re.S)
    for stand_in, variable in VARIABLES.items():
        svg = svg.replace(stand_in, variable)
    return svg.strip()


def _folded(text: str) -> str:
    """A label of at most two lines, so that a note is read to its end."""
    return "\n".join(textwrap.wrap(text, 24, max_lines=2, placeholder=" …") or [text])


def _short(name: str) -> str:
    return name if len(name) <= 24 else name[:23] + "…"
