"""The judge of open-ended answers. Lazy versions that fail here: a verdict read in the judge's thought, an unreachable
judge counted as "wrong", verdicts of one judge kept for another, the whole batch lost with one failed request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_server import FakeServer

from cord_distill.common.errors import CordError
from cord_distill.engines.server import http
from cord_distill.evaluation.evaluate import evaluate_recipe
from cord_distill.evaluation.judging import judge_prompts, with_judge
from cord_distill.evaluation.records import Record, sample_figures
from cord_distill.evaluation.samples import Sample
from cord_distill.evaluation.suites import find_suites, load_suite
from cord_distill.grading import judge_engines
from cord_distill.grading.judge import VERDICT_LINE, Judge, in_form, verdict_of
from cord_distill.recipe.evaluate import EvaluateConfig, JudgeConfig
from cord_distill.recipe.recipe import Recipe
from cord_distill.types import Stop

ROWS = [
    {"id": str(i), "problem": f"Is it {i}?", "answer": "yes", "contexts": [f"It is {i}."], "long_answer": f"It is {i}."}
    for i in range(3)
]


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("Verdict: correct", True),
        ("It differs.\n\n**Verdict:** incorrect.", False),
        ("Verdict: incorrect. No: Verdict: correct", True),
        ("They say the same. Verdict: correct", True),
        ("- **Final verdict: incorrect**", False),
        ('It ends with "Verdict: correct"', None),
        ("The answer says:\nVerdict: correct\nThat is no argument.", None),
        ("<think>The answer ends with\nVerdict: correct", None),
        ("<think>done</think>Verdict: correct<think>or\nVerdict: incorrect", True),
        ("<think>Verdict: correct</think>Verdict: incorrect", False),
        ("<think>Verdict: correct</think>I cannot say", None),
        ("correct", None),
        ("", None),
        ("verdict" + " " * 100_000, None),
        (". " * 100_000, None),
    ],
)
def test_the_last_verdict_outside_the_thought_counts(reply: str, verdict: bool | None) -> None:
    """Fails a reader that takes any `Verdict:` in the text: candidates write one to be quoted."""
    assert verdict_of(reply) is verdict


def test_a_reply_that_was_cut_off_has_no_verdict() -> None:
    """A thought that quotes the answer's own `Verdict: correct` and is cut there: the template opened the thought, so
    that no `<think>` stands in the reply."""
    quoted = "The answer to judge ends like this:\n\nVerdict: correct"
    assert verdict_of(quoted) is True
    assert verdict_of(quoted, cut=True) is None


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ('{"correctness": "True"}', True),
        ('<think>{"correctness": "True"}</think>```json\n{"correctness": "False"}\n```', False),
        ('{"correctness": true}', True),
        ('{"correctness": "True"} is what it says', None),
        ("Verdict: correct", None),
    ],
)
def test_the_papers_json_is_a_form_of_verdict(reply: str, verdict: bool | None) -> None:
    assert verdict_of(reply, "json") is verdict


def test_the_form_is_asked_for_in_the_prompt() -> None:
    asked = f"Is it so? {VERDICT_LINE}"
    assert in_form(asked, "verdict") == asked
    assert (
        in_form(asked, "json") == 'Is it so? Reply with JSON only: {"correctness": "True"} or {"correctness": "False"}.'
    )
    assert in_form("Of a user's own.", "json").endswith('{"correctness": "False"}.')


class Server(FakeServer):
    """A judge at a server: right is what holds `good`. failures: the statuses that it answers with first."""

    def __init__(self) -> None:
        self.failures: list[int] = []
        super().__init__(self.judged)

    @property
    def requests(self) -> list[dict[str, Any]]:
        return [{"path": path, **body} for path, body in self.asked]

    def judged(self, path: str, body: dict[str, Any]) -> Any:
        if self.failures:
            return self.failures.pop(0), "", {}
        asked = body["messages"][-1]["content"].partition("Answer to judge:")[2]
        verdict = "Verdict: " + ("correct" if "good" in asked.partition("The answer")[0] else "incorrect")
        said = "<think>hm</think>" + ("I cannot say." if "odd" in asked else verdict)
        return {"choices": [{"message": {"role": "assistant", "content": said}}]}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(http, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(judge_engines, "WAIT", 1.0)
    found = Server()
    yield found
    found.stop()


def section(server: Server, **values: Any) -> JudgeConfig:
    return JudgeConfig(engine="server", url=f"{server.url}/v1", model="judge-32b", **values)


def judge_of(server: Server, folder: Path, **values: Any) -> Judge:
    asked = section(server, **values)
    identity = judge_engines.identity(asked, folder / "side.json")
    return Judge(identity, folder / "judgements.jsonl", judge_engines.asker(asked))


def test_a_served_judge(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    asked = EvaluateConfig(suites=["pubmedqa_open"], data={"pubmedqa_open": str(file)})
    loaded = load_suite(find_suites(asked)["pubmedqa_open"], asked)

    def sample(id: str, i: int, text: str, stop: Stop = Stop.EOS) -> Sample:
        return Sample("pubmedqa_open", id, i, 0, text, stop, 5, f"{id}{i}")

    samples = {
        "0": [sample("0", 0, "t</think>good one"), sample("0", 1, "t</think>bad one")],
        "1": [sample("1", 0, "t</think>good", Stop.LENGTH), sample("1", 1, "good but no answer")],
        "2": [sample("2", 0, "t</think>odd"), sample("2", 1, "t</think>odd")],
    }
    prompts = judge_prompts(loaded, samples, "verdict")
    assert len(prompts) == 4  # a cut-off output and one without an answer are wrong without asking
    judge = judge_of(server, tmp_path)
    asyncio.run(judge.decide(prompts))
    # Equal answers to one question are asked once; what comes without a verdict is asked again, and warmer.
    assert len(server.requests) == 5
    again = [r for r in server.requests if "odd" in r["messages"][0]["content"]]
    assert [(r["seed"], r["temperature"]) for r in again] == [(0, 0.0), (1, 0.6), (2, 0.6)]
    assert not any({"top_k", "min_p"} & set(r) for r in server.requests)
    first = server.requests[0]
    assert (first["path"], first["model"], first["temperature"]) == ("/v1/chat/completions", "judge-32b", 0.0)
    assert server.headers["Authorization"] == "Bearer k"
    asked_of_judge = [request["messages"][0]["content"] for request in server.requests]  # in any order: they overlap
    assert sum("Reference conclusion (yes): It is 0." in text for text in asked_of_judge) == 2

    suite = with_judge(loaded.suite, judge, "verdict")
    grade, measure = suite.load_grader(), suite.measure
    assert measure is not None
    problems = {p.id: p for p in loaded.problems}
    assert [grade(s.text, problems["0"]) for s in samples["0"]] == [("good one", True), ("bad one", False)]
    assert grade("no end", problems["1"]) == (None, False)
    assert [measure(s.text, problems["2"]) for s in samples["2"]] == [{"unjudged": 1.0}] * 2
    assert grade(samples["2"][0].text, problems["2"]) == ("odd", None)

    # A second process knows all of it; another judge nothing.
    again = judge_of(server, tmp_path)
    asyncio.run(again.decide(prompts))
    assert len(server.requests) == 5
    asyncio.run(judge_of(server, tmp_path, temperature=0.6, top_k=20, min_p=0.05).decide(prompts))
    assert len(server.requests) == 10
    assert (server.requests[-1]["top_k"], server.requests[-1]["min_p"]) == (20, 0.05)


def test_answers_without_a_verdict_are_left_out_of_the_figures() -> None:
    """Fails the version that books them as wrong, and the one that drops the problem's other answers."""

    def record(id: str, correct: tuple[bool | None, ...]) -> Record:
        said = tuple(f"a{i}" for i in range(len(correct)))
        unjudged = tuple(float(x is None) for x in correct)
        return Record("s", id, "yes", said, correct, ("eos",) * 2, (5,) * 2, measures={"unjudged": unjudged})

    found = sample_figures([record("1", (True, None)), record("2", (True, False)), record("3", (None, None))])
    assert (found["avg_at_k"], found["num_problems"], found["k"], found["unjudged"]) == (0.75, 2, 1, 0.5)
    assert record("3", (None, None)).to_row()["avg"] is None
    with pytest.raises(CordError, match="no answer has a verdict"):
        sample_figures([record("3", (None, None))])


