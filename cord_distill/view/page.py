"""`write_view`: view.html, one file that needs no network and takes any text from models as text."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator
from pathlib import Path
from string import Template
from typing import Any

from cord_distill import __version__
from cord_distill.common.errors import CordError
from cord_distill.common.files import replacing
from cord_distill.common.html import asset, content_hash
from cord_distill.common.progress import progress
from cord_distill.view.gather import CUT_TEXT, Run, gather
from cord_distill.view.payload import packed

HERE = Path(__file__).parent
STYLES = HERE.parent / "common"
SCRIPTS = ("data.js", "maths.js", "list.js", "curve.js", "trajectory.js", "overview.js", "main.js")
# Every text, whatever the run's size.
WHOLE = 0
VIEW_FILE, REPORT_FILE = "view.html", "report.html"


def write_view(run: Run, output: str | Path | None = None, max_text: int | None = None) -> Path:
    """Writes the page of a run (`find_run`, `run_of`); returns its path (default: view.html in the run folder).

    max_text: characters kept of a candidate off the chosen trace, 0 for all of them; None: all in a run below 64 MB,
    200 in a larger one. Raises CordError when the page cannot be written.
    """
    if max_text is None:
        max_text = WHOLE if run.whole_texts else CUT_TEXT
    path = Path(output) if output else run.root / VIEW_FILE
    with progress("view", sum(_lines(file) for file in run.methods.values())) as display:
        index, chunks = gather(run, max_text or None, display.advance)
    try:
        _write(path, page(index, chunks, report=path.parent == run.root and (run.root / REPORT_FILE).is_file()))
    except CordError as error:
        raise CordError(f"{str(error).partition(';')[0]}; give another place with --output FILE") from None
    return path


def page(index: dict[str, Any], chunks: dict[str, str], report: bool = False) -> Iterator[str]:
    """The page in parts. report: whether report.html lies beside it, which it then links to. The script stands before
    the chunks: the list is there while the browser still reads them."""
    style = asset("page.css", STYLES) + asset("view.css", HERE)
    script = asset("beam_tree.js", HERE) + "".join(asset(name, HERE) for name in SCRIPTS)
    maths = asset("temml/temml.min.js", HERE)
    yield Template(asset("view.html", HERE)).substitute(
        policy=" ".join(f"'{content_hash(code)}'" for code in (maths, script)),
        style_policy=f"'{content_hash(style)}'",
        name=html.escape(index["name"]),
        report=f'<a href="{REPORT_FILE}">The report</a>' if report else "",
        version=__version__,
        licence=html.escape(asset("temml/LICENSE", HERE)),
        style=style,
        maths=maths,
        script=script,
        index=packed(index),
    )
    for key, text in chunks.items():
        yield f'<script type="text/plain" id="c{key}">{text}</script>\n'
    yield "</body>\n</html>\n"


def _lines(path: Path) -> int:
    with open(path, "rb") as file:
        return sum(1 for _ in file)


def _write(path: Path, parts: Iterable[str]) -> None:
    """Part by part: a large page is never in memory twice."""
    with replacing(path) as file:
        for part in parts:
            file.write(part.encode(errors="replace"))
