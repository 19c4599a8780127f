"""The shipped JSON Schema says what the types say, and names the field that is wrong."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from made_rows import MALICE, made_row

from cord_distill.common.errors import CordError
from cord_distill.decode.row_schema import FILE, schema_text, validate_row
from cord_distill.types import Trajectory


def test_the_file_is_what_the_types_say() -> None:
    assert FILE.read_text() == schema_text(), "types.py changed: python -m cord_distill.decode.row_schema"


@pytest.mark.parametrize(
    "row",
    [
        made_row(1),
        made_row(2, pipeline="curation", text=MALICE),
        made_row(3, error="engine: gone"),
        Trajectory.from_row(made_row(4)).to_row(),  # tuples and enums, before JSON
    ],
)
def test_whole_rows_pass(row: dict[str, Any]) -> None:
    validate_row(row)


def changed(path: list[Any], value: Any) -> dict[str, Any]:
    row = copy.deepcopy(made_row(1))
    here: Any = row
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = value
    return row


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["score"], 1.2, "score is 1.2: Input should be less than or equal to 1"),
        (["score"], float("nan"), "score is nan: Input should be a finite number"),
        (["score"], -0.1, "score is -0.1: Input should be greater than or equal to 0"),
        (["steps", 2, "score"], float("inf"), "steps[2].score is inf: Input should be a finite number"),
        (["steps", 0, "ids", 1], "7", "steps[0].ids[1] is '7': Input should be a valid integer"),
        (
            ["candidates", 0, 1, "stop"],
            "tired",
            "candidates[0][1].stop is 'tired': Input should be 'step',",
        ),
        (["candidates", 0, 1, "kept"], 1, "candidates[0][1].kept is 1: Input should be a valid boolean"),
        (["num_tokens"], {"reasoning": 1}, "num_tokens has no answer, generated_total, scored_total"),
        (["problem", "answer"], 7, "problem.answer is 7: Input should be a valid string"),
        (["problem", "split"], "train", "problem.split is 'train': Unexpected"),
        (["schema"], 2, "schema is 2: Input should be 1"),
        (["mood"], "good", "mood is 'good': Unexpected"),
    ],
)
def test_a_wrong_field_is_named(path: list[Any], value: Any, said: str) -> None:
    with pytest.raises(CordError) as error:
        validate_row(changed(path, value))
    assert "'p1'" in str(error.value)
    assert said in str(error.value)


def test_a_missing_field_is_named() -> None:
    row = made_row(1)
    del row["steps"][1]["teacher"]
    with pytest.raises(CordError, match=r"steps\[1\].teacher: Field required"):
        validate_row(row)


def test_a_long_text_does_not_fill_the_message() -> None:
    with pytest.raises(CordError) as error:
        validate_row(changed(["correct"], "x" * 10_000))
    assert len(str(error.value)) < 400


def test_what_is_no_row_is_refused() -> None:
    with pytest.raises(CordError, match="Input should be an object"):
        validate_row([])  # type: ignore[arg-type]
