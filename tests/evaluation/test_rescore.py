"""`cord grade RUN`: stored samples under today's graders, beside the verdicts that were written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cord_distill.cli import main
from cord_distill.common.errors import CordError
from cord_distill.evaluation.judging import with_judge
from cord_distill.evaluation.protocol import comparability
from cord_distill.evaluation.records import judge, sample_figures
from cord_distill.evaluation.rescore import rescore
from cord_distill.evaluation.samples import Sample
from cord_distill.evaluation.suites import find_suites
from cord_distill.grading import GRADER_VERSION, load_grader
from cord_distill.grading.judge import Judge
from cord_distill.recipe.evaluate import EvaluateConfig
from cord_distill.types import Problem, Stop


def same_text(text: str, problem: Problem) -> tuple[str | None, bool]:
    """An earlier grader: the box, letter by letter."""
    said, right = load_grader("exact")(text, problem)
    return said, bool(right)


def evaluated(folder: Path, suite: str, answers: dict[str, list[str]], grade: Any, **protocol: Any) -> Path:
    """An eval/<label> folder. answers: known answer -> what was boxed; around them lie samples of another run."""
    rows, records, samples = "", [], []
    for n, (gold, boxed) in enumerate(answers.items()):
        made = [
            Sample(suite, f"p{n}", i, 0, f"t</think>\\boxed{{{said}}}", Stop.EOS, 5, f"{n}-{i}")
            for i, said in enumerate(boxed)
        ]
        records.append(judge(suite, Problem(f"p{n}", "?", gold), made, grade))
        text = "t</think>\\boxed{999}"
        other = [Sample(suite, f"p{n}", 0, 0, text, Stop.EOS, 5, f"other-{n}-{i}") for i in (0, 1)]
        samples += [other[0], *made, other[1]]
    folder.mkdir(parents=True)
    asked = {"answer_in_thought": False, "suites": {suite: {"grader_version": 1}}, **protocol}
    results = {"protocol": asked, "suites": {suite: sample_figures(records)}}
    (folder / "results.json").write_text(json.dumps(results))
    rows = "".join(json.dumps(record.to_row()) + "\n" for record in records)
    (folder / "problems.jsonl").write_text(rows)
    lines = ({**vars_of(sample), "stop": str(sample.stop)} for sample in samples)
    (folder / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def vars_of(sample: Sample) -> dict[str, Any]:
    return {name: getattr(sample, name) for name in sample.__slots__}


def test_changed_verdicts_are_told_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fails the version that takes every sample of a problem, those of another protocol too, or asks an engine."""
    answers = {"\\frac12": ["0.5", "\\frac12", "2"], "7": ["7", "7.0", "8"]}
    folder = evaluated(tmp_path / "run" / "eval" / "cord", "math_500", answers, same_text)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for place in (tmp_path / "run", tmp_path / "run" / "eval", folder):
        (one,) = rescore(place)
        assert (one.label, one.suite, one.num_samples) == ("cord", "math_500", 6)
        assert (one.before, one.after) == (pytest.approx(2 / 6, abs=1e-5), pytest.approx(4 / 6, abs=1e-5))
        assert [(c.id, c.sample, c.before[1], c.after[1]) for c in one.changes] == [
            ("p0", 0, False, True),
            ("p1", 1, False, True),
        ]
    capsys.readouterr()
    assert main(["grade", str(folder), "--json", str(tmp_path / "changes.jsonl")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == (
        f"cord math_500: grader v1 -> v{GRADER_VERSION}, avg@k 33.3% -> 66.7%; 2 of 6 verdicts changed (2 to right)"
    )
    assert said[1] == "  p0 sample 0: '0.5' for '\\\\frac12' is right, was wrong"
    assert len((tmp_path / "changes.jsonl").read_text().splitlines()) == 2
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_judged_suite_is_graded_by_the_replies_that_are_there(tmp_path: Path) -> None:
    """No judge is asked: an answer whose reply is not stored is without a verdict."""
    suite = find_suites(EvaluateConfig(suites=["pubmedqa_open"]))["pubmedqa_open"]
    meta = {"question": "Is it?", "reference": "It is."}
    problem = Problem("p", "?", "yes", meta)
    identity = {"model": "j", "form": "verdict"}
    folder = tmp_path / "m"
    folder.mkdir()

    async def nobody(prompts: Any, keep: Any) -> None:
        raise AssertionError

    known = Judge(identity, folder / "judgements.jsonl", nobody)
    key = known._key(suite.judged.prompt(problem, "It is so."))
    (folder / "judgements.jsonl").write_text(
        json.dumps({"key": key, "verdict": True, "reply": "Verdict: correct"}) + "\n"
    )
    samples = [
        Sample("pubmedqa_open", "p", i, 0, f"t</think>{said}", Stop.EOS, 5, str(i))
        for i, said in enumerate(["It is so.", "Nobody judged this."])
    ]
    judged = with_judge(suite, Judge(identity, folder / "judgements.jsonl", nobody), "verdict")
    record = judge("pubmedqa_open", problem, samples, judged.load_grader(), measure=judged.measure)
    assert record.correct == (True, None)
    protocol = {"answer_in_thought": False, "judge": identity, "suites": {"pubmedqa_open": {"grader_version": 1}}}
    (folder / "results.json").write_text(
        json.dumps({"protocol": protocol, "suites": {"pubmedqa_open": sample_figures([record])}})
    )
    (folder / "problems.jsonl").write_text(json.dumps(record.to_row()) + "\n")
    lines = ({**vars_of(sample), "stop": "eos"} for sample in samples)
    (folder / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (one,) = rescore(folder)
    assert (one.after, one.changes, one.skipped) == (1.0, (), "")


def test_what_cannot_be_graded_is_said(tmp_path: Path) -> None:
    folder = evaluated(tmp_path / "m", "math_500", {"7": ["7"]}, same_text)
    (folder / "samples.jsonl").write_text("")
    assert "1 samples are not in samples.jsonl any more" in rescore(folder)[0].skipped
    row = json.loads((folder / "problems.jsonl").read_text())
    (folder / "problems.jsonl").write_text(json.dumps({k: v for k, v in row.items() if k != "keys"}) + "\n")
    assert "run cord evaluate on it again" in rescore(folder)[0].skipped
    with pytest.raises(CordError, match="no finished evaluation lies there"):
        rescore(tmp_path / "nothing")
    other = evaluated(tmp_path / "n", "mine", {"7": ["7"]}, same_text)
    assert "no suite 'mine'" in rescore(other)[0].skipped


def test_what_a_killed_evaluation_left_is_no_crash(tmp_path: Path) -> None:
    """A torn last line among the samples, and a suite that results.json does not have yet. Fails the version that ends
    in an error for all the checkpoints of the run."""
    folder = evaluated(tmp_path / "m", "math_500", {"7": ["7.0"]}, same_text)
    with open(folder / "samples.jsonl", "a") as file:
        file.write('{"suite": "math_5')
    assert rescore(folder)[0].after == 1.0
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps({**results, "suites": {}}))
    assert "its evaluation was stopped" in rescore(folder)[0].skipped


def test_comparability_changes_with_what_is_asked_and_how_it_is_judged_and_with_no_model() -> None:
    suite = {"version": 1, "grader": "math", "grader_version": 3, "data": "d", "problems": 5}
    protocol = {"temperature": 0.6, "weights": "a", "engine_version": "x", "suites": {"s": suite}}
    name = comparability(protocol, "s")
    assert name.startswith("v1-g3-")
    assert comparability({**protocol, "weights": "b", "engine_version": "y"}, "s") == name
    assert comparability({**protocol, "temperature": 1.0}, "s") != name
    assert comparability({**protocol, "suites": {"s": {**suite, "data": "e"}}}, "s") != name
