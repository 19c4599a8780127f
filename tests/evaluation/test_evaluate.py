"""Evaluation. Lazy versions that fail here: a sample cache that goes by path and returns another model's answers, a
cut-off text counted as right, greedy decoding where T=0.6 was asked, one seed for all samples, a skip that ignores the
data."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cord_distill.common.errors import CordError
from cord_distill.evaluation.answering import Answers, Question
from cord_distill.evaluation.comparison import compare
from cord_distill.evaluation.evaluate import evaluate_recipe
from cord_distill.evaluation.overlap import check_disjoint, training_questions
from cord_distill.evaluation.records import Record, judge, majority, sample_figures
from cord_distill.evaluation.samples import Sample, SampleStore, sample_key
from cord_distill.evaluation.suite import Suite
from cord_distill.evaluation.suites import LoadedSuite, find_suites, load_suite, samples_per_problem
from cord_distill.evaluation.targets import targets
from cord_distill.grading import load_grader
from cord_distill.model_files.weights import weights_hash
from cord_distill.recipe.evaluate import EvaluateConfig
from cord_distill.recipe.recipe import Recipe
from cord_distill.types import Problem, Stop

LEDGER = "cord_distill.worlds.ledger.eval_task"


def rows_file(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def sums(n: int = 4) -> list[dict[str, Any]]:
    return [{"id": f"sum-{i}", "problem": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(n)]


def sample(text: str, stop: Stop = Stop.EOS, i: int = 0, tokens: int = 10) -> Sample:
    return Sample("s", "p", i, 0, text, stop, tokens, f"key{i}")


# What is asked


def test_bundled_suites_and_modules_are_found_without_lighteval() -> None:
    code = (
        "import sys; from cord_distill.recipe.evaluate import EvaluateConfig; "
        "from cord_distill.evaluation.suites import find_suites; "
        f"print(list(find_suites(EvaluateConfig(suites=['aime24', 'ledger', 'math_500'], tasks=['{LEDGER}']))), "
        "[m for m in ('lighteval', 'torch', 'datasets', 'vllm') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.strip() == "['aime24', 'ledger', 'math_500'] []"


def test_a_task_file_of_the_user(tmp_path: Path) -> None:
    """Fails the version that runs the file as a module that nobody can look up: a dataclass of postponed annotations
    does."""
    task = tmp_path / "mine.py"
    task.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "from cord_distill.evaluation.task_file import Suite, tasks_table\n"
        "@dataclass\nclass Line:\n    text: str\n"
        "SUITES = {'mine': Suite('mine', grader='exact')}\n__getattr__ = tasks_table(SUITES)\n"
    )
    evaluate = EvaluateConfig(
        suites=["mine"], tasks=[str(task)], data={"mine": rows_file(tmp_path / "m.jsonl", sums())}
    )
    loaded = load_suite(find_suites(evaluate)["mine"], evaluate)
    assert [p.answer for p in loaded.problems] == ["0", "2", "4", "6"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"suites": ["aime42"]}, "no suite 'aime42'; there are: aime24, aime25"),
        ({"suites": ["aime24"], "data": {"gsm8k": "x"}}, "evaluate.data.gsm8k: evaluate.suites does not name it"),
        ({"suites": ["aime24"], "tasks": ["./no.py"]}, "no.py is not there"),
        ({"suites": ["aime24"], "tasks": ["no_such_module"]}, "no module 'no_such_module'"),
    ],
)
def test_suites_that_cannot_be_found(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CordError, match=message):
        find_suites(EvaluateConfig(**change))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"id": "a", "question": "?", "answer": "1"}],
            r"row 1: no column 'problem' \(there are: id, question, answer\)",
        ),
        ([*sums(1), {"id": "a", "problem": " ", "answer": "1"}], "row 2: the problem is empty"),
        ([{"id": "a", "problem": "?", "answer": None}], "row 1: the answer is None"),
        ([{"id": "a", "problem": "?", "answer": True}], "row 1: the answer is True"),
        ([*sums(2), *sums(1)], r"id 'sum-0' occurs twice \(rows 1 and 3\)"),
        ([], "holds no problems"),
        (
            [*sums(1), {"id": "h", "problem": "?", "answer": "\\frac{1}{2}"}],
            r"rows.jsonl: the answer .*frac\{1\}\{2\}' of 'h' is one that the grader 'integer' accepts from nobody; .*"
            r"evaluate\.data\.aime24\.answer_pattern",
        ),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    evaluate = EvaluateConfig(suites=["aime24"], data={"aime24": rows_file(tmp_path / "rows.jsonl", rows)})
    with pytest.raises(CordError, match=message):
        load_suite(find_suites(evaluate)["aime24"], evaluate)


def test_a_missing_file_and_a_broken_line_are_named(tmp_path: Path) -> None:
    evaluate = EvaluateConfig(suites=["aime24"], data={"aime24": str(tmp_path / "no.jsonl")})
    with pytest.raises(CordError, match=r"evaluate.data.aime24: .*no.jsonl is not there"):
        load_suite(find_suites(evaluate)["aime24"], evaluate)
    (tmp_path / "no.jsonl").write_text('{"id": 1, "problem": "?", "answer": 2}\n{"id"\n')
    with pytest.raises(CordError, match=r"no.jsonl, row 2: not JSON"):
        load_suite(find_suites(evaluate)["aime24"], evaluate)


def test_known_answers_are_numbers_as_people_write_them(tmp_path: Path) -> None:
    """A column of floats makes 42.0 of 42, and no AIME answer would ever match `42.0` by spelling."""
    rows = [{"id": i, "problem": "?", "answer": answer} for i, answer in enumerate([42.0, " 17 ", 7, 0.5, 1e22])]
    evaluate = EvaluateConfig(suites=["math_500"], data={"math_500": rows_file(tmp_path / "rows.jsonl", rows)})
    loaded = load_suite(find_suites(evaluate)["math_500"], evaluate)
    assert [p.answer for p in loaded.problems] == ["42", "17", "7", "0.5", "1" + 22 * "0"]


def test_answers_that_a_suites_own_grader_cannot_match_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fails the version that scores them 0 % for ever and says nothing; a file for a grader of ours is refused."""
    task = tmp_path / "mine.py"
    task.write_text(
        "from cord_distill.evaluation.task_file import Suite\n"
        "def grade(text, problem):\n    return 'x', 'boxed{' + problem.answer + '}' in text and problem.answer != '2'\n"
        "SUITES = {'mine': Suite('mine', grader=grade)}\n"
    )
    evaluate = EvaluateConfig(
        suites=["mine"], tasks=[str(task)], data={"mine": rows_file(tmp_path / "m.jsonl", sums())}
    )
    assert load_suite(find_suites(evaluate)["mine"], evaluate).unmatched == ("sum-1",)
    said = capsys.readouterr().out
    assert said == "suite mine: 1 of 4 known answers match nothing, themselves in a box included: sum-1\n"


