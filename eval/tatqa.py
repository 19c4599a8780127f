"""TAT-QA: questions on a table and the paragraphs around it; a right answer has the value and its scale.

Local rows have one question each (columns id, problem, answer, scale, answer_type, table, paragraphs); the hub's file
has one document each, with its questions. "Right" is the exact match of the benchmark's own script (tatqa_metric.py of
NExTplusplus/TAT-QA); its F1 and the share of right scales stand beside it. There a number is rounded to two decimals
and multiplied out by its scale, so that 1.5 million is 1,500 thousand and 12.5 percent is 0.125; several answers are
sorted and compared as one text; F1 is over bags of words, and equals exact match for computed answers. Reading the
model's \\boxed{} is ours: the script expects values and scales that are already apart.
"""

import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cord_distill.evaluation.task_file import Hub, Row, Suite, tasks_table
from cord_distill.grading.extract import after_thought, answer_of, last_boxes
from cord_distill.types import Problem

SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000, "billion": 1_000_000_000, "percent": 0.01}
COMPUTED = ("arithmetic", "count")
NO_PART_OF_NUMBERS = str.maketrans("", "", "'\"\\$€£¥%(),[]")
PUNCTUATION = str.maketrans("", "", string.punctuation)
NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?|[+-]?\.\d+")
# As in the script: (134) is negative, (1,340) is not, in gold and prediction alike.
NEGATIVE = re.compile(r"\([\d.\s]+\)")
PERCENT = re.compile(r"[\d.\s]+%")
SCALED_WORD = re.compile(r"[\d.]+\s?[a-zA-Z]+")
ARTICLES = re.compile(r"\b(a|an|the)\b")
# What a model writes around values: $ 12.5 million, 12.5\\%, (3.4) percent, \\text{12 thousand}.
WITH_SCALE = re.compile(r"(?i)(.*\d[\d.,]*(?:\s*\))?)\s*(%|per\s?cent|hundreds?|thousands?|millions?|billions?)\s*\)?")
LATEX_TEXT = re.compile(r"\\(?:text\w*|mathrm|mathbf|mbox|operatorname)\s*\{([^{}]*)\}")
GROUPED = re.compile(r"(?<=\d)\\,(?=\d{3})")  # 1\,234
LATEX_BLANK = re.compile(r"\\[,;!: ]|~|\\q?quad\b")
LONGEST_ANSWER = 2000
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


@dataclass(frozen=True, slots=True)
class Answer:
    """values as written, without their scale. scale: "", thousand, million, billion or percent."""

    values: tuple[str, ...]
    scale: str = ""

    def __str__(self) -> str:
        return " | ".join(self.values) + (f" {self.scale}" if self.scale else "")


def read_answer(completion: str) -> Answer | None:
    """The last answer behind the thought: values apart by `|` or in boxes of their own, one scale for all of them."""
    spoken = after_thought(completion)
    parts = last_boxes(spoken) or [answer_of(completion) or ""]
    values = [value for part in parts for value in map(str.strip, _plain(part).split("|")) if value]
    if not values or sum(map(len, values)) > LONGEST_ANSWER:
        return None
    split = [_apart(value) for value in values]
    scales = {scale for _, scale in split if scale}
    # "12 | 13 million" means both; where scales differ the values keep their words, which the metric understands.
    if len(scales) == 1 and split[-1][1]:
        return Answer(tuple(value for value, _ in split), scales.pop())
    return Answer(tuple(values))


def scores(gold: Answer, answer_type: str, predicted: Answer | None) -> tuple[float, float]:
    """(exact match, F1) of the official script. answer_type: span, multi-span, arithmetic or count."""
    if predicted is None:
        return 0.0, 0.0
    written = [_multiplied_out(predicted.values, predicted.scale)]
    only = predicted.values[0]
    if len(predicted.values) == 1 and not predicted.scale and "%" not in only and _is_number(only):
        # 0.2342 for 23.42 percent.
        number = _to_number(only)
        written += [] if number is None else [f"{number:.4f}"]
    target = _normalised(_multiplied_out(gold.values, gold.scale))
    found = max(_exact_and_f1(_normalised(text), target) for text in written)
    return (found[0], found[0]) if answer_type in COMPUTED else found


