"""Suites and their graders. Lazy versions that fail here: a value without its scale taken for right, choices shuffled
by the global random stream, "No significant difference" read as no, the abstract's conclusion in the prompt."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cord_distill.common.errors import CordError
from cord_distill.evaluation.records import judge, sample_figures
from cord_distill.evaluation.samples import Sample
from cord_distill.evaluation.suite import Hub
from cord_distill.evaluation.suites import LoadedSuite, find_suites, hub_revision, load_suite
from cord_distill.recipe.evaluate import EvaluateConfig
from cord_distill.types import Problem, Stop

TATQA = runpy.run_path(str(Path(__file__).parents[2] / "eval" / "tatqa.py"))
Answer, read_answer, scores = (TATQA[name] for name in ("Answer", "read_answer", "scores"))


def loaded(name: str, folder: Path, rows: list[dict[str, Any]], **evaluate: Any) -> LoadedSuite:
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    asked = EvaluateConfig(suites=[name], data={name: str(file)}, **evaluate)
    return load_suite(find_suites(asked)[name], asked)


def said(answer: str) -> str:
    return f"thinking</think>So \\boxed{{{answer}}}."


# Groups and instructions


def test_a_group_is_its_suites_or_those_with_a_file() -> None:
    assert list(find_suites(EvaluateConfig(suites=["math"]))) == ["aime24", "aime25", "math_500", "gsm8k", "amc23"]
    assert list(find_suites(EvaluateConfig(suites=["math"], data={"gsm8k": "x"}))) == ["gsm8k"]
    with pytest.raises(CordError, match=r"no suite 'maths'; there are: aime24.*\(groups: math, recent\)"):
        find_suites(EvaluateConfig(suites=["maths"]))


def test_contexts_may_be_one_text_and_choices_may_not_be_null(tmp_path: Path) -> None:
    """Fails the version that joins a text letter by letter, one per line, and one that crashes on a null."""
    row = {"id": 1, "problem": "Is it?", "answer": "yes", "contexts": "It is so.", "long_answer": "It is."}
    assert "It is so." in loaded("pubmedqa", tmp_path, [row]).problems[0].question
    with pytest.raises(CordError, match=r"row 1: the contexts are \[None\], not a text or a list of texts"):
        loaded("pubmedqa", tmp_path, [{**row, "contexts": [None]}])
    choices = {"Correct Answer": "a", **{f"Incorrect Answer {i}": None for i in (1, 2, 3)}}
    with pytest.raises(CordError, match="row 1: the question or one of the four choices is empty or no text"):
        loaded("gpqa_diamond", tmp_path, [{"Question": "?", "Record ID": "r", **choices}])


def test_newer_suites_are_read_from_files_and_graded_by_their_kind(tmp_path: Path) -> None:
    """Columns as on the hub's cards. A group of their own: `math` stays the five that runs were compared on."""
    assert list(find_suites(EvaluateConfig(suites=["recent"]))) == ["aime26", "hmmt_feb25"]
    row = {"problem_idx": 3, "problem": "What is it?", "answer": 277}
    aime = loaded("aime26", tmp_path, [row])
    assert aime.problems == (Problem("3", "What is it?", "277"),)
    assert aime.suite.load_grader()(said("277"), aime.problems[0])[1]
    hmmt = loaded("hmmt_feb25", tmp_path, [{**row, "answer": "\\frac{1}{576}", "problem_type": ["Algebra"]}])
    assert hmmt.suite.load_grader()(said("1/576"), hmmt.problems[0])[1]


