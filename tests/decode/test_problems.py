"""Reading problems: columns inside columns, contexts, and the question sets of the recipes."""

import json
from pathlib import Path

import pytest

from cord_distill.common.errors import CordError
from cord_distill.common.paths import bundled
from cord_distill.decode.problems import column_of, load_candidates
from cord_distill.grading.golds import check_known_answers
from cord_distill.recipe.file import load_recipe
from cord_distill.recipe.recipe import Recipe
from cord_distill.types import Problem

# A row as the hub's qiaojin/PubMedQA (pqa_labeled) has it.
PUBMED = {
    "pubid": 21645374,
    "question": "Do mitochondria play a role in remodelling lace plant leaves during programmed cell death?",
    "context": {"contexts": ["The first paragraph.", "The second."], "labels": ["A", "B"], "meshes": ["Plants"]},
    "long_answer": "Results depicted mitochondrial dynamics in vivo.",
    "final_decision": "yes",
}
# Question set -> (hub id, how many problems, a row with the columns of its card, the problem that comes of it).
SETS = {
    "limo_v1": (
        "GAIR/LIMO", {"question": "What is 1+1?", "solution": "It is 2.", "answer": "2"},
        Problem("00000", "What is 1+1?", "2"),
    ),
    "limo_v2": (
        "GAIR/LIMO-v2", {"question": "What is 1+1?", "solution": "It is 2.", "answer": 2},
        Problem("00000", "What is 1+1?", "2"),
    ),
    "s1k": (
        "simplescaling/s1K-1.1",
        {"question": "Why?", "solution": "Because.", "cot_type": "math", "deepseek_thinking_trajectory": "So."},
        Problem("00000", "Why?", "Because."),
    ),
    "pubmedqa_456": (
        "qiaojin/PubMedQA", PUBMED,
        Problem("21645374", f"The first paragraph.\n\nThe second.\n\n{PUBMED['question']}", PUBMED["long_answer"]),
    ),
}  # fmt: skip


def read(tmp_path, rows, **keys):
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    values = {"path": "rows.jsonl", **keys}
    (tmp_path / "recipe.yaml").write_text(json.dumps({"problems": values}))
    return load_candidates(load_recipe(tmp_path / "recipe.yaml"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("context.contexts", "The first paragraph.\n\nThe second."),
        ("long_answer", PUBMED["long_answer"]),
        ("pubid", 21645374),
        ("a.b", 3),
        ("a", {"b": 4}),
        ("empty", []),
        ("numbers", [1, 2]),
    ],
)
def test_a_dotted_name_is_a_field_of_a_column_and_texts_are_joined(name, value):
    """A column whose own name holds a dot comes first. A list that is no list of texts stays what it is."""
    row = {**PUBMED, "a.b": 3, "a": {"b": 4}, "empty": [], "numbers": [1, 2]}
    assert column_of(row, name) == value


@pytest.mark.parametrize("name", ["context.context", "contexts", "question.text", "context.contexts.0", "context."])
def test_a_field_that_is_not_there_is_no_column(name):
    with pytest.raises(KeyError):
        column_of(PUBMED, name)


def test_the_context_stands_before_the_question(tmp_path):
    """PubMedQA as its card has it. Fails the version that pastes a Python list into the prompt."""
    keys = {"context": "context.contexts", "answer": "long_answer", "id": "pubid"}
    assert read(tmp_path, [PUBMED], **keys) == [SETS["pubmedqa_456"][2]]


@pytest.mark.parametrize(
    ("change", "keys", "message"),
    [
        ({}, {"context": "context.context"}, r"no column 'context\.context'.*did you mean 'context\.contexts'\?"),
        ({}, {"context": "context"}, r"problems\.context \('context'\) is empty or no text.*column\.field"),
        ({"context": {"contexts": []}}, {"context": "context.contexts"}, "is empty or no text"),
        ({}, {"answer": "context.contents"}, r"no column 'context\.contents'; set problems\.answer"),
        ({"long_answer": ["2", "3"]}, {}, r"'long_answer'\) is \['2', '3'\]; the known answer must be a text"),
        ({"pubid": None}, {}, r"the id \(problems\.id: 'pubid'\) is None; give a text or a number"),
        ({"pubid": ["a"]}, {}, r"the id .* is \['a'\]"),
        ({"pubid": " "}, {}, r"the id .* is ' '"),
        ({"pubid": True}, {}, "the id .* is True"),
        ({"pubid": "x" * 501}, {}, "of at most 500 characters"),
    ],
)
def test_a_bad_field_is_named_with_its_row(tmp_path, change, keys, message):
    with pytest.raises(CordError, match=f"row 1: .*{message}|row 1: {message}"):
        read(tmp_path, [{**PUBMED, **change}], **{"answer": "long_answer", "id": "pubid", **keys})


def test_a_table_of_many_columns_is_named_by_its_first(tmp_path):
    """Fails the version whose message is as long as the table is wide."""
    wide = {f"column_{'x' * 200}_{i}": i for i in range(30_000)}
    with pytest.raises(CordError) as error:
        read(tmp_path, [{"answer": 1, **wide}])
    assert "no column 'question'" in str(error.value) and len(str(error.value)) < 2000


