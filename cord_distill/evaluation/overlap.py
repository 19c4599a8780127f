"""No question that was trained on may be evaluated on: the check, and the questions of a run's training sets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from cord_distill.common.errors import CordError
from cord_distill.common.jsonl import own_rows
from cord_distill.types import Problem

SHOWN = 5


def check_disjoint(train: Iterable[Problem], evaluation: Iterable[Problem], suite: str = "evaluation") -> None:
    """Raises CordError naming the ids when a question stands in both. Letter case and blanks do not tell two apart."""
    trained = {_bare(problem.question): problem.id for problem in train}
    asked = [(problem.id, _bare(problem.question)) for problem in evaluation]
    both = [(id, trained[question]) for id, question in asked if question in trained]
    if both:
        named = ", ".join(e if e == t else f"{e} (trained as {t})" for e, t in both[:SHOWN])
        more = f" and {len(both) - SHOWN} more" if len(both) > SHOWN else ""
        raise CordError(
            f"{suite}: {len(both)} problems were trained on: {named}{more}; take them out of the training set "
            "(data.decontaminate: [FILE.jsonl]) or evaluate on others"
        )


def training_questions(train_file: Path) -> Iterator[Problem]:
    """The questions of a data set's train.jsonl (user message of each row); nothing where there is no file."""
    if not train_file.is_file():
        return
    for row in own_rows(train_file):
        yield Problem(str(row["id"]), row["prompt"][-1]["content"], "")


def _bare(question: str) -> str:
    return re.sub(r"\s+", "", question).casefold()
