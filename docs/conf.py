"""`make docs`: these pages as a site in build/docs, without a network; a dead link or a bad docstring is an error."""

import re

project = "cord-distill"
author = "the authors of cord-distill"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = project
html_show_copyright = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]

# GitHub's ways to write anchors and formulas.
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "undoc-members": True}
default_role = "code"


BENCHMARKS = {"RESULTS": "speed", "ABLATIONS": "ablations"}


def benchmark_links(app, name, source):
    """Links to files of benchmarks/ lead to the pages that include them."""
    source[0] = re.sub(r"\]\(\.\./benchmarks/(\w+)\.md", lambda m: f"]({BENCHMARKS[m[1]]}.md", source[0])


def formulas(app, name, source):
    """Blocks ```` ```math ```` and inline $`...`$ become MathML, which browsers draw without a script or a network."""
    from latex2mathml.converter import convert

    source[0] = re.sub(r"```math\n(.*?)```", lambda m: convert(m[1], display="block") + "\n", source[0], flags=re.S)
    source[0] = re.sub(r"\$`([^`]+)`\$", lambda m: convert(m[1]), source[0])


def in_markdown(app, what, name, thing, options, lines):
    """Docstrings are plain text with Markdown's code marks: no character of it is markup for Sphinx but these."""
    for i, line in enumerate(lines):
        parts = re.split(r"(`+[^`]+`+)", line)
        lines[i] = "".join(
            f"``{part.strip('`')}``" if part.startswith("`") else re.sub(r"([*|_\\])", r"\\\1", part) for part in parts
        )


def setup(app):
    app.connect("source-read", benchmark_links)
    app.connect("source-read", formulas)
    app.connect("autodoc-process-docstring", in_markdown)
