"""`write_report`: report.html (one file, no network, safe with any text) and report.md, beside the run's summary."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from cord_distill import __version__
from cord_distill.common.files import write_atomic
from cord_distill.common.html import asset, content_hash
from cord_distill.recipe.experiment import method_recipes
from cord_distill.recipe.file import dump_recipe, load_recipe
from cord_distill.recipe.recipe import Recipe
from cord_distill.report.losses import Curve, loss_curves
from cord_distill.report.pictures import pictures, teacher_order
from cord_distill.report.sections import Section, sections
from cord_distill.report.summary import write_summary
from cord_distill.report.table import NONE, duration, markdown_table, percent, table_cells, table_notes
from cord_distill.run_folder.paths import RunFolder, method_name
from cord_distill.run_folder.trajectories import read_rows
from cord_distill.view.payload import embedded_json, pick_problems, tree_of

HERE = Path(__file__).parent
VIEW = HERE.parent / "view"
STYLES = HERE.parent / "common"
NOTES = (
    "Right answers and S are about a method's data; S is also what the search selects by, so it favours CoRD by "
    "construction: read it beside the share of traces whose steps are all right, and beside the students. "
    "Brackets are 95% intervals. Tokens per problem count every proposal, the discarded ones too."
)


def write_report(
    recipe_source: str | Path,
    overrides: Iterable[str] = (),
    problems: int = 8,
    *,
    summary: dict[str, Any] | None = None,
) -> Path:
    """Writes report.html and report.md of a run, from what its folder holds. Returns the HTML's path.

    problems: how many get their beam tree. summary: of this run, as `write_summary` gave it; None writes it first.
    Raises CordError on a damaged file; what is missing is left out.
    """
    overrides = list(overrides)
    summary = write_summary(recipe_source, overrides) if summary is None else summary
    recipes = method_recipes(recipe_source, overrides)
    whole = load_recipe(recipe_source, [x for x in overrides if not x.startswith("variant=")])
    folder = RunFolder.of(recipes[0])
    trees = tree_payload(recipes, summary["protocol"]["teachers"], problems)
    more = sections(recipes, summary)
    write_atomic(folder.report, render_page(summary, trees, dump_recipe(whole), more, loss_curves(recipes)))
    write_atomic(folder.report.with_suffix(".md"), render_markdown(summary, dump_recipe(whole), more))
    return folder.report


def tree_payload(recipes: list[Recipe], teachers: list[str], count: int) -> dict[str, Any]:
    """{teachers, problems: [{id, question, answer, methods: {method: tree}}]}: the same problems under every method.

    Rows are read as a stream, twice per method, so that a large run needs no large memory.
    """
    files = {method_name(r): RunFolder.of(r).trajectories for r in recipes}
    files = {name: path for name, path in files.items() if path.is_file()}
    names = list(teachers)
    shown: dict[str, dict[str, Any]] = {}
    if files:
        shown = {x: {"id": x, "methods": {}} for x in pick_problems(read_rows(next(iter(files.values()))), count)}
    for name, path in files.items():
        for row in read_rows(path):
            if row["id"] in shown:
                problem = row["problem"]
                shown[row["id"]] |= {"question": problem["question"], "answer": problem["answer"]}
                shown[row["id"]]["methods"][name] = tree_of(row, names)
    return {"teachers": names, "problems": list(shown.values())}


def render_page(
    summary: dict[str, Any],
    trees: dict[str, Any],
    recipe_yaml: str,
    more: Sequence[Section] = (),
    losses: Mapping[str, Curve] | None = None,
) -> str:
    """The whole page as text. Every value from outside is escaped; model text stands only in the JSON payload."""
    css, beam_tree, script = asset("page.css", STYLES), asset("beam_tree.js", VIEW), asset("tree.js", HERE)
    script = beam_tree + script
    head, rows = table_cells(summary)
    template = Template(asset("page.html", HERE))
    return template.substitute(
        script_hash=content_hash(script),
        css=css,
        name=html.escape(summary["name"]),
        version=__version__,
        protocol=html.escape(protocol_line(summary)),
        table=_table(head, rows) if rows else "<p>Nothing measured yet: <code>cord run</code> the recipe.</p>",
        notes=html.escape(" ".join([NOTES, *table_notes(summary)])),
        pictures="".join(
            f"<figure><figcaption>{html.escape(t)}</figcaption>{svg}</figure>" for t, svg in pictures(summary, losses)
        ),
        details=_table(*detail_cells(summary)),
        more="".join(_section(section) for section in more),
        seconds=_table(*seconds_cells(summary)),
        recipe=html.escape(recipe_yaml),
        payload=embedded_json(trees),
        script=script,
    )


def render_markdown(summary: dict[str, Any], recipe_yaml: str, more: Sequence[Section] = ()) -> str:
    head, rows = table_cells(summary)
    fence = "````"
    parts = [f"# {' '.join(summary['name'].split())}", protocol_line(summary)]
    notes = " ".join([NOTES, *table_notes(summary)])
    parts += [markdown_table(head, rows), notes] if rows else ["Nothing measured yet."]
    tables = [Section("The data", *detail_cells(summary)), *more, Section("Time", *seconds_cells(summary))]
    for section in tables:
        if section.rows:
            parts += [f"## {section.title}", markdown_table(section.head, section.rows), section.note]
    parts = [part for part in parts if part]
    parts += ["## Recipe, resolved", f"{fence}yaml\n{recipe_yaml.rstrip()}\n{fence}"]
    return "\n\n".join(parts) + "\n"


def protocol_line(summary: dict[str, Any]) -> str:
    """One sentence: teachers, meta-prover, beam, how the students were evaluated."""
    p = summary["protocol"]
    said = []
    if p.get("teachers"):
        said.append(f"Teachers: {', '.join(p['teachers'])}.")
    if p.get("meta_prover"):
        said.append(f"Meta-prover: {p['meta_prover']}.")
    said.append(f"Beam size {p['beam_size']}, seed {p['seed']}.")
    if p.get("train_seeds"):
        said.append(f"Trained with seeds {', '.join(map(str, p['train_seeds']))}.")
    if p.get("suites"):
        said.append(f"Evaluated on {', '.join(p['suites'])}: {p['samples']} samples each, T={p['temperature']}.")
    return " ".join(said)


def detail_cells(summary: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """What the one table leaves out about each method's data, with the teachers' shares of the selected steps."""
    methods = summary.get("methods") or {}
    hits = {name: (m.get("hit_rate") or {}).get("overall") or {} for name, m in methods.items()}
    teachers = teacher_order(summary["protocol"]["teachers"], [t for h in hits.values() for t in h])
    head = ["", "problems", "failed", "lucky %", "steps right %", "steps/trace", "tokens/trace"]
    rows = []
    for name, m in methods.items():
        row = [name, str(m["num_problems"]), str(m["failed"]), percent(m["lucky"]), percent(m["step_accuracy"])]
        row += [NONE if m[key] is None else f"{m[key]:.1f}" for key in ("steps_per_trace", "trace_tokens")]
        rows.append(row + [percent(hits[name].get(t)) for t in teachers])
    return head + [f"steps by {t} %" for t in teachers], rows


def seconds_cells(summary: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    seconds = summary.get("seconds") or {}
    rows = [[part, duration(s)] for part, s in seconds.items()]
    return ["part", "time"], rows + ([["sum of parts", duration(sum(seconds.values()))]] if len(rows) > 1 else [])


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