def test_limit_takes_the_first_and_data_hash_sees_every_answer(tmp_path: Path) -> None:
    evaluate = EvaluateConfig(suites=["aime24"], limit=2, data={"aime24": rows_file(tmp_path / "rows.jsonl", sums())})
    suite = find_suites(evaluate)["aime24"]
    loaded = load_suite(suite, evaluate)
    assert [p.id for p in loaded.problems] == ["sum-0", "sum-1"]
    other = LoadedSuite(suite, (loaded.problems[0], Problem("sum-1", "What is 1 + 1?", "3")), loaded.source)
    assert loaded.data_hash != other.data_hash


def test_samples_per_suite() -> None:
    assert samples_per_problem("a", 16) == 16
    assert samples_per_problem("a", {"a": 4}) == 4
    with pytest.raises(CordError, match="no number for suite 'b'"):
        samples_per_problem("b", {"a": 4})


def test_questions_that_were_trained_on_are_refused(tmp_path: Path) -> None:
    train = tmp_path / "train.jsonl"
    rows_file(train, [{"id": "t7", "prompt": [{"role": "user", "content": "What is  1 + 1?\n"}], "completion": []}])
    check_disjoint(training_questions(train), [Problem("t7", "another question under the same id", "")])
    with pytest.raises(CordError, match=r"aime24: 1 problems were trained on: sum-1 \(trained as t7\)"):
        check_disjoint(training_questions(train), [Problem("sum-1", "what is 1 + 1?", "2")], "aime24")
    assert list(training_questions(tmp_path / "none.jsonl")) == []


