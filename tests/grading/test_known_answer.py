"""The known answer of a row: GSM8K's `#### 18` by itself, anything else by a pattern of the user's."""

import pytest

from cord_distill.common.errors import CordError
from cord_distill.grading.known_answer import known_answer


def read(value: object, pattern: str | None = None) -> str:
    return known_answer(
        value, where="q.jsonl, row 3", what="the answer", key="problems.answer_pattern", pattern=pattern
    )


@pytest.mark.parametrize(
    ("value", "known"),
    [
        ("She makes 9 * 2 = $<<9*2=18>>18.\n#### 18", "18"),
        ("...\n#### 70,000", "70000"),
        ("...\n####  $1,234.50 \n", "$1234.50"),
        ("...\n#### -3", "-3"),
        ("...\n#### 20%", "20%"),
        ("#### 5", "5"),
        # None of these is GSM8K's last line.
        ("#### 2. Then\nit is 7", "#### 2. Then\nit is 7"),
        ("...\n#### Conclusion", "...\n#### Conclusion"),
        ("so #### 18", "so #### 18"),
        ("...\n##### 18", "...\n##### 18"),
        ("1,2", "1,2"),
        ("(1,234)", "(1,234)"),
        (7, "7"),
        (0.5, "0.5"),
    ],
)
def test_the_number_of_a_last_line_of_hashes_is_the_answer_of_a_solution(value, known):
    """Fails the version that takes the whole solution: every answer would be wrong, for ever, and nothing said."""
    assert read(value) == known


@pytest.mark.parametrize(
    ("value", "pattern", "known"),
    [
        ("The answer is: 12.", r"answer is: (\d+)", "12"),
        ("A: 1\nA: 2 ", r"A: (.+)", "2"),
        ("x\n#### 70,000", "#### (.+)", "70,000"),
        ("\\boxed{a}\nno", r"\\boxed\{(.*?)\}", "a"),
    ],
)
def test_what_the_pattern_finds_last_is_the_answer_as_it_stands(value, pattern, known):
    """Fails the version that takes the first match, and the one that rewrites what a pattern found."""
    assert read(value, pattern) == known


def test_a_row_that_the_pattern_does_not_match_is_refused_by_its_number():
    """Fails the version that falls back to the whole text, and the one that takes an empty group for an answer."""
    for value in ("no number here", "#### "):
        with pytest.raises(
            CordError, match=r"q\.jsonl, row 3: problems\.answer_pattern '#### \(\.\*\)' finds nothing in"
        ):
            read(value, "#### (.*)")


@pytest.mark.parametrize("value", [None, True, float("nan"), "None", " ", [2, 3], {"a": 1}])
def test_what_is_no_answer_is_refused(value):
    with pytest.raises(CordError, match=r"row 3: the answer is .*must be a text or a number"):
        read(value)
