"""`write_report`: report.html (one file, no network, safe with any text) and report.md, beside the run's summary."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from cord_distill import __version__
from cord_distill.common.files import write_atomic
from cord_distill.common.html import asset, content_hash
from cord_distill.common.markdown import markdown_table, without_places
from cord_distill.recipe.experiment import Experiment
from cord_distill.recipe.file import dump_recipe
from cord_distill.recipe.recipe import Recipe
from cord_distill.report.losses import Curve, loss_curves
from cord_distill.report.pictures import pictures, teacher_order
from cord_distill.report.sections import Section, sections
from cord_distill.report.story import compared_methods, story
from cord_distill.report.summary import Summary, write_summary
from cord_distill.report.table import (
    DATA_TITLE,
    MODELS_TITLE,
    Cells,
    data_cells,
    duration,
    known_columns,
    model_cells,
    number,
    percent,
    table_notes,
)
from cord_distill.run_folder.paths import RunFolder, method_name
from cord_distill.run_folder.trajectories import read_rows
from cord_distill.view.page import VIEW_FILE
from cord_distill.view.payload import embedded_json, kind_of, pick_problems, tree_of

HERE = Path(__file__).parent
VIEW = HERE.parent / "view"
STYLES = HERE.parent / "common"
# Problems that get their beam tree; view.html has all of them.
TREES = 8
NOTHING = "<p>Nothing measured yet: <code>cord run</code> the recipe.</p>"
NOTES = (
    "Brackets are 95% intervals. avg@k is the mean over problems of the share of k samples that are right. S is how "
    "well the meta-prover predicts the known answer behind a trace: e to the mean log-probability of the answer's "
    "tokens, from 0 to 1. CoRD selects by S, so S favours CoRD by construction: read it beside the share of traces "
    "whose steps are all right, and beside the students. Lucky: of the right answers, the share whose trace has a "
    "wrong step. Tokens per problem count every proposal, the discarded ones too; scored tokens are those that the "
    "meta-prover read."
)


def write_report(experiment: Experiment, *, summary: Summary | None = None) -> Path:
    """Writes report.html and report.md of a run, from what its folder holds. Returns the HTML's path.

    summary: of this run, as `write_summary` gave it; None writes it first.
    Raises CordError on a damaged file; what is missing is left out.
    """
    summary = write_summary(experiment) if summary is None else summary
    recipes, whole = experiment.methods, without_places(dump_recipe(experiment.whole))
    folder = RunFolder.of(recipes[0])
    trees = tree_payload(recipes, summary, TREES)
    more = sections(recipes, summary)
    write_atomic(folder.report, render_page(summary, trees, whole, more, loss_curves(recipes)))
    write_atomic(folder.report.with_suffix(".md"), render_markdown(summary, whole, more))
    return folder.report


def tree_payload(recipes: list[Recipe], summary: Summary, count: int) -> dict[str, Any]:
    """{teachers, notes, pair, problems: [{id, question, answer, methods: {method: tree}}]}: the same problems under
    every method.

    pair: the methods of which the first got the first problem right in every step, and the second got it wrong; null
    where there is no such problem. Rows are read as a stream, so that a large run needs no large memory.
    """
    files = {method_name(r): RunFolder.of(r).trajectories for r in recipes}
    files = {name: path for name, path in files.items() if path.is_file()}
    names, notes = summary.protocol.teachers, summary.protocol.teacher_notes
    compared = [name for name in compared_methods(summary) if name in files]
    telling = telling_problem(*(files[name] for name in compared)) if len(compared) == 2 else None
    shown: dict[str, dict[str, Any]] = {}
    if files:
        picked = pick_problems(read_rows(files[compared[0]] if compared else next(iter(files.values()))), count)
        picked = [telling, *(x for x in picked if x != telling)][:count] if telling else picked
        shown = {x: {"id": x, "methods": {}} for x in picked}
    for name, path in files.items():
        for row in read_rows(path):
            if row["id"] in shown:
                problem = row["problem"]
                shown[row["id"]] |= {"question": problem["question"], "answer": problem["answer"]}
                shown[row["id"]]["methods"][name] = tree_of(row, names)
    pair = compared if telling in shown else None
    return {
        "teachers": names,
        "notes": [notes.get(x, "") for x in names],
        "pair": pair,
        "problems": list(shown.values()),
    }


def telling_problem(first: Path, second: Path) -> str | None:
    """The id of the first problem that is right in every step in `first`, and wrong in `second`."""
    wrong = {row["id"] for row in read_rows(second) if kind_of(row) == "wrong"}
    return next((row["id"] for row in read_rows(first) if row["id"] in wrong and kind_of(row) == "right"), None)


def render_page(
    summary: Summary,
    trees: dict[str, Any],
    recipe_yaml: str,
    more: Sequence[Section] = (),
    losses: Mapping[str, Curve] | None = None,
) -> str:
    """The whole page as text. Every value from outside is escaped; model text stands only in the JSON payload."""
    css, beam_tree, script = asset("page.css", STYLES), asset("beam_tree.js", VIEW), asset("tree.js", HERE)
    script = beam_tree + script
    drawn = [
        f"<figure><figcaption>{html.escape(title)}</figcaption>{svg}</figure>"
        for title, svg in pictures(summary, losses)
    ]
    said = story(summary)
    tables = {title: f"<h2>{title}</h2>{_table(*cells)}" if cells[1] else "" for title, cells in first_tables(summary)}
    view = f' <a href="{VIEW_FILE}">Every problem, with its tree and its trace</a>.' if trees["problems"] else ""
    template = Template(asset("page.html", HERE))
    return template.substitute(
        script_hash=content_hash(script),
        css=css,
        name=html.escape(summary.name),
        version=__version__,
        protocol=html.escape(protocol_line(summary)),
        story="".join(f'<p class="lead">{html.escape(text)}</p>' for text in said),
        view=view,
        first="".join(drawn[:1]),
        models=tables[MODELS_TITLE],
        data=tables[DATA_TITLE] or ("" if tables[MODELS_TITLE] else NOTHING),
        notes=html.escape(" ".join([NOTES, *table_notes(summary)])),
        pictures="".join(drawn[1:]),
        more="".join(_section(section) for section in more),
        seconds=_table(*seconds_cells(summary)),
        recipe=html.escape(recipe_yaml),
        payload=embedded_json(trees),
        script=script,
    )


def render_markdown(summary: Summary, recipe_yaml: str, more: Sequence[Section] = ()) -> str:
    fence = "````"
    parts = [f"# {' '.join(summary.name.split())}", *story(summary), protocol_line(summary)]
    tables = [(title, cells) for title, cells in first_tables(summary) if cells[1]]
    for title, (head, rows) in tables:
        parts += [f"## {title}", markdown_table(head, rows)]
    parts += [" ".join([NOTES, *table_notes(summary)])] if tables else ["Nothing measured yet."]
    for section in [*more, Section("Time by part", *seconds_cells(summary))]:
        if section.rows:
            parts += [f"## {section.title}", markdown_table(section.head, section.rows), section.note]
    parts = [part for part in parts if part]
    parts += ["## Recipe, resolved", f"{fence}yaml\n{recipe_yaml.rstrip()}\n{fence}"]
    return "\n\n".join(parts) + "\n"


def protocol_line(summary: Summary) -> str:
    """One sentence: teachers, meta-prover, beam, how the students were evaluated."""
    p = summary.protocol
    said = []
    if p.teachers:
        said.append(f"Teachers: {', '.join(p.teachers)}.")
    if p.meta_prover:
        said.append(f"Meta-prover: {p.meta_prover}.")
    said.append(f"Beam size {p.beam_size}, seed {p.seed}.")
    if p.train_seeds:
        said.append(f"Trained with seeds {', '.join(map(str, p.train_seeds))}.")
    if p.suites:
        k = p.samples if isinstance(p.samples, int) else ", ".join(f"{suite} {n}" for suite, n in p.samples.items())
        said.append(f"Evaluated on {', '.join(p.suites)}: {k} samples each, T={p.temperature}.")
    return " ".join(said)


def first_tables(summary: Summary) -> list[tuple[str, Cells]]:
    """The two tables of the first screen: all about the data, a column per method; the models, a row each."""
    return [(DATA_TITLE, by_method(summary)), (MODELS_TITLE, model_cells(summary))]


def by_method(summary: Summary) -> Cells:
    """`data_cells` with a column per method, and what they leave out: luck, length, who wrote the steps."""
    methods = summary.methods
    if not methods:
        return [""], []
    head, rows = data_cells(summary)
    lines = [list(line) for line in zip(head, *rows, strict=True)]
    lines.insert(1, ["problems", *(str(m.num_problems) for m in methods.values())])
    figures: list[tuple[str, list[str]]] = [
        ("lucky %", [percent(m.lucky) for m in methods.values()]),
        ("steps right %", [percent(m.step_accuracy) for m in methods.values()]),
        ("steps per trace", [number(m.steps_per_trace) for m in methods.values()]),
        ("changes of teacher per trace", [number(m.teacher_changes) for m in methods.values()]),
        ("tokens per trace", [number(m.trace_tokens, 0) for m in methods.values()]),
    ]
    hits = [m.hit_rate.overall for m in methods.values()]
    for teacher in teacher_order(summary.protocol.teachers, [t for hit in hits for t in hit]):
        figures.append((f"steps by {teacher} %", [percent(hit.get(teacher)) for hit in hits]))
    # A figure that no method has is no row.
    lines += [[said, *cells] for said, cells in figures if known_columns(["", said], [["", c] for c in cells])[0][1:]]
    return lines[0], lines[1:]


def seconds_cells(summary: Summary) -> Cells:
    rows = [[part, duration(seconds)] for part, seconds in summary.seconds.items()]
    wall = summary.wall_seconds
    return ["part", "time"], rows + ([["all, by the clock", duration(wall)]] if wall and len(rows) > 1 else [])


def _section(section: Section) -> str:
    note = f'<p class="quiet">{html.escape(section.note)}</p>' if section.note else ""
    title = html.escape(section.title)
    table = _table(section.head, section.rows, section.words)
    return f'<section aria-label="{title}">\n<h2>{title}</h2>\n{table}\n{note}</section>\n'


def _table(head: list[str], rows: list[list[str]], words: bool = False) -> str:
    if not rows:
        return "<p>None.</p>"
    cells = "".join(f'<th scope="col">{html.escape(h)}</th>' for h in head)
    body = "".join(
        f'<tr><th scope="row">{html.escape(row[0])}</th>{"".join(f"<td>{html.escape(c)}</td>" for c in row[1:])}</tr>'
        for row in rows
    )
    kind = ' class="words"' if words else ""
    return f'<div class="wide"><table{kind}><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'
