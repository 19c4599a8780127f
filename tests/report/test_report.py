"""The report: figures in a table, a page that stands alone, and text from models that stays text."""

from __future__ import annotations

import html
import json
import random
import re
import shutil
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from made_rows import MALICE, TEACHERS, made_row, made_rows, made_summary, write_run

from cord_distill.cli import main
from cord_distill.common.markdown import markdown_table
from cord_distill.decode.figures import MethodFigures
from cord_distill.evaluation.figures import ModelScores
from cord_distill.recipe.experiment import Experiment
from cord_distill.report.page import by_method, render_page, write_report
from cord_distill.report.pictures import pictures
from cord_distill.report.summary import Summary, build_summary, write_summary
from cord_distill.report.table import data_cells, duration, model_cells, terminal_table
from cord_distill.search.beam import BeamSearch, Proposal
from cord_distill.types import Step, Stop
from cord_distill.view.payload import MAX_TEXT, embedded_json, kind_of, pick_problems, tree_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update"]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose every question and step tries to break out of the page."""
    folder = tmp_path_factory.mktemp("run")
    write_report(Experiment.load(write_run(folder, text=MALICE)))
    return folder / "out"


@pytest.fixture(scope="module")
def summary(run: Path) -> Summary:
    return build_summary(Experiment.load(run.parent / "made.yaml"))


# The table.


def test_the_two_tables_hold_every_figure(summary: Summary) -> None:
    """Fails one table of both, half of whose cells are empty."""
    head, rows = data_cells(summary)
    assert head == ["", "right answers %", "all steps right %", "S", "tokens/problem", "scored tokens/problem"]
    assert [row[0] for row in rows] == ["cord", "curation"] and rows[0][1].startswith("85.0 [")
    head, rows = model_cells(summary)
    assert head == ["", "right, avg@4 %", "steps right %"]
    assert rows[0] == ["student before fine-tuning", "0.0 [0.0, 5.0]", "40.0"]
    assert rows[1] == ["student on cord", "52.0 [47.0, 57.0]", "66.0"]
    assert rows[3][0] == "ada (teacher, avg@1)"
    noted = replace(summary, protocol=replace(summary.protocol, teacher_notes={"ada": "cannot add"}))
    assert model_cells(noted)[1][3][0] == "ada (teacher, avg@1, cannot add)"


def test_a_figure_that_nothing_has_is_no_column_and_no_row(summary: Summary) -> None:
    """Real suites check no steps. Fails tables of dashes."""
    methods = {
        name: replace(one, all_steps_right=None, step_accuracy=None, lucky=None)
        for name, one in summary.methods.items()
    }
    students = {
        name: ModelScores({"ledger": replace(one.first, step_accuracy=None)}) for name, one in summary.students.items()
    }
    bare = replace(summary, methods=methods, students=students, teachers={})
    assert data_cells(bare)[0] == ["", "right answers %", "S", "tokens/problem", "scored tokens/problem"]
    assert model_cells(bare)[0] == ["", "right, avg@4 %"]
    said = [row[0] for row in by_method(bare)[1]]
    assert "lucky %" not in said and "steps right %" not in said and "steps by ada %" in said


def test_the_page_has_a_column_for_each_method(summary: Summary) -> None:
    head, rows = by_method(summary)
    assert head == ["", "cord", "curation"] and {len(row) for row in rows} == {3}
    assert by_method(made_summary()) == ([""], [])


@pytest.mark.parametrize("width", [30, 80, 200])
def test_the_terminal_table_fits_and_is_plain_without_a_terminal(summary: Summary, width: int) -> None:
    text = terminal_table(summary, width, colour=False)
    assert max(map(len, text.splitlines())) <= width
    assert text.isascii()
    assert "\x1b" in terminal_table(summary, width, colour=True)


