"""TAT-QA: questions on a table and the paragraphs around it; a right answer has the value and its scale.

"Right" is the official exact match; F1 and the share of right scales stand beside it (grading/tatqa.py). Local rows
have one question each (columns id, problem, answer, scale, answer_type, table, paragraphs); the hub's file has one
document each, with its questions.
"""

from collections.abc import Iterator
from typing import Any

from cord_distill.evaluation.task_file import Hub, Row, Suite, tasks_table
from cord_distill.grading.tatqa import Answer, plain_minus, read_answer, scores
from cord_distill.types import Problem

PROMPT = """Answer the question from the table and the text of a financial report.

Table:
{table}

Text:
{text}

Question: {question}

Put the final answer within \\boxed{{}}. A figure or phrase that stands in the report is copied as it is written \
there; a computed number is rounded to two decimals. A number is followed by its scale as the report has it (thousand, \
million, billion or %), if it has one: \\boxed{{12.5 million}}, \\boxed{{-3.41\\%}}. Several answers are put in one \
box with | between them: \\boxed{{first | second}}."""


def read(row: Row) -> list[Problem]:
    if "questions" not in row:
        return [_problem(row, row["table"], row["paragraphs"])]
    paragraphs = [p["text"] for p in sorted(row["paragraphs"], key=lambda p: p["order"])]
    return [_problem(q, row["table"]["table"], paragraphs) for q in row["questions"]]


def _problem(row: Row, table: list[list[str]], paragraphs: list[str]) -> Problem:
    answer = row["answer"]
    values = [plain_minus(str(value)) for value in (answer if isinstance(answer, list) else [answer])]
    if not values or not all(values):
        raise ValueError(f"the answer is {answer!r}")
    asked = PROMPT.format(
        table="\n".join(_lines(table)),
        text="\n\n".join(paragraphs),
        question=row.get("problem") or row["question"],
    )
    meta = {"values": values, "scale": row["scale"], "answer_type": row["answer_type"]}
    return Problem(str(row.get("id") or row["uid"]), asked, str(Answer(tuple(values), row["scale"])), meta)


def _lines(table: list[list[str]]) -> Iterator[str]:
    for number, cells in enumerate(table):
        yield "| " + " | ".join(" ".join(str(cell).split()) for cell in cells) + " |"
        if number == 0:
            yield "|" + " --- |" * len(cells)


def grade(text: str, problem: Problem) -> tuple[str | None, bool]:
    found = read_answer(text)
    return (str(found) if found else None), _scores(found, problem.meta)[0] == 1.0


def measure(text: str, problem: Problem) -> dict[str, float]:
    found = read_answer(text)
    scale = found is not None and found.scale == problem.meta["scale"]
    return {"f1": _scores(found, problem.meta)[1], "scale_right": float(scale)}


def _scores(found: Answer | None, meta: dict[str, Any]) -> tuple[float, float]:
    return scores(Answer(tuple(meta["values"]), meta["scale"]), meta["answer_type"], found)


SUITES = {
    "tatqa": Suite(
        "tatqa",
        grader=grade,
        measure=measure,
        read=read,
        instruct=False,
        # The answers of one column are lists, texts and numbers, which no table takes: the file itself; not run here.
        hub=Hub("next-tat/TAT-QA", file="tatqa_dataset_test_gold.json"),
    )
}

__getattr__ = tasks_table(SUITES)
