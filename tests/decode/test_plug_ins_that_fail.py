"""Functions of the user's that raise, end the program or give nonsense: one sentence with key and line, by `cord check`
where it can be; while decoding it costs the problem, never the run."""

import json
import textwrap

import pytest
from scripted_world import write_recipe

from cord_distill.cli import main
from cord_distill.common.errors import CordError
from cord_distill.common.exit_codes import TOO_MANY_FAILED
from cord_distill.data.problem_rows import built_problems
from cord_distill.decode.failures import failures_of

QUIET = "track.wandb.mode=disabled"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Writes functions into a module of a fresh name; gives that name."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(text):
        name = f"own_{abs(hash((tmp_path, text)))}"
        head = "import sys\nfrom scripted_world import Script\nfrom cord_distill.types import Problem\n"
        (tmp_path / f"{name}.py").write_text(head + textwrap.dedent(text))
        return name

    return write


BUILT = [
    ("return None", "gave a NoneType; give a list of Problems"),
    ("return 5", "gave a int; give a list"),
    ("return []", "gave no problems"),
    ("return ['a']", "problem 0: a str; give cord_distill.types.Problem"),
    ("return [{'id': '1', 'question': 'q', 'answer': '2'}]", "problem 0: a dict; give"),
    ("raise KeyError('x')", "line 4): KeyError: 'x'"),
    ("yield Problem('a', 'q', '2'); raise ValueError('later')", "line 4): ValueError: later"),
    ("sys.exit(3)", "it ends the program (sys.exit(3))"),
    ("return [Problem(1, 'q', '2')]", "problem 0: id is 1; give a text"),
    ("return [Problem('a', None, '2')]", "question is None"),
    ("return [Problem('a', '  ', '2')]", "question is ' '"),
    ("return [Problem('a', 'q', 2)]", "answer is 2"),
    ("return [Problem('a', 'q\\ud835', '2')]", "question holds half a surrogate pair"),
    ("return [Problem('a', 'q', '2', None)]", "meta is a NoneType"),
    ("return [Problem('a', 'q', '2', {'x': {1}})]", "meta is no JSON"),
    ("return [Problem('a', 'q', '2', {'x': float('nan')})]", "meta holds NaN"),
    ("return [Problem('a', 'q', '2'), Problem('a', 'r', '2')]", "'a' occurs twice"),
]


@pytest.mark.parametrize(("body", "said"), BUILT, ids=[said for _, said in BUILT])
def test_a_builder_of_nonsense_is_one_sentence(own, body, said):
    """Fails `list(builder())`: tracebacks, numbers that become texts, and a search for questions that are None."""
    spec = f"{own(f'def build(): {body}')}:build"
    with pytest.raises(CordError) as error:
        built_problems(spec, {}, None, "problems.builder")
    assert str(error.value).startswith(("problems.builder: ", spec)) and said in str(error.value)


def test_a_builder_may_be_a_generator_and_its_end_is_the_limit(own, monkeypatch):
    """Fails the version that makes all of them first: this one never ends."""
    spec = f"{own(ENDLESS)}:build"
    assert [problem.id for problem in built_problems(spec, {"first": 7}, 3, "k")] == ["7", "8", "9"]
    monkeypatch.setattr("cord_distill.data.problem_rows.MOST_BUILT", 50)
    with pytest.raises(CordError, match=r"gives more than 50 problems; set problems\.limit"):
        built_problems(spec, {"first": 7}, None, "k")


ENDLESS = """
def build(first):
    while True:
        yield Problem(str(first), "What?", "2")
        first += 1
"""


def test_the_check_names_a_builder_that_fails(own, tmp_path, random_models, capsys):
    path = write_recipe(tmp_path, random_models)
    spec = f"{own('def build(): raise ValueError(1)')}:build"
    assert main(["check", str(path), "problems.path=null", f"problems.builder={spec}"]) == 2
    assert f"missing: problems.builder: '{spec}' failed" in capsys.readouterr().err


PLUG_INS = """
def raises(text, problem): raise KeyError("boom")
def ends(text, problem): sys.exit(7)
def none(text, problem): return None
def words(text, problem): return "yes"
def half_answer(text, problem): return "\\ud835", True
def number(text, problem): return 4, True
def no_findings(problem, steps): return None
def ones(problem, steps): return {"steps_right": [1 for _ in steps]}
def nan(problem, steps): return {"speed": float("nan")}
def good(text, problem): return "2", problem.id != "p1"

class Own(Script):
    def generate(self, text, sampling): return self.says(text, super().generate(text, sampling))

def script_of(says):
    def script(renderer):
        made = Own(renderer)
        made.says = says
        return made
    return script

half = script_of(lambda text, usual: "\\ud835")
nothing = script_of(lambda text, usual: None)
leaves = script_of(lambda text, usual: sys.exit(4) if "What is 1" in text else usual)
def no_script(renderer): return None
def bad_script(renderer): raise ValueError("no weights")
"""


@pytest.mark.parametrize(
    ("key", "name", "said"),
    [
        ("problems.grader", "raises", "line 5): KeyError: 'boom'"),
        ("problems.grader", "ends", "it ends the program (sys.exit(7))"),
        ("problems.grader", "none", "gave None; give (the answer or None, True or False)"),
        ("problems.grader", "words", "gave 'yes'; give"),
        ("problems.grader", "half_answer", "half a surrogate pair; give a text of whole characters"),
        ("problems.grader", "number", "gave (4, True); give"),
        ("problems.process_check", "no_findings", "gave None; give a dict"),
        ("problems.process_check", "ones", "checks.steps_right[0] is 1: Input should be a valid boolean"),
        ("problems.process_check", "nan", "gave {'speed': nan}: NaN or Infinity"),
        ("teachers.0.script", "half", "half a surrogate pair"),
        ("teachers.0.script", "nothing", "the text of an answer is None"),
    ],
)
def test_a_plug_in_that_fails_costs_its_problems_with_its_key_and_line(
    own, tmp_path, random_models, capsys, key, name, said
):
    """Fails the version that ends in a traceback or, on `sys.exit`, without a word and with the plug-in's exit code."""
    path = write_recipe(tmp_path, random_models, problems=2)
    assert main(["generate", str(path), f"{key}={own(PLUG_INS)}:{name}", QUIET]) == TOO_MANY_FAILED
    error = capsys.readouterr().err
    assert "2 of 2 problems failed" in error and said in error and "Traceback" not in error
    assert key in error or key.startswith("teachers")


def test_a_plug_in_that_ends_the_program_on_one_problem_leaves_the_others(own, tmp_path, random_models):
    """Fails asyncio's own way: SystemExit in a task ends the event loop, and the run with it."""
    path = write_recipe(tmp_path, random_models, problems=3)
    main(["generate", str(path), f"teachers.0.script={own(PLUG_INS)}:leaves", QUIET])
    rows = [json.loads(line) for line in (tmp_path / "run" / "trajectories.jsonl").read_text().splitlines()]
    assert [bool(row["error"]) for row in rows] == [False, True, False]
    assert failures_of(tmp_path / "run" / "trajectories.jsonl").failed == 1


@pytest.mark.parametrize(("name", "said"), [("no_script", "gave a NoneType"), ("bad_script", "ValueError: no weights")])
def test_a_script_that_cannot_start_is_named(own, tmp_path, random_models, capsys, name, said):
    path = write_recipe(tmp_path, random_models, problems=2)
    assert main(["generate", str(path), f"teachers.0.script={own(PLUG_INS)}:{name}", QUIET]) == 2
    error = capsys.readouterr().err
    assert "teachers.0.script" in error and said in error and "Traceback" not in error