def test_a_name_cannot_style_or_break_a_table() -> None:
    made = made_summary(methods={"[red]|<b>": MethodFigures(4, failed=2, answer_accuracy=0.5)})
    assert "[red]|<b> (2 failed)" in terminal_table(made, 120, colour=False)
    assert "[red]\\|&lt;b> (2 failed)" in markdown_table(*data_cells(made))


def test_an_empty_summary_says_so() -> None:
    assert terminal_table(made_summary(), 80, colour=False) == "Nothing measured yet."


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.21, "3.2 s"), (111.9, "1 min 51 s"), (245, "4 min 05 s"), (12000, "3 h 20 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# The tree's data.


def chosen(tree: dict[str, Any]) -> list[Any]:
    return [tree["columns"][t][i] for t, i in enumerate(tree["path"])]


def test_the_chosen_path_is_the_trajectory() -> None:
    for row in made_rows(30):
        tree = tree_of(row, list(TEACHERS))
        new = [c for c in chosen(tree) if c[2] >= 0]
        assert [c[6] for c in new] == [s["text"] for s in row["steps"]]
        assert all(c[4] for c in new)
        for t in range(1, len(tree["path"])):
            assert tree["columns"][t][tree["path"][t]][0] == tree["path"][t - 1]


@pytest.mark.parametrize("seed", range(5))
def test_the_chosen_path_of_a_real_search(seed: int) -> None:
    """The seam to search/beam.py: what `parent` counts, and how finished beams are carried along."""
    rng = random.Random(seed)
    search = BeamSearch(beam_size=4, num_teachers=3, first_step_proposals=2, max_steps=7)
    while not search.done:
        for ask in search.expand():
            ends = Stop.THINK_END if rng.random() < 0.2 else None
            words = f"### Step {ask.step}. {rng.random()}"
            step = Step(ask.step, TEACHERS[ask.teacher], words, (1,), 1, rng.random(), ends or Stop.STEP)
            search.absorb(ask, Proposal(step, ends))
    best = search.best
    candidates = [[asdict(c) for c in column] for column in search.candidates()]
    row = made_row(1) | {"candidates": candidates, "steps": [asdict(s) for s in best.steps], "score": best.score}
    tree = tree_of(row, list(TEACHERS))
    assert [c[6] for c in chosen(tree) if c[2] >= 0] == [s.text for s in best.steps]
    assert all(c[0] >= 0 for column in tree["columns"][1:] for c in column)


def test_some_made_beams_finish_early_and_are_carried() -> None:
    trees = [tree_of(row, list(TEACHERS)) for row in made_rows(30)]
    assert any(c[2] == -1 for tree in trees for column in tree["columns"] for c in column)


def test_of_whole_traces_the_kept_one_is_the_path() -> None:
    tree = tree_of(made_row(1, pipeline="curation"), list(TEACHERS))
    assert len(tree["path"]) == 1
    assert chosen(tree)[0][3] == tree["score"]


def test_a_thought_closed_by_the_budget_still_finds_its_path() -> None:
    row = made_row(1)
    row["steps"][-1]["text"] += "</think>"
    assert chosen(tree_of(row, []))[0][6] == row["steps"][0]["text"]


def test_parents_that_point_nowhere_do_not_break_the_tree() -> None:
    row = made_row(1)
    for candidate in row["candidates"][2]:
        candidate["parent"] = 99
    tree = tree_of(row, [])
    assert {c[0] for c in tree["columns"][2]} == {-1}


def test_a_failed_problem_has_an_empty_tree() -> None:
    tree = tree_of(made_row(1, error="engine gone"), [])
    assert (tree["kind"], tree["columns"], tree["path"], tree["error"]) == ("failed", [], [], "engine gone")


def test_long_texts_are_cut_and_say_so() -> None:
    tree = tree_of(made_row(1, text="x" * 10_000), [])
    assert MAX_TEXT < len(tree["steps"][0][2]) < MAX_TEXT + 60
    assert "more characters" in tree["steps"][0][2]


def test_problems_of_every_kind_are_picked_in_file_order() -> None:
    rows = [made_row(i) for i in range(20)] + [made_row(20, correct=False), made_row(21, error="x")]
    picked = pick_problems(rows, 4)
    assert picked == ["p0", "p1", "p20", "p21"]
    assert [kind_of(row) for row in rows[-2:]] == ["wrong", "failed"]
    assert pick_problems([], 4) == []


# The page.


def test_the_page_needs_no_network(run: Path) -> None:
    page = (run / "report.html").read_text()
    page = page.replace('href="view.html"', "")
    assert not re.findall(
        r'<(?:link|script[^>]* src|img|iframe)|@import|url\((?!#)|(?:src|href)="(?!#)', page.split("<pre>")[0]
    )
    assert "default-src 'none'" in page


def test_text_from_models_cannot_close_the_payload(run: Path) -> None:
    page = (run / "report.html").read_text()
    payload = page.split('id="payload">')[1].split("</script>")[0]
    assert "<" not in payload
    assert json.loads(payload)["problems"][0]["question"].endswith(MALICE)
    assert MALICE not in page
    assert page.count("<script") == 2
    assert json.loads(embedded_json(MALICE)) == MALICE


def test_names_from_the_recipe_are_escaped(summary: Summary) -> None:
    evil = "<script>alert(1)</script>$x$"
    renamed = replace(summary, name=evil, methods={evil: summary.methods["cord"]}, seconds={evil: 1.0})
    page = render_page(renamed, {"teachers": [], "notes": [], "pair": None, "problems": []}, f"name: {evil}")
    assert evil not in page
    assert page.count("<script") == 2
    assert html.escape(evil) in page


def test_the_page_holds_table_recipe_time_and_pictures(run: Path) -> None:
    page = (run / "report.html").read_text()
    for words in ("85.0 [", "52.0 [47.0, 57.0]", "train:curation", "2 min 30 s", "decode.pipeline: curation", "lucky"):
        assert words in page
    assert page.count("<svg") == 4


def test_pictures_take_their_colours_from_the_page(summary: Summary) -> None:
    for _, svg in pictures(summary):
        colours = set(re.findall(r"(?:fill|stroke): ?([^;\"]+)", svg))
        assert not {c for c in colours if c.startswith("#")}
        assert "var(--ink)" in svg
    ids = [x for _, svg in pictures(summary) for x in re.findall(r'id="([^"]+)"', svg)]
    assert len(ids) == len(set(ids))


def test_the_same_run_gives_the_same_page(run: Path) -> None:
    before = (run / "report.html").read_bytes()
    write_report(Experiment.load(run.parent / "made.yaml"))
    assert (run / "report.html").read_bytes() == before


def test_the_markdown_page(run: Path) -> None:
    text = (run / "report.md").read_text()
    assert "| cord | " in text
    assert "````yaml\nname: made" in text
    assert "pwned" not in text


def test_a_report_names_no_place_of_this_machine(run: Path) -> None:
    """A report is sent around. Fails the resolved recipe as it stands, with every absolute path; recipe.yaml beside the
    report has them."""
    for name in ("report.html", "report.md"):
        text = (run / name).read_text()
        assert str(run.parent) not in text and "output_dir: out" in text


def test_a_run_with_nothing_yet_has_a_page(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("name: r\noutput_dir: ./out\n")
    page = write_report(Experiment.load(recipe)).read_text()
    assert "Nothing measured yet" in page
    assert build_summary(Experiment.load(recipe)) == write_summary(Experiment.load(recipe))


def test_other_evaluated_models_are_on_the_page(tmp_path: Path) -> None:
    """`evaluate.models`. Fails the page that knows only the run's own students and teachers."""
    recipe = write_run(tmp_path)
    suite = {"avg_at_k": 0.61, "avg_at_k_ci": [0.55, 0.67], "k": 4, "num_problems": 100, "step_accuracy": 0.7}
    (tmp_path / "out/eval/other-7b").mkdir()
    (tmp_path / "out/eval/other-7b/results.json").write_text(json.dumps({"suites": {"ledger": suite}, "seconds": 2.0}))
    assert "other-7b" not in write_report(Experiment.load(recipe)).read_text()
    recipe.write_text(
        recipe.read_text().replace("teachers: true", "teachers: true, models: [{model: /m, name: other-7b}]")
    )
    page = write_report(Experiment.load(recipe))
    summary = build_summary(Experiment.load(recipe))
    assert summary.models["other-7b"].first.avg_at_k == 0.61
    assert model_cells(summary)[1][-1] == ["other-7b", "61.0 [55.0, 67.0]", "70.0"]
    assert "61.0 [55.0, 67.0]" in page.read_text() and "| other-7b |" in page.with_suffix(".md").read_text()
    assert any("other-7b" in svg for title, svg in pictures(summary) if title.startswith("Held-out"))


def test_a_report_reads_the_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a large run are gigabytes. Fails `cord report` that makes the summary for itself and for the page."""
    recipe, made = write_run(tmp_path), []

    def counted(*arguments: Any) -> Summary:
        made.append(arguments)
        return build_summary(*arguments)

    monkeypatch.setattr("cord_distill.report.summary.build_summary", counted)
    assert main(["report", str(recipe)]) == 0
    assert len(made) == 1 and (tmp_path / "out/report.html").is_file() and (tmp_path / "out/summary.json").is_file()


# In a browser. Without the page's own policy, so that escaping alone must hold.

PROBE = """
const said = [];
onerror = message => said.push(String(message));
addEventListener("load", () => {
  const press = key => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
  const read = () => document.querySelector(".read").textContent;
  const count = what => document.querySelectorAll(what).length;
  const found = {nodes: count(".node"), path: count(".node.path")};
  const beside = document.querySelectorAll("#pairview .beside .facts");
  found.beside = [...beside].map(line => line.textContent.split(" ·")[0]);
  document.querySelector(".node.path").dispatchEvent(new MouseEvent("click", {bubbles: true}));
  found.first = read();
  press("ArrowRight"); found.second = read();
  press("ArrowLeft"); press("ArrowDown"); press("Home"); found.home = read();
  found.question = document.querySelector(".question").textContent;
  document.querySelectorAll("[data-row=Method] button")[1].click();
  found.traces = count(".node");
  found.images = document.images.length;
  found.pwned = String(window.pwned);
  found.said = said;
  document.title = JSON.stringify(found);
});
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)")
def test_in_a_browser(run: Path, tmp_path: Path) -> None:
    page = (run / "report.html").read_text()
    page = re.sub(r"<meta http-equiv=.*", "", page).replace("</head>", f"<script>{PROBE}</script></head>")
    (tmp_path / "page.html").write_text(page)
    made = subprocess.run(
        [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"file://{tmp_path}/page.html"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", made.stdout, re.S)
    assert title, made.stderr[-2000:]
    found = json.loads(html.unescape(title[1]))
    payload = json.loads((run / "report.html").read_text().split('id="payload">')[1].split("</script>")[0])
    assert payload["pair"] == ["cord", "curation"]
    row = next(r for r in made_rows(20, "cord", 0.85, text=MALICE) if r["id"] == payload["problems"][0]["id"])
    assert found["beside"] == ["cord: right in every step", "curation: wrong answer"]
    assert (found["said"], found["pwned"], found["images"]) == ([], "undefined", 0)
    assert found["nodes"] == sum(map(len, row["candidates"]))
    assert found["path"] >= len(row["steps"])
    first, second = (step["text"].removeprefix("### ").strip() for step in row["steps"][:2])
    assert found["first"].endswith(first) and found["home"] == found["first"]
    assert found["second"].endswith(second)
    assert found["question"].endswith(MALICE)
    assert found["traces"] == 12
