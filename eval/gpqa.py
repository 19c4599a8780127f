"""GPQA-diamond: four choices in an order that is a hash of the question, so that no run sees another one.

lighteval's own task draws the place of the right answer from the global random stream. The hub's data set is gated
(accept its terms there first), and asks not to be printed in plain text: nothing of it is kept here.
"""

import hashlib
import re

from cord_distill.evaluation.task_file import Hub, Row, Suite, tasks_table
from cord_distill.grading.extract import after_thought, answer_of
from cord_distill.types import Problem

LETTERS = "ABCD"
CHOICE_COLUMNS = ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
# A, (B), C) its text, \\text{D}; not "A neutron".
LETTER = re.compile(
    r"(?:\\(?:text\w*|mathrm|mathbf)\s*\{\s*)?(?i:(?:option|choice)\s+)?\(?\s*([A-D])(?=\s*(?:$|[).:,}\]]))"
)
# Said as the choice, never only named: "the correct option is (D)", "Answer: D", "Option D is correct".
SAID = re.compile(
    r"(?i:\b(?:correct|right|best)\s+(?:option|choice|answer)\s+is|\banswer(?:\s+is|\s*:))"
    r"[\s*_(:]*(?i:(?:option|choice)\s+)?[\s*(]*([A-D])(?=\s*(?:$|[).:,;*\n]))"
    r"|(?i:\b(?:option|choice))\s+\(?([A-D])\)?\s+is\s+(?:the\s+)?(?:correct|right)\b",
)
PROMPT = """{question}

{choices}

Choose one of the four. Put its letter (A, B, C or D) within \\boxed{{}}."""


def read(row: Row) -> list[Problem]:
    """Columns as on the hub: Question, Correct Answer, Incorrect Answer 1 to 3, Record ID."""
    texts = [row["Question"], *(row[column] for column in CHOICE_COLUMNS)]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError("the question or one of the four choices is empty or no text")
    question, right = row["Question"].strip(), row["Correct Answer"].strip()
    choices = sorted((row[column].strip() for column in CHOICE_COLUMNS), key=lambda text: order(question, text))
    if len(set(choices)) < len(choices):
        raise ValueError("two choices are the same text")
    listed = "\n".join(f"{letter}) {text}" for letter, text in zip(LETTERS, choices, strict=True))
    asked = PROMPT.format(question=question, choices=listed)
    letter = LETTERS[choices.index(right)]
    return [Problem(str(row["Record ID"]), asked, letter, {"choices": choices})]


def order(question: str, choice: str) -> str:
    return hashlib.sha256(f"{question}\0{choice}".encode()).hexdigest()


def grade(text: str, problem: Problem) -> tuple[str | None, bool]:
    """A letter, alone or in front of its choice, or the choice word for word; else the last letter said to be it."""
    said = (answer_of(text) or "").strip()
    letter = _letter(said, problem.meta["choices"]) or _said_letter(after_thought(text))
    return letter, letter == problem.answer


def _letter(said: str, choices: list[str]) -> str | None:
    if said in choices:
        return LETTERS[choices.index(said)]
    match = LETTER.match(said)
    return match[1] if match else None


def _said_letter(spoken: str) -> str | None:
    alone = LETTER.fullmatch(spoken.strip().strip("*_."))
    found = [first or second for first, second in SAID.findall(spoken)]
    return alone[1] if alone else found[-1] if found else None


SUITES = {
    "gpqa_diamond": Suite(
        "gpqa_diamond",
        grader=grade,
        read=read,
        instruct=False,
        # The hub's columns are read off the data set's card; not run here.
        hub=Hub("Idavidrein/gpqa", subset="gpqa_diamond", split="train"),
    )
}

__getattr__ = tasks_table(SUITES)