def test_ledger_questions_are_held_out() -> None:
    from cord_distill.worlds.ledger import world

    evaluate = EvaluateConfig(suites=["ledger"], tasks=[LEDGER])
    loaded = load_suite(find_suites(evaluate)["ledger"], evaluate)
    assert len(loaded.problems) == 100
    check_disjoint(world.problems(n=300, split="train", seed=0), loaded.problems)


# Who answers


def test_weights_are_told_apart_by_their_bytes(tmp_path: Path) -> None:
    """Same path, size and modification time, other bytes: a hash by path (or size and time) calls them the same."""
    model, side = tmp_path / "model", tmp_path / ".weights.json"
    model.mkdir()
    (model / "config.json").write_text("{}")
    file = model / "model.safetensors"
    file.write_bytes(b"a" * 1000)
    before, stat = weights_hash(model, side), file.stat()
    assert weights_hash(model, side) == before
    file.write_bytes(b"b" * 1000)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    swapped = weights_hash(model, side)
    assert swapped != before
    (model / "config.json").write_text('{"eos_token_id": 7}')
    assert weights_hash(model, side) not in (before, swapped)
    (model / "trainer_state.json").write_text("{}")
    file.write_bytes(b"a" * 1000)
    (model / "config.json").write_text("{}")
    assert weights_hash(model, side) == before
    file.unlink()
    with pytest.raises(CordError, match="holds no weights"):
        weights_hash(model, side)


def test_the_weights_side_file_saves_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.safetensors").write_bytes(b"x")
    first = weights_hash(tmp_path / "m", tmp_path / "side.json")
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("read again"))
    assert weights_hash(tmp_path / "m", tmp_path / "side.json") == first