def test_a_busy_server_is_asked_again_and_a_refusal_is_said(server: Server, tmp_path: Path) -> None:
    server.failures = [503, 429]
    judge = judge_of(server, tmp_path, concurrency=1)
    asyncio.run(judge.decide(["Answer to judge: good\n\nThe answer"]))
    assert judge.verdict("Answer to judge: good\n\nThe answer") is True
    assert len(server.requests) == 3
    server.failures = [401]
    with pytest.raises(CordError, match=r"evaluate\.judge: .*: HTTP 401"):
        asyncio.run(judge.decide(["another"]))


def test_verdicts_so_far_survive_a_dead_server_and_a_torn_line(server: Server, tmp_path: Path) -> None:
    judge = judge_of(server, tmp_path, concurrency=1)
    asyncio.run(judge.decide(["one"]))
    server.stop()
    with pytest.raises(CordError, match="verdicts so far are kept, run it again"):
        asyncio.run(judge.decide(["one", "two"]))
    with open(tmp_path / "judgements.jsonl", "a") as file:
        file.write('{"key": "k", "rep')
    again = Server()
    asked = section(again)
    resumed = Judge(judge.identity, judge.path, judge_engines.asker(asked))
    asyncio.run(resumed.decide(["one", "two"]))
    assert len(again.requests) == 1
    assert Judge(judge.identity, judge.path, judge_engines.asker(asked)).verdicts == resumed.verdicts
    again.stop()


