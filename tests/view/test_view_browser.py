"""`cord view` in a real Chromium: it opens, filters, expands and can be driven by keys; text from models stays text."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_rows import MALICE, made_row, made_rows
from test_view import merged_row, rows_at

from cord_distill.view.gather import find_run
from cord_distill.view.page import write_view

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright (pip install playwright)")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"
)
MATHS = (
    r"Half is $\frac{1}{2}$, \(x^{2}\) and $A=\{1,2\}$, so \[ \sum_{k=1}^n k \] and \boxed{\dfrac{3}{4}}."
    r" Words: \boxed{ 1=2 3=4}. It costs $5 and $6. Broken: $\frac{1}{$ and \(\nosuchcommand{x}\)."
    r" Evil: $\href{javascript:window.pwned=3}{x}$ $\includegraphics{http://evil.example/x.png}$"
    r" $\htmlStyle{color:red}{x}$ $\def\a{\a\a}\a$"
)


class Opened:
    """A page, what it said, and what it asked the network for."""

    def __init__(self, page: Any) -> None:
        self.page, self.said, self.asked = page, [], []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))

    def go(self, path: Path, address: str = "") -> Any:
        self.page.goto("about:blank")
        self.page.goto(f"file://{path}{address}")
        self.page.wait_for_selector("html[data-ready]")
        return self.page


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


@pytest.fixture
def opened(browser: Any, request: pytest.FixtureRequest) -> Iterator[Opened]:
    context = browser.new_context(**{"viewport": {"width": 1300, "height": 900}} | getattr(request, "param", {}))
    one = Opened(context.new_page())
    yield one
    context.close()
    assert one.said == []
    assert [url for url in one.asked if not re.match("about:|file:|blob:", url)] == []


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty problems under two pipelines, with every verdict; a hostile one, and one full of maths."""
    folder = tmp_path_factory.mktemp("run")
    hostile = made_row(90, text=MALICE) | {"id": MALICE, "prediction": MALICE}
    hostile["problem"]["answer"] = "lone \ud800 & <b>"
    maths = made_row(91, text=MATHS) | {"id": "maths"}
    rows_at(folder / "cord", *made_rows(30, right=0.8), made_row(40, error="engine <i>gone</i>"), hostile, maths)
    whole = [*made_rows(30, "curation", right=0.4), made_row(90, pipeline="curation")]
    for row in whole:
        for step in row["steps"][:-1]:
            step["score"] = None
    rows_at(folder / "curation", *whole)
    return write_view(find_run(folder))


def count(page: Any) -> str:
    return page.inner_text("#count")


def ids(page: Any) -> list[str]:
    return page.eval_on_selector_all(".item strong", "all => all.map(one => one.textContent)")


def test_it_opens_with_all_problems_and_an_overview(run: Path, opened: Opened) -> None:
    page = opened.go(run)
    assert count(page).startswith("34 problems")
    assert ids(page)[:2] == ["p0", "p1"]
    rows = page.eval_on_selector_all(
        ".overview tr", "all => all.map(row => row.cells[0].textContent + row.cells[1].textContent)"
    )
    assert rows == ["methodproblems", "cord33", "curation31"]
    assert opened.asked[-1].startswith("file:")


def test_search_filters_and_sort(run: Path, opened: Opened) -> None:
    page = opened.go(run)
    rows = made_rows(30, right=0.8)
    page.fill("#search", "p2")
    assert ids(page) == ["p2", *(f"p{i}" for i in range(20, 30))]
    page.fill("#search", "zzz")
    assert count(page) == "0 of 34 problems" and "No problem fits" in page.inner_text("#list")
    page.fill("#search", "")
    page.select_option("#verdict", "wrong")
    wrong = [row["id"] for row in rows if not row["correct"]]
    assert count(page) == f"{len(wrong)} of 34 problems, 0 of {len(wrong)} right answers" and ids(page) == wrong
    page.select_option("#verdict", "failed")
    assert ids(page) == ["p40"]
    page.select_option("#verdict", "differs")
    other = {row["id"]: row["correct"] for row in made_rows(30, "curation", right=0.4)}
    assert ids(page) == [row["id"] for row in rows if row["correct"] != other[row["id"]]][: len(ids(page))]
    page.select_option("#verdict", "")
    page.fill("#search", "p1")
    page.select_option("#sort", "score, low first")
    some = [row for row in rows if row["id"].startswith("p1")]
    assert ids(page) == [row["id"] for row in sorted(some, key=lambda row: row["score"])]
    page.select_option("#teacher", label="none by ada")
    without = [r for r in some if "ada" not in {s["teacher"] for s in r["steps"]}]
    assert ids(page) == [row["id"] for row in sorted(without, key=lambda row: row["score"])]