def test_an_answer_that_nothing_could_match_is_refused_or_counted(tmp_path):
    """Fails the version that decodes a whole AIME set whose golds are fractions, and then reports 0 %."""
    rows = [{"question": "?", "answer": 42.0}, {"question": "??", "answer": "1/2"}]
    with pytest.raises(CordError, match=r"'1/2' of '00001' is one that the grader 'integer' accepts from nobody"):
        read(tmp_path, rows, grader="integer")
    assert [p.answer for p in read(tmp_path, rows)] == ["42", "1/2"]
    broken = read(tmp_path, [rows[0], {"question": "??", "answer": "\\frac{1}{2"}])
    said = check_known_answers(broken, "problems", "math")
    assert said == "problems: 1 of 2 known answers match nothing, themselves in a box included: 00001"
    assert check_known_answers(broken, "problems", "judge") is None


@pytest.mark.parametrize("name", SETS)
def test_the_recipe_of_a_question_set_reads_rows_of_its_card(tmp_path, name):
    """Hub id and columns; read from a local file of the same shape. Nothing but problems and what hangs on them differs
    from the recipe that it extends."""
    dataset, row, problem = SETS[name]
    recipe = load_recipe(bundled("recipes") / f"{name}.yaml")
    assert recipe.problems.dataset == dataset
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    local = load_recipe(
        bundled("recipes") / f"{name}.yaml", ["problems.dataset=null", f"problems.path={tmp_path / 'rows.jsonl'}"]
    )
    assert load_candidates(local) == [problem]
    base = load_recipe(bundled("recipes") / "r1_qwen_14b.yaml")
    allowed = {"name", "problems", "decode", *({"evaluate"} if name == "pubmedqa_456" else ())}
    dumps = recipe.model_dump(), base.model_dump()
    assert {key for key in dumps[0] if dumps[0][key] != dumps[1][key]} <= allowed


def test_real_pubmedqa_rows_have_their_abstract_in_the_prompt_and_the_conclusion_as_answer(shared_data, tmp_path):
    file = shared_data / "pubmedqa" / "pqal_test_500.jsonl"
    columns = {"question": "problem", "context": "contexts", "answer": "long_answer", "id": "id"}
    overrides = [f"problems.{key}={value}" for key, value in columns.items()]
    recipe = load_recipe(
        bundled("recipes") / "pubmedqa_456.yaml", ["problems.dataset=null", f"problems.path={file}", *overrides]
    )
    problems = load_candidates(recipe)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(problems) == 500
    for problem, row in zip(problems, rows, strict=True):
        assert problem.answer == row["long_answer"] and problem.answer not in problem.question
        assert problem.question.endswith(row["problem"])
        assert all(paragraph in problem.question for paragraph in row["contexts"])


def test_real_limo_rows(shared_data):
    file = shared_data / "limo_v1_first200" / "limo_v1_first200.jsonl"
    overrides = ["problems.dataset=null", f"problems.path={file}", "problems.question=problem"]
    problems = load_candidates(load_recipe(bundled("recipes") / "limo_v1.yaml", overrides))
    assert len(problems) == 200 and problems[0].answer == "25" and problems[0].id == "limo-v1-000"


def test_a_gsm8k_row_is_read_as_it_is_published(tmp_path):
    """Fails the version whose known answer is the whole worked solution."""
    row = {"question": "What is 9 * 2 * 1000?", "answer": "It is <<9*2*1000=18000>>18,000.\n#### 18,000"}
    assert read(tmp_path, [row]) == [Problem("00000", row["question"], "18000")]
    assert read(tmp_path, [row], answer_pattern="(?s)It is <<(.*?)=")[0].answer == "9*2*1000"


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("#### .+", "has 0 groups"), ("(a)(b)", "has 2 groups"), ("#### (.+", "no regular expression")],
)
def test_a_pattern_has_one_group(tmp_path, pattern, message):
    with pytest.raises(CordError, match=rf"problems\.answer_pattern.*{message}"):
        read(tmp_path, [{"question": "q", "answer": "a"}], answer_pattern=pattern)


@pytest.mark.parametrize("answer", [float("nan"), float("inf"), "nan", "None", " ", None, True, [2, 3]])
def test_an_answer_that_says_nothing_is_refused(answer: object) -> None:
    """Fails for `str(answer)`: NaN of a hub data set would be the known answer "nan"."""
    from cord_distill.decode.problems import _problem
    from cord_distill.recipe.problems import ProblemsConfig

    with pytest.raises(CordError, match=r"row 1: problems\.answer"):
        _problem({"question": "q", "answer": answer}, ProblemsConfig(path="x"), "row 1", 0)


def test_the_row_behind_the_limit_is_not_read(tmp_path: Path) -> None:
    """Fails the version that counts a problem after the next row was read: a file that is damaged further on, or a
    stream, could not be begun."""
    (tmp_path / "q.jsonl").write_text('{"question": "1+1?", "answer": "2"}\nno row\n')
    recipe = Recipe.model_validate({"name": "r", "problems": {"path": str(tmp_path / "q.jsonl"), "limit": 1}})
    assert [problem.question for problem in load_candidates(recipe)] == ["1+1?"]