def test_the_revision_of_hub_data_is_what_the_recipe_or_the_suite_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the hub it stays that; with it, its commit, so that results say which data they were made on."""

    class Api:
        def dataset_info(self, repo: str, revision: str | None, timeout: float) -> Any:
            if repo == "away/away":
                raise OSError("no network")
            return SimpleNamespace(sha={None: "newest", "v1": "first"}[revision])

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    assert hub_revision(Hub("a/b"), None) == "newest"
    assert hub_revision(Hub("a/b"), "v1") == "first"
    assert hub_revision(Hub("away/away"), None) is None
    assert hub_revision(Hub("away/away", revision="v2"), None) == "v2"
    assert hub_revision(Hub("away/away", revision="v2"), "v3") == "v3"


def test_an_instruction_goes_behind_questions_that_have_none(tmp_path: Path) -> None:
    rows = [{"id": 1, "problem": "What is 1 + 1?", "answer": 2}]
    bare, told = (loaded("amc23", tmp_path, rows, instruction=text) for text in ("", "Box it."))
    assert told.problems[0].question == "What is 1 + 1?\n\nBox it."
    assert bare.data_hash != told.data_hash
    asked = loaded("pubmedqa", tmp_path, [PUBMED], instruction="Box it.").problems[0].question
    assert not asked.endswith("Box it.")


def test_amc23_is_judged_by_mathematics(tmp_path: Path) -> None:
    suite = loaded("amc23", tmp_path, [{"id": "amc-1", "problem": "?", "answer": 27.0}])
    grade = suite.suite.load_grader()
    assert [grade(said(x), suite.problems[0])[1] for x in ("27", "\\frac{54}{2}", "28")] == [True, True, False]


# Files of other people


def test_a_gsm8k_file_is_read_as_it_is_published(tmp_path: Path) -> None:
    """Fails the version that wants the columns renamed and then compares answers with whole solutions: 0 % for ever."""
    rows = [{"question": f"What is {n} * 1000?", "answer": f"It is {n},000.\n#### {n},000"} for n in (2, 3)]
    suite = loaded("gsm8k", tmp_path, rows)
    assert suite.problems == (
        Problem("00000", "What is 2 * 1000?", "2000"), Problem("00001", "What is 3 * 1000?", "3000"),
    )  # fmt: skip
    assert suite.suite.load_grader()(said("2000"), suite.problems[0])[1]


def test_a_file_names_its_columns_and_the_pattern_of_its_answers(tmp_path: Path) -> None:
    """Fails the version whose keys hold for `problems` alone."""
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps({"key": 7, "q": "What is 1 + 1?", "said": "Answer: 2"}))
    data = {"path": str(file), "question": "q", "answer": "said", "id": "key", "answer_pattern": "Answer: (.+)"}
    asked = EvaluateConfig.model_validate({"suites": ["amc23"], "data": {"amc23": data}})
    assert load_suite(find_suites(asked)["amc23"], asked).problems == (Problem("7", "What is 1 + 1?", "2"),)
    unmatched = EvaluateConfig.model_validate({**asked.model_dump(), "data": {"amc23": {**data, "answer": "q"}}})
    with pytest.raises(CordError, match=r"mine\.jsonl, row 1: evaluate\.data\.amc23\.answer_pattern .* finds nothing"):
        load_suite(find_suites(unmatched)["amc23"], unmatched)
    other = EvaluateConfig.model_validate({"suites": ["tatqa"], "data": {"tatqa": data}})
    with pytest.raises(CordError, match=r"evaluate\.data\.tatqa\.question: suite tatqa reads its rows itself"):
        load_suite(find_suites(other)["tatqa"], other)


@pytest.mark.parametrize("column", ["id", "problem", "answer"])
def test_a_missing_column_is_named_with_the_key_that_sets_it(tmp_path: Path, column: str) -> None:
    row = {"id": 1, "problem": "?", "answer": 2}
    del row[column]
    key = {"problem": "question"}.get(column, column)
    with pytest.raises(CordError, match=rf"row 1: no column '{column}' .*or set evaluate\.data\.amc23\.{key}"):
        loaded("amc23", tmp_path, [row])


# TAT-QA


@pytest.mark.parametrize(
    ("box", "values", "scale"),
    [
        ("12.5 million", ["12.5"], "million"),
        ("\\$1,496.5\\text{ million}", ["$1,496.5"], "million"),
        ("-3.41\\%", ["-3.41"], "percent"),
        ("(66)\\%", ["(66)"], "percent"),
        ("5 per cent", ["5"], "percent"),
        ("1{,}234\\,\\text{thousands}", ["1,234"], "thousand"),
        ("2019 | 2018", ["2019", "2018"], ""),
        ("12 | 13 million", ["12", "13"], "million"),
        ("12 million | 13 thousand", ["12 million", "13 thousand"], ""),
        ("\\text{the modified retrospective method}", ["the modified retrospective method"], ""),
        ("one million reasons", ["one million reasons"], ""),
    ],
)
def test_an_answer_is_read_as_values_and_a_scale(box: str, values: list[str], scale: str) -> None:
    assert read_answer(said(box)) == Answer(tuple(values), scale)


def test_an_answer_in_several_boxes_or_in_none() -> None:
    assert read_answer("</think>\\boxed{a, b} and \\boxed{c}") == Answer(("a, b", "c"))
    assert read_answer("</think>The answer is $4$ million.") == Answer(("4",))
    assert read_answer("\\boxed{4}") is None
    assert read_answer("</think>I do not know what to say about this long report and its many numbers.") is None


# Values by the benchmark's own script, as it is published.
OFFICIAL = [
    (["234"], "million", "arithmetic", ["234"], "million", (1, 1)),
    (["234"], "million", "arithmetic", ["234000"], "thousand", (1, 1)),
    (["234"], "million", "arithmetic", ["234"], "", (0, 0)),
    (["234"], "million", "arithmetic", ["234"], "thousand", (0, 0)),
    (["17.7"], "percent", "arithmetic", ["17.70"], "percent", (1, 1)),
    (["17.7"], "percent", "arithmetic", ["0.177"], "", (1, 1)),
    (["17.7"], "percent", "arithmetic", ["17.7"], "", (0, 0)),
    (["3.61"], "", "arithmetic", ["3.6"], "", (0, 0)),
    (["3"], "", "count", ["3.0"], "", (1, 1)),
    (["2019", "2018"], "", "multi-span", ["2018", "2019"], "", (1, 1)),
    (["2019", "2018"], "", "multi-span", ["2018"], "", (0, 0.67)),
    (["the modified retrospective method"], "", "span", ["modified retrospective"], "", (0, 0.8)),
    (["the modified retrospective method"], "", "span", ["Modified retrospective method."], "", (1, 1)),
    (["$ 3,178"], "thousand", "span", ["3,178"], "thousand", (1, 1)),
]


@pytest.mark.parametrize(("gold", "scale", "kind", "values", "own_scale", "wanted"), OFFICIAL)
def test_official_exact_match_and_f1(
    gold: list[str], scale: str, kind: str, values: list[str], own_scale: str, wanted: tuple[float, float]
) -> None:
    assert scores(Answer(tuple(gold), scale), kind, Answer(tuple(values), own_scale)) == wanted


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("\\{}$%(),.-|12 09aethmilonprc₂²"), max_size=60))
def test_tatqa_takes_anything(text: str) -> None:
    found = read_answer(said(text))
    em, f1 = scores(Answer(("12",), "million"), "span", found)
    assert 0 <= em <= f1 <= 1 or em == 1


def test_tatqa_rows_of_a_file_and_documents_of_the_hub(tmp_path: Path) -> None:
    table, texts = [["", "2019"], ["Sales", "$ 12"]], ["In millions.", "Second."]
    row = {"id": "q", "problem": "Sales?", "answer": ["$ 12"], "scale": "million", "answer_type": "span"}
    document = {
        "table": {"uid": "t", "table": table},
        "paragraphs": [{"uid": "b", "order": 2, "text": texts[1]}, {"uid": "a", "order": 1, "text": texts[0]}],
        "questions": [{"uid": "q", "question": "Sales?", **{k: row[k] for k in ("answer", "scale", "answer_type")}}],
    }
    suite = loaded("tatqa", tmp_path, [{**row, "table": table, "paragraphs": texts}])
    assert suite.suite.read is not None
    assert suite.suite.read(document) == list(suite.problems)
    (problem,) = suite.problems
    assert "|  | 2019 |\n| --- | --- |\n| Sales | $ 12 |" in problem.question
    assert "In millions.\n\nSecond." in problem.question
    samples = [Sample("tatqa", "q", i, 0, said(x), Stop.EOS, 9, str(i)) for i, x in enumerate(["12 million", "12"])]
    samples.append(Sample("tatqa", "q", 2, 0, said("12 million"), Stop.LENGTH, 9, "2"))
    record = judge("tatqa", problem, samples, suite.suite.load_grader(), measure=suite.suite.measure)
    assert record.correct == (True, False, False)
    assert record.measures == {"f1": (1.0, 0.0, 0.0), "scale_right": (1.0, 0.0, 0.0)}
    found = sample_figures([record])
    assert (found["f1"], found["scale_right"], found["k"]) == (0.333333, 0.333333, 3)


def test_bad_tatqa_rows_are_named(tmp_path: Path) -> None:
    row = {"id": "q", "problem": "?", "answer": [], "scale": "", "answer_type": "span", "table": [], "paragraphs": []}
    with pytest.raises(CordError, match=r"tatqa.jsonl, row 1: the answer is \[\]"):
        loaded("tatqa", tmp_path, [row])
    with pytest.raises(CordError, match=r"row 1: no column 'table'"):
        loaded("tatqa", tmp_path, [{"id": "q"}])


def test_real_tatqa_golds_are_right_as_a_model_would_write_them(shared_data: Path) -> None:
    """700 real answers, boxed with their scale. Those missed have it in the value as well, or have a wrong one."""
    missed, total = [], 0
    for file in sorted((shared_data / "tatqa").glob("*.jsonl")):
        asked = EvaluateConfig(suites=["tatqa"], data={"tatqa": str(file)})
        suite = find_suites(asked)["tatqa"]
        for problem in load_suite(suite, asked).problems:
            sign = {"percent": "\\%", "": ""}.get(problem.meta["scale"], f" {problem.meta['scale']}")
            text = " | ".join(v.replace("%", "\\%").replace("$", "\\$") + sign for v in problem.meta["values"])
            total += 1
            missed += [] if suite.grader(said(text), problem)[1] else [problem.answer]
    assert total == 700
    assert missed == ["$(9.8) million", "$15.5 million million", "Altium Designer subscriptions percent"]


# PubMedQA

PUBMED = {
    "id": "1",
    "problem": "Is it so?",
    "answer": "no",
    "contexts": ["We tried.", "We saw."],
    "long_answer": "It is not so.",
}


@pytest.mark.parametrize(
    ("text", "decision"),
    [
        ("</think>\\boxed{no}", "no"),
        ("</think>\\boxed{\\text{No}}", "no"),
        ("</think>**No**, it is not.", "no"),
        ("</think>The answer is maybe.", "maybe"),
        ("</think>no", "no"),
        ("</think>No significant difference was found.", None),
        ("</think>Yesterday", None),
        ("\\boxed{no}", None),
        ("</think>" + " " * 100_000, None),
    ],
)
def test_pubmedqa_decisions(tmp_path: Path, text: str, decision: str | None) -> None:
    suite = loaded("pubmedqa", tmp_path, [PUBMED])
    assert suite.suite.load_grader()(text, suite.problems[0]) == (decision, decision == "no")


def test_pubmedqa_never_shows_the_conclusion(tmp_path: Path) -> None:
    hub = {"pubid": 1, "question": "Is it so?", "context": {"contexts": PUBMED["contexts"]}}
    hub |= {"long_answer": PUBMED["long_answer"], "final_decision": "no"}
    for name in ("pubmedqa", "pubmedqa_open"):
        suite = loaded(name, tmp_path, [PUBMED])
        assert PUBMED["long_answer"] not in suite.problems[0].question
        assert "We tried.\nWe saw.\n\nQuestion: Is it so?" in suite.problems[0].question
        assert suite.suite.read is not None and suite.suite.read(hub) == list(suite.problems)
    with pytest.raises(CordError, match="row 1: the answer is 'perhaps', not yes, no or maybe"):
        loaded("pubmedqa", tmp_path, [{**PUBMED, "answer": "perhaps"}])


# GPQA


def gpqa(n: int) -> dict[str, Any]:
    wrong = {f"Incorrect Answer {i}": f"wrong {n} {i}" for i in (1, 2, 3)}
    return {"Question": f"Which one, in case {n}? ", "Correct Answer": f"A neutron {n}", "Record ID": f"r{n}", **wrong}


def test_gpqa_choices_go_by_a_hash_of_the_question(tmp_path: Path) -> None:
    rows = [gpqa(n) for n in range(40)]
    first = loaded("gpqa_diamond", tmp_path, rows).problems
    mixed = [
        {**row, "Incorrect Answer 1": row["Incorrect Answer 3"], "Incorrect Answer 3": row["Incorrect Answer 1"]}
        for row in rows
    ]
    assert loaded("gpqa_diamond", tmp_path, mixed).problems == first
    assert [p.answer for p in first[:8]] == EXPECTED_LETTERS
    assert {letter: [p.answer for p in first].count(letter) > 4 for letter in "ABCD"} == dict.fromkeys("ABCD", True)
    assert first[0].question.count("A neutron 0") == 1
    with pytest.raises(CordError, match="two choices are the same text"):
        loaded("gpqa_diamond", tmp_path, [{**gpqa(0), "Incorrect Answer 1": "A neutron 0"}])


# Fixed: another order would make earlier results another benchmark's.
EXPECTED_LETTERS = list("DCCBCCBA")


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        *[("C", "C"), ("(C)", "C"), ("\\text{(C)}", "C"), ("C) wrong 0 1", "C"), ("C.", "C"), ("\\mathrm{C}", "C")],
        *[("A neutron 0", "right"), ("A neutron", None), ("E", None), ("CD", None), ("c", None)],
    ],
)
def test_gpqa_letters(tmp_path: Path, answer: str, letter: str | None) -> None:
    suite = loaded("gpqa_diamond", tmp_path, [gpqa(0)])
    problem: Problem = suite.problems[0]
    wanted = problem.answer if letter == "right" else letter
    assert suite.suite.load_grader()(said(answer), problem) == (wanted, wanted == problem.answer)
    assert suite.suite.load_grader()(f"</think>\n\nAnswer: {answer}", problem)[0] == wanted
