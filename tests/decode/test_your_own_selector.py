"""docs/your_own_selector.md runs as it stands: its files are written from the page, its commands are the page's."""

from __future__ import annotations

import json
import math
import re
import shlex
from pathlib import Path

import pytest

from cord_distill.cli import main

PAGE = (Path(__file__).parents[2] / "docs/your_own_selector.md").read_text()
COMMANDS = re.findall(r"^    cord (.*)", PAGE, re.M)
QUIET = "track.wandb.mode=disabled"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """(run folder, recipe) of the page's files, run from another folder: plug-ins are found beside the recipe."""
    folder = tmp_path_factory.mktemp("own")
    for name, text in re.findall(r"`([\w.]+)`:\n\n```\w+\n(.*?)```", PAGE, re.S):
        (folder / name).write_text(text)
    assert sorted(path.name for path in folder.iterdir()) == ["own.py", "own.yaml", "sums.jsonl"]
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(elsewhere)
        for command in COMMANDS:
            words = shlex.split(command.replace("own.yaml", str(folder / "own.yaml")))
            assert not main([*words, QUIET]), command
        yield elsewhere / "outputs/own", folder / "own.yaml"


def rows(folder, variant):
    return {row["id"]: row for row in map(json.loads, (folder[0] / variant / "trajectories.jsonl").open())}


def test_the_selector_orders_by_its_own_value_with_its_argument(folder):
    """Fails the version that hands no arguments on, or that falls back to S."""
    seen = 0
    for row in rows(folder, "priced").values():
        assert not row["error"]
        for one in (c for step in row["candidates"] for c in step if c["score"] is not None and c["score"] > 0.5):
            tokens = (math.exp(-0.1) - one["score"]) / 0.001
            assert tokens > 2 and tokens == pytest.approx(round(tokens), abs=0.02)
            seen += 1
    assert seen > 3


def test_the_pipeline_gives_the_rows(folder):
    found = rows(folder, "twice")
    assert {row["pipeline"] for row in found.values()} == {"own:twice"} and sorted(found) == ["a", "b", "c"]
    assert not any(row["error"] for row in found.values())


def test_the_segmentation_cuts_at_lines(folder):
    """Fails the version that keeps step markers: each step is one line."""
    for row in rows(folder, "lines").values():
        assert all(step["text"].strip().count("\n") <= 1 for step in row["steps"]), row["steps"]
        assert len(row["steps"]) > 1


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("variants.priced={decode.selector_args: {prize: 1}}", "decode.selector_args.prize: decode.selector 'own:"),
        ("variants.priced={decode.selector: own:gone}", "module own has no 'gone'"),
        ("variants.priced={decode.selector: longest_}", "did you mean 'longest'?"),
        ("variants.twice={decode.pipeline: cord}", "pipeline_args are for a plug-in"),
        ("variants.lines={decode.segmentation: own:teacher}", "decode.segmentation 'own:teacher' takes no argument"),
    ],
)
def test_what_cannot_be_called_is_found_by_the_check(folder, override, said, capsys):
    assert main(["check", str(folder[1]), override]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("gives_a_float", "return 3.0", "gave a float; return a Rating"),
        ("gives_nan", "return Rating(float('nan'))", "rated a step nan"),
        ("fails", "raise KeyError('x')", "on problem 'a' failed (fails.py, line 3): KeyError"),
    ],
)
def test_what_a_selector_must_not_do_ends_the_run_with_its_key(folder, name, body, said, tmp_path, capsys, monkeypatch):
    """Fails the version that ends in a traceback, or that goes on with a rating that orders nothing."""
    head = "from cord_distill.decode.selectors.base import Rating\n"
    text = f"{head}async def rate(problem, ensemble, steps, key):\n    {body}\n"
    (folder[1].parent / f"{name}.py").write_text(text)
    monkeypatch.chdir(folder[0].parents[1])
    overrides = ["variants=null", f"decode.selector={name}:rate", f"output_dir={tmp_path}", "problems.limit=1", QUIET]
    assert main(["generate", str(folder[1]), *overrides]) == 2
    error = capsys.readouterr().err
    assert "decode.selector" in error and said in error and "Traceback" not in error