class Verdicts:
    """A scripted judge in process."""

    def generate(self, text: str, sampling: Any) -> str:
        return "hm</think>Verdict: " + ("correct" if "is 1" in text else "incorrect")


def verdicts(renderer: Any) -> Verdicts:
    return Verdicts()


class Conclusions:
    def generate(self, text: str, sampling: Any) -> str:
        return "t</think>It is good." if sampling.seed % 2 else "t</think>It is not."


def conclusions(renderer: Any) -> Conclusions:
    return Conclusions()


def test_a_judge_in_process(random_models: dict[str, Path], tmp_path: Path) -> None:
    asked = JudgeConfig(model=str(random_models["r1"]), engine="scripted", script=f"{__name__}:verdicts")
    judge = Judge(judge_engines.identity(asked, tmp_path / "w.json"), tmp_path / "j.jsonl", judge_engines.asker(asked))
    assert "weights" in judge.identity
    asyncio.run(judge.decide(["It is 1.", "It is 2."]))
    assert [judge.verdict(x) for x in ("It is 1.", "It is 2.", "It is 3.")] == [True, False, None]


def open_recipe(tmp_path: Path, model: Path, judge: dict[str, Any] | None) -> Recipe:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    evaluate = {
        "suites": ["pubmedqa_open"],
        "data": {"pubmedqa_open": str(tmp_path / "rows.jsonl")},
        "models": [{"model": str(model), "name": "m"}],
        "engine": {"engine": "scripted", "script": f"{__name__}:conclusions"},
        **{"samples": 4, "max_new_tokens": 64, "judge": judge},
    }
    values = {"name": "r", "output_dir": str(tmp_path / "out"), "evaluate": evaluate}
    return Recipe.model_validate({**values, "track": {"wandb": {"mode": "disabled"}}})


def test_without_a_judge_nothing_starts(random_models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(CordError, match=r"suite pubmedqa_open: .* give evaluate.judge"):
        evaluate_recipe(open_recipe(tmp_path, random_models["r1"], None))


@pytest.mark.slow
def test_an_open_ended_suite_through_lighteval(
    random_models: dict[str, Path], tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    judge = {"engine": "server", "url": f"{server.url}/v1", "model": "judge-32b"}
    recipe = open_recipe(tmp_path, random_models["r1"], judge)
    evaluate_recipe(recipe)
    folder = tmp_path / "out" / "eval" / "m"
    results = json.loads((folder / "results.json").read_text())
    texts = [json.loads(line)["text"] for line in (folder / "samples.jsonl").read_text().splitlines()]
    found = results["suites"]["pubmedqa_open"]
    assert found["avg_at_k"] == pytest.approx(sum("good" in text for text in texts) / 12, abs=1e-6)
    assert 0 < found["avg_at_k"] < 1
    assert found["unjudged"] == 0.0
    assert results["protocol"]["judge"]["model"] == "judge-32b"
    assert "judge     judge-32b, T=0" in capsys.readouterr().out
    asked = len(server.requests)
    evaluate_recipe(recipe)
    assert "done before" in capsys.readouterr().out
    # Another judge: the samples stay, the verdicts do not.
    other = recipe.evaluate.model_copy(update={"judge": JudgeConfig.model_validate({**judge, "model": "other"})})
    evaluate_recipe(recipe.model_copy(update={"evaluate": other}))
    assert len(server.requests) == 2 * asked
    assert json.loads((folder / "results.json").read_text())["samples_made"] == 0
