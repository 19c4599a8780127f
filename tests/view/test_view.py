"""`cord view`: the page holds what the rows say, whatever they say. In a browser: test_view_browser.py."""

from __future__ import annotations

import base64
import html
import json
import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from made_rows import MALICE, TEACHERS, made_row, write_run

from cord_distill.cli import main
from cord_distill.common.html import content_hash
from cord_distill.view.gather import Run, chunk, find_run, gather
from cord_distill.view.page import write_view
from cord_distill.view.payload import packed


def rows_at(path: Path, *rows: dict[str, Any]) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "trajectories.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def unpacked(text: str) -> Any:
    """What the page's script makes of `packed` text."""
    return json.loads(zlib.decompress(base64.b64decode(text)))


def gathered(path: Path, max_text: int | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    index, chunks = gather(find_run(path), max_text)
    return unpacked(packed(index)), {key: unpacked(text) for key, text in chunks.items()}


def merged_row(tries: int = 1) -> dict[str, Any]:
    """Integration: two usable traces, one empty; the last of `tries` replies is used."""

    def candidate(teacher: str, sample: int, score: float | None, kept: bool, error: str | None) -> dict[str, Any]:
        text = f"### Step 1. {teacher} {sample}"
        return {"parent": 0, "teacher": teacher, "sample": sample, "text": text, "score": score, "kept": kept,
                "stop": "think_end", "error": error}  # fmt: skip

    traces = [candidate("ada", 0, 0.2, True, None), candidate("bob", 0, 0.3, True, None),
              candidate("cyd", 0, None, False, "empty trace")]  # fmt: skip
    replies = [candidate("merger", k, 0.2 if k == tries - 1 else None, k == tries - 1,
                         None if k == tries - 1 else "no JSON") for k in range(tries)]  # fmt: skip
    row = made_row(1, steps=1) | {"pipeline": "integration", "candidates": [traces, replies], "score": 0.2}
    row["steps"] = [row["steps"][0] | {"teacher": "merger", "score": 0.2, "category": "verification"}]
    return row


# What the page holds.


def test_every_candidate_and_step_comes_back_exactly(tmp_path: Path) -> None:
    """Fails a payload that drops pruned or unusable candidates, or takes texts from the wrong place of the table."""
    row = made_row(3)
    row["candidates"][1][2] |= {"score": None, "kept": False, "error": "engine gave up"}
    index, chunks = gathered(rows_at(tmp_path, row))
    tree, names = chunks["0-0"], index["teachers"]
    for t, column in enumerate(row["candidates"]):
        for c, (_, teacher, sample, score, kept, stop, text, error) in zip(column, tree["columns"][t], strict=True):
            said = (names[teacher], sample, score, bool(kept), stop, tree["texts"][text], error)
            assert said == tuple(c[key] for key in ("teacher", "sample", "score", "kept", "stop", "text", "error"))
    for s, (teacher, score, text, right, tokens, category) in zip(row["steps"], tree["steps"], strict=True):
        assert (names[teacher], score, tree["texts"][text]) == (s["teacher"], s["score"], s["text"])
        assert (right, tokens, category) == (True, s["num_tokens"], None)
    assert len(tree["texts"]) == len(set(tree["texts"]))


def test_the_index_holds_what_the_audit_found(tmp_path: Path) -> None:
    """Per method and teacher; nothing where no audit ran."""
    rows_at(tmp_path / "cord", made_row(0))
    rows_at(tmp_path / "curation", made_row(0, pipeline="curation"))
    (tmp_path / "cord" / "audit.json").write_text('{"ada": {"effect": 0.25, "steps": 2}, "all": {"effect": -0.125}}')
    assert gathered(tmp_path)[0]["effects"] == [{"ada": 0.25, "all": -0.125}, {}]


def test_the_index_says_what_the_list_filters_by(tmp_path: Path) -> None:
    rows_at(tmp_path / "cord", made_row(0), made_row(1, correct=False), made_row(2, error="engine gone"))
    rows_at(tmp_path / "curation", made_row(1, pipeline="curation", wrong_steps=1))
    index, chunks = gathered(tmp_path)
    assert index["methods"] == ["cord", "curation"]
    assert [p[0] for p in index["problems"]] == ["p0", "p1", "p2"]
    assert [p[3]["0"][0] for p in index["problems"]] == ["right", "wrong", "failed"]
    assert index["problems"][1][3]["1"][0] == "lucky"
    assert sorted(chunks) == ["0-0", "0-1", "0-2", "1-1"]
    kind, prediction, score, steps, tokens, generated, used, error = index["problems"][0][3]["0"]
    row = made_row(0)
    assert (kind, prediction, score, steps, tokens, generated, error) == (
        "right", row["prediction"], row["score"], len(row["steps"]), 12 * len(row["steps"]) + 9, 700, None,
    )  # fmt: skip
    assert {index["teachers"][int(t)]: n for t, n in used.items()} == {
        name: n for name in TEACHERS if (n := sum(s["teacher"] == name for s in row["steps"]))
    }
    assert index["problems"][2][3]["0"][7] == "engine gone"


@pytest.mark.parametrize("text", ["</script><img onerror=x>", "\u2028 & <!--", "lone \ud800 surrogate", "\0\x1f"])
def test_any_text_survives_the_packing_and_none_can_close_it(text: str) -> None:
    """Fails base64 of UTF-8 (no lone surrogate), and JSON that stands in the page as it is."""
    made = packed({"text": [text]})
    assert re.fullmatch(r"[A-Za-z0-9+/=]+", made)
    assert unpacked(made) == {"text": [text]}


def test_a_score_that_is_no_number_is_none(tmp_path: Path) -> None:
    """JSON.parse knows no NaN: the whole problem would not open."""
    row = made_row(1) | {"score": float("nan")}
    row["candidates"][0][0]["score"] = float("-inf")
    index, chunks = gathered(rows_at(tmp_path, row))
    assert index["problems"][0][3]["0"][2] is None and chunks["0-0"]["columns"][0][0][3] is None


def test_of_a_problem_that_was_tried_again_the_last_row_counts(tmp_path: Path) -> None:
    index, chunks = gathered(rows_at(tmp_path, made_row(1, error="engine gone"), made_row(2), made_row(1)))
    assert [p[0] for p in index["problems"]] == ["p1", "p2"]
    assert (index["problems"][0][3]["0"][0], chunks["0-0"]["kind"]) == ("right", "right")


def test_a_merged_trace_has_no_parent_and_its_refused_replies_keep_their_reason() -> None:
    """Fails the path that goes through the first trace, as if the others had not been read."""
    run = Run("x", Path(), {}, [])
    from cord_distill.view.payload import tree_of

    row = merged_row(tries=2)
    tree = chunk(row, tree_of(row, run.teachers, None), None)
    assert tree["path"] == [-1, 1]
    assert [c[7] for c in tree["columns"][1]] == ["no JSON", None] and tree["columns"][0][2][7] == "empty trace"
    assert tree["steps"][0][5] == "verification"


def test_a_row_without_candidates_keeps_its_trace(tmp_path: Path) -> None:
    _, chunks = gathered(rows_at(tmp_path, made_row(1) | {"candidates": []}))
    assert (chunks["0-0"]["columns"], chunks["0-0"]["path"], len(chunks["0-0"]["steps"])) == ([], [], 6)


def test_long_candidates_are_cut_but_never_the_chosen_trace(tmp_path: Path) -> None:
    """Fails a cut of all texts alike, and one that says nothing of what it left out."""
    row = made_row(1, text="x" * 1000)
    index, chunks = gathered(rows_at(tmp_path, row), max_text=50)
    tree = chunks["0-0"]
    assert index["cut"] == 50
    assert [tree["texts"][s[2]] for s in tree["steps"]] == [s["text"] for s in row["steps"]]
    for t, column in enumerate(tree["columns"]):
        for i, c in enumerate(column):
            text = tree["texts"][c[6]]
            if tree["path"][t] == i:
                assert text == row["candidates"][t][i]["text"]
            elif c[2] >= 0:
                assert len(text) < 90 and text.endswith("more characters)")


def test_large_runs_are_cut_and_small_ones_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows_at(tmp_path, made_row(1, text="x" * 1000))
    cuts = []
    for limit in (10**9, 10):
        monkeypatch.setattr("cord_distill.view.gather.WHOLE_BELOW", limit)
        cuts.append(index_of(write_view(find_run(tmp_path)))["cut"])
    assert cuts == [None, 200]
    assert index_of(write_view(find_run(tmp_path), max_text=0))["cut"] is None


# Where the rows are.


def index_of(page: Path) -> dict[str, Any]:
    found = re.search(r'id="index">([^<]*)<', page.read_text())
    assert found
    return unpacked(found[1])


def test_a_recipe_and_its_run_folder_give_the_same_page(tmp_path: Path) -> None:
    recipe = write_run(tmp_path)
    of_recipe = write_view(find_run(recipe)).read_bytes()
    assert (tmp_path / "out/view.html").read_bytes() == of_recipe
    (tmp_path / "out/recipe.yaml").write_text(recipe.read_text())
    assert write_view(find_run(tmp_path / "out")).read_bytes() == of_recipe
    index = index_of(tmp_path / "out/view.html")
    assert (index["name"], index["teachers"], index["methods"]) == ("made", list(TEACHERS), ["cord", "curation"])


def test_the_command_prints_where_the_page_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows_at(tmp_path / "run", made_row(1))
    assert main(["view", str(tmp_path / "run"), "--output", str(tmp_path / "x.html")]) == 0
    assert str(tmp_path / "x.html") in capsys.readouterr().out
    assert not (tmp_path / "run/view.html").exists()


def test_a_recipe_in_the_folder_that_cannot_be_read_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows_at(tmp_path / "cord", made_row(1))
    (tmp_path / "recipe.yaml").write_text("nme: x\n")
    assert find_run(tmp_path).methods == {"cord": tmp_path / "cord/trajectories.jsonl"}
    assert "nme" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["view", "{folder}"], "make some: cord generate RECIPE"),
        (["view", "{folder}", "decode.beam_size=2"], "overrides are a recipe's"),
        (["view", "nothing_like_this"], "no such file"),
        (["view", "{run}", "--output", "/dev/null/x.html"], "--output"),
        (["view", "{run}", "--text", "-1"], "0 for all"),
    ],
)
def test_mistakes_contain_their_fix(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    rows_at(tmp_path / "run", made_row(1))
    filled = [a.format(folder=tmp_path / "empty", run=tmp_path / "run") for a in arguments]
    assert main(filled) == 2
    assert said in capsys.readouterr().err


# The page as a file.


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("run")
    hostile = made_row(1, text=MALICE) | {"id": MALICE, "prediction": MALICE}
    return write_view(find_run(rows_at(folder, hostile))).read_text()


def test_the_page_needs_no_network_and_its_policy_forbids_any(page: str) -> None:
    own = page.split("<script>")[0]
    assert not re.findall(r"<(?:link|img|iframe)|@import|url\(|src=|href=", own)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy and "default-src 'none'" in policy[1] and "unsafe" not in policy[1]
    codes = re.findall(r"<script>(.*?)</script>|<style>(.*?)</style>", page, re.S)
    assert len(codes) == 3
    for script, style in codes:
        assert content_hash(script or style) in policy[1]


def test_hostile_text_stands_nowhere_in_the_page(page: str) -> None:
    """Fails a page whose texts are JSON in a script block, and one that takes the id into an attribute."""
    assert "pwned" not in page and "onerror=" not in page.split("<script>")[0]
    assert page.count("<script") == page.count("</script>") == 5


def test_a_folder_name_is_escaped(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>$name"
    page = write_view(find_run(rows_at(tmp_path / evil, made_row(1)))).read_text()
    assert evil not in page and html.escape(evil) in page


def test_the_maths_is_the_packages_own(page: str) -> None:
    """The bundled file is the one that its note names."""
    import hashlib

    from cord_distill.view.page import HERE

    note = (HERE / "temml/README.md").read_text()
    assert hashlib.sha256((HERE / "temml/temml.min.js").read_bytes()).hexdigest() in note
    assert "Copyright (c) 2020 Ron Kok" in page
