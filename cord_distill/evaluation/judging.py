"""Which answers of a suite a judge is asked about, and the suite's grader that looks its verdicts up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cord_distill.common.errors import CordError
from cord_distill.evaluation.samples import Sample
from cord_distill.evaluation.suite import Suite
from cord_distill.evaluation.suites import LoadedSuite
from cord_distill.grading.extract import after_thought
from cord_distill.grading.judge import Form, Judge, in_form
from cord_distill.recipe.evaluate import JudgeConfig
from cord_distill.types import Problem, Stop


def judge_prompts(loaded: LoadedSuite, samples: dict[str, list[Sample]], form: Form) -> list[str]:
    """What is to be judged of a suite. samples: by problem id. Cut-off and empty answers are wrong without a judge."""
    prompt = _prompt(loaded.suite, form)
    asked = [
        (problem, after_thought(sample.text).strip())
        for problem in loaded.problems
        for sample in samples[problem.id]
        if sample.stop is not Stop.LENGTH
    ]
    return [prompt(problem, answer) for problem, answer in asked if answer]


def with_judge(suite: Suite, judge: Judge, form: Form) -> Suite:
    """The suite with a grader that looks the verdicts up; `decide` comes first. An answer without a verdict is neither
    right nor wrong."""
    prompt = _prompt(suite, form)

    def grade(text: str, problem: Problem) -> tuple[str | None, bool | None]:
        answer = after_thought(text).strip()
        return (answer, judge.verdict(prompt(problem, answer))) if answer else (None, False)

    def measure(text: str, problem: Problem) -> dict[str, float]:
        answer = after_thought(text).strip()
        return {"unjudged": float(bool(answer) and judge.verdict(prompt(problem, answer)) is None)}

    return replace(suite, grader=grade, measure=measure)


def _prompt(suite: Suite, form: Form) -> Callable[[Problem, str], str]:
    assert suite.judged is not None
    prompt = suite.judged.prompt
    return lambda problem, answer: in_form(prompt(problem, answer), form)


def required(section: JudgeConfig | None, suite: str) -> JudgeConfig:
    if section is None:
        raise CordError(
            f"suite {suite}: a model judges its answers; give evaluate.judge, e.g. "
            "evaluate.judge={engine: server, url: http://127.0.0.1:8000/v1, model: Qwen/Qwen3-32B}"
        )
    return section