def test_keys_alone_reach_everything(run: Path, opened: Opened) -> None:
    """/ search, Enter to the list, arrows, Enter opens, arrows in the tree, Esc back; the focus is seen."""
    page = opened.go(run)
    press = page.keyboard.press
    focused = lambda: page.evaluate("document.activeElement.id")  # noqa: E731
    press("/")
    assert focused() == "search"
    page.keyboard.type("p2")
    press("Enter")
    assert focused() == "list"
    press("ArrowDown")
    active = page.get_attribute("#list", "aria-activedescendant")
    assert "p20" in page.inner_text(f"#{active}")
    assert page.evaluate("getComputedStyle(document.querySelector('.item.active')).outlineStyle") == "solid"
    press("Enter")
    page.wait_for_selector("#title:text-is('p20')")
    assert page.get_attribute("#row1", "aria-selected") == "true"
    press("j")
    page.wait_for_selector("#title:text-is('p21')")
    page.focus(".node[tabindex='0']")
    first = page.inner_text(".read")
    press("ArrowRight")
    assert "step 2" in page.inner_text(".read") and page.inner_text(".read") != first
    press("End")
    assert f"step {len(made_row(21)['candidates'])}" in page.inner_text(".read")
    press("Home")
    assert page.inner_text(".read") == first
    press("Escape")
    assert focused() == "list" and "opened" not in (page.get_attribute("body", "class") or "")


def test_the_tree_holds_every_candidate_and_folds(run: Path, opened: Opened) -> None:
    page = opened.go(run, "#problem=p3&method=cord")
    row = made_row(3)
    boxes = sum(map(len, row["candidates"]))
    assert page.locator(".node").count() == boxes
    assert page.inner_text(".beam summary") == f"Beam tree: {boxes} candidates in {len(row['candidates'])} steps"
    assert page.locator(".node.path").count() >= len(row["steps"])
    page.check("text=only what was kept")
    assert page.locator(".node").count() == sum(c["kept"] for column in row["candidates"] for c in column)
    page.click(".beam summary")
    assert not page.is_visible(".tree")
    page.click(".beam summary")
    assert page.is_visible(".tree")
    assert page.locator(".final li").count() == len(row["steps"]) + 1
    assert page.locator(".curve .point").count() == len(row["steps"])
    assert page.get_attribute(".curve", "aria-label").count("step ") == len(row["steps"])


def test_the_same_problem_beside_another_pipeline(run: Path, opened: Opened) -> None:
    page = opened.go(run, "#problem=p3&method=cord")
    assert page.locator(".trajectory").count() == 1
    page.select_option(".bar label:has-text('beside') select", label="curation")
    page.wait_for_selector(".trajectory:nth-of-type(2)")
    tops = page.eval_on_selector_all(".trajectory", "all => all.map(one => one.getBoundingClientRect().top)")
    assert page.eval_on_selector_all(".trajectory h3", "all => all.map(one => one.textContent)") == ["cord", "curation"]
    assert tops[0] == tops[1] and "beside=curation" in page.url
    assert "scored as a whole" in page.inner_text(".trajectory:nth-of-type(2)")


def test_a_failed_problem_says_why(run: Path, opened: Opened) -> None:
    page = opened.go(run, "#problem=p40")
    assert "This problem failed: engine <i>gone</i>" in page.inner_text(".trajectory")
    assert page.locator(".trajectory i").count() == 0


def test_hostile_text_stays_text_without_the_policy_too(run: Path, opened: Opened, tmp_path: Path) -> None:
    """Escaping alone must hold. Fails innerHTML anywhere."""
    bare = tmp_path / "bare.html"
    bare.write_text(re.sub(r"<meta http-equiv=[^\n]*", "", run.read_text()))
    page = opened.go(bare)
    page.fill("#search", "pwned")
    page.click(".item")
    page.wait_for_selector("#title")
    assert page.text_content("#title") == MALICE
    assert page.text_content(".question").endswith(MALICE.replace("\\(x^2\\)", "x2"))
    for _ in range(3):
        page.focus(".node[tabindex='0']")
        page.keyboard.press("ArrowRight")
    assert "</script><script>window.pwned=1</script>" in page.inner_text(".read")
    assert page.text_content(".facts strong") == "lone \ud800 & <b>"
    page.evaluate("new Promise(done => setTimeout(done, 50))")
    found = "[String(window.pwned), document.images.length, document.querySelectorAll('.problem script').length]"
    assert page.evaluate(found) == ["undefined", 0, 0]