def test_targets_of_a_run(tmp_path: Path) -> None:
    for name in ("student", "teacher", "out/cord/checkpoints/final"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    values = {
        "name": "r",
        "output_dir": str(tmp_path / "out"),
        "teachers": [{"model": str(tmp_path / "teacher"), "temperature": 1.0, "top_k": 5}],
        "train": {"model_name_or_path": str(tmp_path / "student")},
        "evaluate": {
            "suites": ["aime24"],
            "samples": 8,
            "teacher_samples": 2,
            "teachers": True,
            "engine": {"dtype": "float16"},
        },
        "variants": {"cord": {}, "curation": {}},
    }
    with pytest.raises(CordError, match=r"curation: no trained student .*cord train RECIPE variant=curation"):
        targets(Recipe.model_validate(values))
    found = targets(Recipe.model_validate({**values, "variants": {"cord": {}}}))
    assert [t.label for t in found] == ["untrained", "cord", "teacher"]
    assert [t.samples for t in found] == [8, 8, 2]
    # The protocol is the evaluation's, for teachers too; their decoding temperature is not.
    assert {(t.model.temperature, t.model.top_p, t.model.top_k, t.model.dtype) for t in found} == {
        (0.6, 0.95, -1, "float16")
    }
    for key, said in {
        "dtypo": "did you mean 'dtype'",
        "top_p": "set evaluate.top_p",
        "top_k": "remove it",
        "repetition_detection": "remove it",
    }.items():
        bad = {**values["evaluate"], "engine": {key: 1}}
        with pytest.raises(CordError, match=rf"evaluate\.engine\.{key}: .*{said}"):
            targets(Recipe.model_validate({**values, "variants": {"cord": {}}, "evaluate": bad}))


# What was answered


def test_sample_keys_hold_everything_that_decides_a_text() -> None:
    key = sample_key({"weights": "w", "temperature": 0.6}, [1, 2], 100, 7)
    assert key == sample_key({"temperature": 0.6, "weights": "w"}, [1, 2], 100, 7)
    others = [
        sample_key({"weights": "v", "temperature": 0.6}, [1, 2], 100, 7),
        sample_key({"weights": "w", "temperature": 0.7}, [1, 2], 100, 7),
        sample_key({"weights": "w", "temperature": 0.6}, [1, 3], 100, 7),
        sample_key({"weights": "w", "temperature": 0.6}, [1, 2], 101, 7),
        sample_key({"weights": "w", "temperature": 0.6}, [1, 2], 100, 8),
    ]
    assert len({key, *others}) == 6


def test_the_store_survives_a_torn_line_and_refuses_a_second_writer(tmp_path: Path) -> None:
    path = tmp_path / "eval" / "samples.jsonl"
    store = SampleStore(path)
    store.add(sample("数 \\boxed{1}\u2028", i=0))
    with pytest.raises(CordError, match="another process evaluates this model"):
        SampleStore(path)
    store.close()
    with open(path, "ab") as file:
        file.write(b'{"suite": "s", "id": "p", "te')
    again = SampleStore(path)
    assert list(again.samples.values()) == [sample("数 \\boxed{1}\u2028", i=0)]
    again.add(sample("b", i=1))
    again.close()
    last = SampleStore(path)
    assert [s.text for s in last.samples.values()] == ["数 \\boxed{1}\u2028", "b"]
    last.close()


@pytest.mark.parametrize("line", ["{}", "null", "[]", "0"])
def test_a_foreign_line_among_samples_is_named(tmp_path: Path, line: str) -> None:
    """Fails for `if row`, which takes `{}` for the torn end of the file and cuts off all behind it."""
    store = SampleStore(tmp_path / "s.jsonl")
    store.add(sample("x"))
    store.close()
    whole = (tmp_path / "s.jsonl").read_text()
    (tmp_path / "s.jsonl").write_text(f"{line}\n{whole}")
    with pytest.raises(CordError, match="damaged line"):
        SampleStore(tmp_path / "s.jsonl")
    assert (tmp_path / "s.jsonl").read_text() == f"{line}\n{whole}"


@pytest.fixture(scope="module")
def r1(random_models: dict[str, Path]) -> Path:
    return random_models["r1"]


class Recorded:
    """An engine that answers with the seed and keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[tuple[list[int], Any]] = []

    async def generate(self, ids: list[int], sampling: Any) -> Any:
        from cord_distill.engines.base import EngineError, Generation

        self.requests.append((ids, sampling))
        number = len(self.requests)
        await asyncio.sleep(0)
        if self.fail_after is not None and number > self.fail_after:
            raise EngineError("the engine fell over")
        return Generation((1, 2), f"</think>\\boxed{{{sampling.seed % 7}}}", Stop.EOS)

    fail_after: int | None = None
    context = 0

    async def close(self) -> None:
        pass


def answers_of(r1: Path, folder: Path, engine: Recorded, **changes: Any) -> Answers:
    from cord_distill.prompts.render import load_renderer

    recipe = Recipe.model_validate({"name": "r", "train": {"model_name_or_path": str(r1)}})
    (target,) = targets(recipe, ["untrained"])

    async def start(length: int) -> Any:
        engine.context = length
        return engine

    values = {"identity": {"weights": "w"}, "max_new_tokens": 50, "positions": 400, "seed": 0, **changes}
    return Answers(target, load_renderer(str(r1)), SampleStore(folder / "samples.jsonl"), start=start, **values)


def test_requests_are_sampled_as_the_protocol_says(r1: Path, tmp_path: Path) -> None:
    """T=0.6 and top_p reach the engine, each sample has its own seed, the prompt is the renderer's, open at <think>."""
    engine = Recorded()
    answers = answers_of(r1, tmp_path, engine)
    questions = [Question("s", "a", "What is $1+1$?", 4), Question("s", "b", "And 2?", 2)]
    found = asyncio.run(answers(questions))
    assert [len(samples) for samples in found] == [4, 2]
    assert {(s.temperature, s.top_p, s.max_tokens) for _, s in engine.requests} == {(0.6, 0.95, 50)}
    assert len({s.seed for _, s in engine.requests}) == 6
    renderer = answers.renderer
    assert engine.requests[0][0] == renderer.prompt_ids("What is $1+1$?")
    assert renderer.decode(engine.requests[0][0]).endswith("<think>\n")
    assert engine.requests[0][1].stop_ids == (renderer.end_of_turn_id,)
    answers.store.close()


def test_the_engine_holds_what_is_asked_and_not_all_that_the_model_knows(r1: Path, tmp_path: Path) -> None:
    """Fails the version that reserves the 131,072 positions of a config on a laptop."""
    engine = Recorded()
    answers = answers_of(r1, tmp_path, engine, positions=131072)
    asyncio.run(answers([Question("s", "a", "What?", 1)]))
    assert engine.context == len(engine.requests[0][0]) + 50
    answers.store.close()


def test_more_samples_make_only_the_missing_ones(r1: Path, tmp_path: Path) -> None:
    first = answers_of(r1, tmp_path, Recorded())
    four = asyncio.run(first([Question("s", "a", "What?", 4)]))[0]
    first.store.close()
    engine = Recorded()
    second = answers_of(r1, tmp_path, engine)
    ten = asyncio.run(second([Question("s", "a", "What?", 10)]))[0]
    assert ten[:4] == four
    assert len(engine.requests) == second.made == 6
    second.store.close()
    for change in ({"identity": {"weights": "other"}}, {"max_new_tokens": 60}, {"seed": 1}):
        engine = Recorded()
        other = answers_of(r1, tmp_path, engine, **change)
        asyncio.run(other([Question("s", "a", "What?", 4)]))
        other.store.close()
        assert len(engine.requests) == 4, change


def test_a_failing_engine_loses_only_what_it_did_not_answer(r1: Path, tmp_path: Path) -> None:
    engine = Recorded()
    engine.fail_after = 3
    answers = answers_of(r1, tmp_path, engine)
    with pytest.raises(CordError, match=r"5 of 8 samples failed .* run it again"):
        asyncio.run(answers([Question("s", "a", "What?", 8)]))
    answers.store.close()
    engine = Recorded()
    again = answers_of(r1, tmp_path, engine)
    asyncio.run(again([Question("s", "a", "What?", 8)]))
    again.store.close()
    assert len(engine.requests) == 5


def test_a_prompt_that_leaves_no_room_is_named(r1: Path, tmp_path: Path) -> None:
    answers = answers_of(r1, tmp_path, Recorded(), positions=8)
    with pytest.raises(CordError, match=r"untrained, s a: the prompt has \d+ tokens and the model holds 8"):
        asyncio.run(answers([Question("s", "a", "What is this?", 1)]))
    answers.store.close()


# What it is worth


def test_cut_off_outputs_score_nothing_whatever_they_hold() -> None:
    """`hence 7` and even \\boxed{7} in a text that was cut off: lighteval's own extraction scores both 1.0."""
    texts = ["so</think>\\boxed{7}", "so</think>\\boxed{7} and", "hence 7", "so</think>\\boxed{8}", "so</think>done"]
    stops = [Stop.EOS, Stop.LENGTH, Stop.LENGTH, Stop.EOS, Stop.EOS]
    samples = [sample(t, s, i) for i, (t, s) in enumerate(zip(texts, stops, strict=True))]
    record = judge("s", Problem("p", "?", "7"), samples, load_grader("integer"))
    assert record.correct == (True, False, False, False, False)
    assert record.predictions == ("7", None, None, "8", None)
    found = sample_figures([record])
    assert (found["avg_at_k"], found["truncated"], found["answerless"]) == (0.2, 0.4, 0.2)


def test_figures_by_hand() -> None:
    grade = load_grader("integer")

    def record(id: str, answers: list[str]) -> Any:
        samples = [sample(f"</think>\\boxed{{{a}}}", i=i, tokens=10 * (i + 1)) for i, a in enumerate(answers)]
        return judge("s", Problem(id, "?", "7"), samples, grade)

    found = sample_figures([record("a", ["7", "07", "1", "2"]), record("b", ["1", "2", "1", "3"])])
    assert (found["avg_at_k"], found["k"], found["num_problems"]) == (0.25, 4, 2)
    assert found["pass_at"] == {**{"1": 0.25, "2": pytest.approx(5 / 12, abs=1e-6), "3": 0.5, "4": 0.5}}
    # 7 and 07 are one vote.
    assert found["maj_at_k"] == 0.5
    assert (found["mean_tokens"], found["tokens_percentiles"]["50"]) == (25.0, 25.0)
    assert majority(record("c", ["7", "07", "1", "1", "1"])) == 0.0


def test_majority_does_not_depend_on_which_answer_is_right() -> None:
    """Right answers as one vote and wrong ones by spelling: a half written in three ways would lose."""
    answers = ["0.5", "\\frac12", "1/2", "3", "3.0"]
    values = ["half", "half", "half", "three", "three"]

    def maj(right: str) -> float:
        correct = tuple(value == right for value in values)
        return majority(Record("s", "p", "?", tuple(answers), correct, ("end",) * 5, (1,) * 5))

    assert {right: maj(right) for right in ("half", "three", "none")} == {"half": 1.0, "three": 0.0, "none": 0.0}


def test_a_measure_of_the_users_that_fails_or_says_something_else_is_named_or_left_out() -> None:
    """Fails the version that ends in a traceback with the answers of a whole night ungraded."""

    def measure(text: str, problem: Problem) -> dict[str, float]:
        return {"length": 1.0, **({"bonus": 0.5} if problem.id == "b" else {})}

    grade = load_grader("integer")
    records = [judge("s", Problem(id, "?", "7"), [sample("</think>7")], grade, measure=measure) for id in "ab"]
    found = sample_figures(records)
    assert (found["length"], found["bonus"]) == (1.0, 0.5)
    with pytest.raises(CordError, match=r"suite s: its grader, check or measure, on problem 'a'"):
        judge("s", Problem("a", "?", "7"), [sample("</think>7")], grade, measure=lambda *_: 1 / 0)


def test_steps_are_counted_where_they_can_be_checked() -> None:
    suite = find_suites(EvaluateConfig(suites=["ledger"], tasks=[LEDGER]))["ledger"]
    (problem,) = load_suite(suite, EvaluateConfig(suites=["ledger"], limit=1)).problems
    from cord_distill.worlds.ledger.world import step_text, true_values

    values = [problem.meta["start"], *true_values(problem.meta["start"], problem.meta["ops"])]
    steps = [step_text(n, op, values[n - 1], values[n]) + "\n\n" for n, op in enumerate(problem.meta["ops"], 1)]
    right = "".join(steps) + "</think>\n\nThe answer is \\boxed{" + problem.answer + "}"
    half = "".join(steps[:3]) + "</think>\n\nThe answer is \\boxed{ 2 = 0}"
    record = judge("ledger", problem, [sample(right), sample(half, i=1)], suite.load_grader(), suite.load_check())
    assert record.correct == (True, False)
    assert record.step_shares == (1.0, 0.5)
    found = sample_figures([record])
    assert (found["step_accuracy"], found["all_steps_right"]) == (0.75, 0.5)


# The whole, through lighteval


def recipe_of(tmp_path: Path, model: Path, samples: int = 2, **evaluate: Any) -> Recipe:
    data = rows_file(tmp_path / "sums.jsonl", sums())
    values = {"suites": ["aime24"], "data": {"aime24": data}, "samples": samples, "max_new_tokens": 24, **evaluate}
    return Recipe.model_validate(
        {
            "name": "r",
            "output_dir": str(tmp_path / "out"),
            "teachers": [{"model": str(model), "name": "t"}],
            "evaluate": {"teachers": True, **values},
        }
    )


def results_of(recipe: Recipe, label: str = "t") -> dict[str, Any]:
    return json.loads((Path(recipe.output_dir or "") / "eval" / label / "results.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_lighteval_reads_our_task_files() -> None:
    from cord_distill.common.paths import bundled
    from cord_distill.evaluation.suites import _module

    table = {c.name: c for path in bundled("eval").glob("*.py") for c in _module(str(path)).TASKS_TABLE}
    assert {"cord_aime24", "cord_aime25", "cord_math_500", "cord_gsm8k", "cord_amc23", "cord_gpqa_diamond"} <= set(
        table
    )
    # Judged by a model, or one hub row for many questions: lighteval has no place for these.
    assert not {"cord_pubmedqa_open", "cord_tatqa"} & set(table)
    doc = table["cord_gsm8k"].prompt_function(
        {"question": "2+2?", "answer": "so\n#### 1,004", "__index": 3}, "cord_gsm8k"
    )
    assert (doc.query, doc.choices, json.loads(doc.specific["problem"])["id"]) == ("2+2?", ["1004"], "00003")
    from lighteval.models.model_output import ModelResponse

    metric = table["cord_gsm8k"].metrics[0]
    response = ModelResponse(text=["<think>\nso</think>\\boxed{1004}", "hence 1004"])
    assert metric.compute_sample(model_response=response, doc=doc) == {"avg@16": 0.5, "maj@16": 1.0, "truncated": 0.5}


@pytest.mark.slow
def test_a_run_on_vllm(
    tmp_path: Path, r1: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results in lighteval's layout and ours; the same again is skipped; other n, weights or data are not."""
    import shutil

    model = tmp_path / "model"
    shutil.copytree(r1, model)
    recipe = recipe_of(tmp_path, model)
    evaluate_recipe(recipe)
    first = results_of(recipe)
    assert set(first) >= {"config_general", "results", "versions", "config_tasks", "summary_tasks", "summary_general"}
    assert first["results"]["cord_aime24|0"]["avg@2"] == first["suites"]["aime24"]["avg_at_k"]
    assert first["suites"]["aime24"]["num_problems"] == 4
    assert first["samples_made"] == 8
    assert first["protocol"]["engine_version"].startswith("vllm")
    assert first["protocol"]["temperature"] == 0.6
    assert list((tmp_path / "out" / "wandb").glob("offline-run-*"))
    assert "| t | " in (tmp_path / "out" / "eval" / "results.md").read_text()
    (details,) = (tmp_path / "out" / "eval" / "t" / "details").rglob("details_cord_aime24|0_*.parquet")
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(details).to_pylist()
    assert {"doc", "metric", "model_response"} <= set(rows[0])
    assert sorted(len(row["model_response"]["text"]) for row in rows) == [2, 2, 2, 2]

    capsys.readouterr()
    with monkeypatch.context() as no_engine:
        no_engine.setattr("cord_distill.evaluation.evaluate.start_engine", None)
        evaluate_recipe(recipe)
    assert "done before" in capsys.readouterr().out
    texts = (tmp_path / "out" / "eval" / "t" / "samples.jsonl").read_text().splitlines()

    more = recipe_of(tmp_path, model, samples=3)
    evaluate_recipe(more)
    assert results_of(more)["samples_made"] == 4
    assert (tmp_path / "out" / "eval" / "t" / "samples.jsonl").read_text().splitlines()[:8] == texts

    # The seeds are keyed: a fresh folder makes the very same texts.
    fresh = recipe.model_copy(update={"output_dir": str(tmp_path / "fresh")})
    evaluate_recipe(fresh)
    again = (tmp_path / "fresh" / "eval" / "t" / "samples.jsonl").read_text().splitlines()
    assert sorted(again) == sorted(texts)
    assert compare(tmp_path / "fresh" / "eval" / "t", tmp_path / "out" / "eval" / "t")["aime24"]["num_problems"] == 4

    # Other weights under the same path, of the same size and time: nothing of the old ones comes back.
    weights = model / "model.safetensors"
    stat, raw = weights.stat(), bytearray(weights.read_bytes())
    raw[-50_000:-25_000], raw[-25_000:] = raw[-25_000:], raw[-50_000:-25_000]
    weights.write_bytes(raw)
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    evaluate_recipe(recipe)
    swapped = results_of(recipe)
    assert swapped["samples_made"] == 8
    assert swapped["protocol"]["weights"] != first["protocol"]["weights"]

    rows_file(tmp_path / "sums.jsonl", [{**row, "answer": "5"} for row in sums()])
    evaluate_recipe(recipe)
    assert results_of(recipe)["samples_made"] == 0
    assert results_of(recipe)["fingerprint"] != swapped["fingerprint"]


SLOW_SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
from scripted_world import Script
class Slow(Script):
    def generate(self, text, sampling):
        time.sleep(0.05)
        return super().generate(text, sampling)
def script(renderer):
    return Slow(renderer)
"""


@pytest.mark.slow
def test_kill_9_loses_only_what_was_in_flight(tmp_path: Path, r1: Path) -> None:
    tests = str(Path(__file__).parents[1])
    (tmp_path / "slow_world.py").write_text(SLOW_SCRIPT.format(tests=tests))
    scripted = {"engine": "scripted", "script": "slow_world:script"}
    recipe = recipe_of(tmp_path, r1, samples=20, engine=scripted)
    file = tmp_path / "recipe.json"
    file.write_text(recipe.model_dump_json())
    code = (
        "import sys; from cord_distill.recipe.recipe import Recipe; "
        "from cord_distill.evaluation.evaluate import evaluate_recipe; "
        f"sys.path.insert(0, {str(tmp_path)!r}); "
        f"evaluate_recipe(Recipe.model_validate_json(open({str(file)!r}).read()))"
    )
    samples = tmp_path / "out" / "eval" / "t" / "samples.jsonl"
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and (not samples.exists() or samples.read_bytes().count(b"\n") < 10):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    kept = samples.read_bytes().count(b"\n")
    assert 10 <= kept < 80
    assert not (tmp_path / "out" / "eval" / "t" / "results.json").exists()
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
    assert results_of(recipe)["samples_made"] == 80 - kept


def test_bad_recipes_fail_before_anything_heavy(tmp_path: Path, r1: Path) -> None:
    with pytest.raises(CordError, match=r"evaluate\.suites is empty"):
        evaluate_recipe(recipe_of(tmp_path, r1, suites=[], data={}))
    with pytest.raises(CordError, match="holds no model"):
        evaluate_recipe(recipe_of(tmp_path, tmp_path / "nowhere"))
    with pytest.raises(CordError, match="no finished evaluation there"):
        compare(tmp_path, tmp_path)
    assert isinstance(find_suites(EvaluateConfig(suites=["aime24"]))["aime24"], Suite)