def _exact_and_f1(predicted: str, gold: str) -> tuple[float, float]:
    a, b = set(predicted.split()), set(gold.split())
    shared = len(a & b)
    precision, recall = shared / len(a) if a else 1.0, shared / len(b) if b else 1.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return float(predicted == gold), round(f1, 2)


def _multiplied_out(values: Sequence[str], scale: str) -> str:
    out = []
    for text in sorted(values):
        number = _to_number(text) if _is_number(text) else None
        if number is None:
            out.append(f"{text} {scale}" if scale else text)
        elif "%" in text:
            out.append(f"{number:.4f}")
        else:
            out.append(f"{round(number, 2) * _factor(scale):.4f}")
    return " ".join(out)


def _normalised(text: str) -> str:
    words = []
    for token in text.lower().split(" "):
        bare = token if _is_number(token) else token.translate(PUNCTUATION)
        if _is_number(bare):
            bare = str(_to_number(bare))
        words += ARTICLES.sub(" ", bare).split()
    return " ".join(words)


def _is_number(text: str) -> bool:
    words = " ".join(word.translate(NO_PART_OF_NUMBERS) for word in text.split()).split()
    try:
        number = float(words[0])
    except (IndexError, ValueError):
        return False
    return number == number and (len(words) < 2 or _factor(words[1]) != 1)


def _to_number(text: str) -> float | None:
    match = NUMBER.search(text.translate(NO_PART_OF_NUMBERS))
    if match is None or match.group().lstrip("+-").startswith("."):
        return None
    # The official script keeps whole numbers whole: -134 and -134.0 are two spellings to it.
    number = float(match.group()) if "." in match.group() else int(match.group())
    word = SCALED_WORD.search(text)
    factor = _factor(word.group()) if word else 1
    sign = -1 if NEGATIVE.search(text.strip()) else 1
    return round(number * factor * sign * (0.01 if PERCENT.search(text.strip()) else 1), 4)


def _factor(text: str) -> float:
    return next((factor for word, factor in SCALES.items() if word in text.lower()), 1)


def _apart(value: str) -> tuple[str, str]:
    match = WITH_SCALE.fullmatch(value)
    if match is None or not _is_number(match[1]):
        return value, ""
    word = match[2].lower()
    scale = "percent" if word == "%" or word.startswith("per") else word.rstrip("s")
    # The bracket of a negative number may close behind the sign: (66%).
    number = match[1] + ")" if match[1].count("(") > match[1].count(")") else match[1]
    return (number.strip(), scale) if scale != "hundred" else (value, "")


def _plain(text: str) -> str:
    text = GROUPED.sub("", text.replace("\\!", "").replace("{,}", ","))
    text = LATEX_BLANK.sub(" ", text)
    for _ in range(3):
        text = LATEX_TEXT.sub(r"\1", text)
    return plain_minus(re.sub(r"\\([%$&_#{}])", r"\1", text).replace("\\mid", "|").strip())


def plain_minus(text: str) -> str:
    return text.replace("−", "-")


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
    return (str(found) if found else None), scores(gold_of(problem), problem.meta["answer_type"], found)[0] == 1.0


def measure(text: str, problem: Problem) -> dict[str, float]:
    found = read_answer(text)
    scale = found is not None and found.scale == problem.meta["scale"]
    f1 = scores(gold_of(problem), problem.meta["answer_type"], found)[1]
    return {"f1": f1, "scale_right": float(scale)}


def gold_of(problem: Problem) -> Answer:
    return Answer(tuple(problem.meta["values"]), problem.meta["scale"])


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