def test_maths_is_drawn_and_what_is_no_maths_is_left(run: Path, opened: Opened) -> None:
    page = opened.go(run, "#problem=maths&method=cord")
    first = page.locator(".final li .text").first
    text = first.text_content()
    assert first.locator("mfrac").count() == 2 and first.locator("msup").count() == 1
    assert first.locator(".maths.display munderover").count() == 1
    assert "It costs $5 and $6." in text
    assert first.locator(".boxed").text_content() == "1=2 3=4"
    code = [one.text_content() for one in first.locator("code").all()]
    assert r"\(\nosuchcommand{x}\)" in code
    assert first.locator("a, img, [style*=red]").count() == 0
    assert "".join(text.split()).count("javascript:") <= 1
    assert page.evaluate("String(window.pwned)") == "undefined"
    page.click("text=Show source")
    page.wait_for_selector("text=Show maths")
    assert r"$\frac{1}{2}$, \(x^{2}\)" in page.locator(".final li .text").first.text_content()


def test_a_thousand_problems_are_a_few_elements(opened: Opened, tmp_path: Path) -> None:
    """Fails the list that draws every row."""
    page = opened.go(write_view(find_run(rows_at(tmp_path, *(made_row(i, steps=2) for i in range(1000))))))
    assert count(page) == "1000 problems, 1000 of 1000 right answers"
    assert len(ids(page)) < 40
    page.focus("#list")
    page.keyboard.press("End")
    page.wait_for_selector("text=p999")
    assert page.get_attribute(".item.active", "aria-posinset") == "1000" and len(ids(page)) < 40
    page.keyboard.press("Enter")
    page.wait_for_selector("#title:text-is('p999')")


@pytest.mark.parametrize("opened", [{"viewport": {"width": 360, "height": 700}}], indirect=True)
def test_on_a_phone(run: Path, opened: Opened) -> None:
    """One pane at a time, nothing wider than the window."""
    page = opened.go(run)
    narrow = lambda: page.evaluate("document.documentElement.scrollWidth") <= 360  # noqa: E731
    assert narrow() and not page.is_visible("#problem")
    page.click(".item >> nth=3")
    page.wait_for_selector("#title:text-is('p3')")
    page.select_option(".bar label:has-text('beside') select", label="curation")
    page.wait_for_selector(".trajectory:nth-of-type(2)")
    assert narrow() and not page.is_visible("#list")
    assert page.evaluate("document.querySelector('#problem').scrollWidth") <= 360
    page.click("text=← List")
    assert page.is_visible("#list") and not page.is_visible("#problem")


@pytest.mark.parametrize(
    ("opened", "light"), [({"color_scheme": "light"}, True), ({"color_scheme": "dark"}, False)], indirect=["opened"]
)
def test_dark_and_light(run: Path, opened: Opened, light: bool) -> None:
    page = opened.go(run)
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (min(map(int, re.findall(r"\d+", colour))) > 200) is light


def test_merged_traces_and_rows_without_candidates(opened: Opened, tmp_path: Path) -> None:
    bare = made_row(2) | {"candidates": []}
    page = opened.go(write_view(find_run(rows_at(tmp_path, merged_row(tries=2), bare))), "#problem=p1")
    assert page.locator(".node").count() == 5
    # Both usable traces lead to each reply, and one line from the start to each of the three traces.
    assert page.locator(".edge").count() == 3 + 2 * 2
    assert "verification" in page.inner_text(".final")
    labels = page.eval_on_selector_all(".node", "all => all.map(one => one.getAttribute('aria-label'))")
    assert any("merged, merger" in label and label.endswith("no JSON") for label in labels)
    assert any(label.endswith("empty trace") for label in labels)
    opened.go(tmp_path / "view.html", "#problem=p2")
    assert "No candidates were recorded." in page.inner_text(".trajectory")
    assert page.locator(".final li").count() == len(bare["steps"]) + 1


def test_a_page_of_one_problem_shows_it_at_once(tmp_path: Path, opened: Opened) -> None:
    """As the cells of a W&B table hold it. Fails the version that shows a list of one to click on."""
    rows_at(tmp_path / "cord", made_row(3))
    page = opened.go(write_view(find_run(tmp_path)))
    assert page.inner_text("#title") == "p3" and page.locator("svg").count() > 0
