import pytest
from hypothesis import given
from hypothesis import strategies as st

from cord_distill.search.segment import StepMarker
from cord_distill.types import Step, Stop

MARKER = StepMarker("### Step {t}.")


def step(text: str, stop: Stop = Stop.STEP) -> Step:
    return Step(1, "t", text, (), 1, None, stop)


def test_the_first_marker_and_the_next_are_ours():
    assert MARKER.opening(()) == "### Step 1."
    assert MARKER.opening((step("### Step 1. a\n"), step("### Step 2. b\n"))) == "### Step 3."
    assert MARKER.stop == "### Step"


def test_a_step_cut_by_length_is_continued_without_a_marker_and_counts_once():
    cut = (step("### Step 1. a\n"), step("### Step 2. half a sen", Stop.LENGTH))
    assert MARKER.opening(cut) == ""
    assert MARKER.opening((*cut, step("tence\n"))) == "### Step 3."


def test_a_marker_in_the_middle_of_a_line_is_text():
    """Fails the version that cuts at every `### Step`, where 'see ### Step 2' ends a step."""
    assert MARKER.at_line_start("### Step 1. done\n\n")
    assert MARKER.at_line_start("### Step 1. done\n  ")
    assert not MARKER.at_line_start("as in ")
    trace = "### Step 1. as in ### Step 2 below\n### Step 2. b\n"
    assert MARKER.split(trace) == ["### Step 1. as in ### Step 2 below\n", "### Step 2. b\n"]


@pytest.mark.parametrize("heading", ["### Step 2.", "#### Step 2.", "###### Step 2."])
def test_a_deeper_heading_at_the_start_of_a_line_begins_a_step(heading):
    """Fails the version that looks for `### Step` alone: the `#` before it makes it text in the middle of a line."""
    trace = f"### Step 1. a\n\n{heading} b\n"
    assert MARKER.split(trace) == ["### Step 1. a\n\n", f"{heading} b\n"]
    assert MARKER.end("### Step 1. a\n\n" + heading.partition("### Step")[0], "### Step") == len("### Step 1. a\n\n")
    assert MARKER.end("### Step 1. C#", "### Step") is None


def test_hashes_before_a_marker_that_is_no_heading_are_text():
    """Fails the version that takes every `#` before a marker for a part of it."""
    assert StepMarker("Step {t}:").end("so it is #", "Step") is None
    assert StepMarker("Step {t}:").end("a\n", "Step") == 2


def test_split_of_a_trace_without_markers_is_the_trace():
    assert MARKER.split("no steps at all") == ["no steps at all"]
    assert MARKER.split("") == []


def test_what_a_step_says_is_what_is_left_without_marker_and_closing():
    assert MARKER.said("### Step 12. so 3\n\n</think>") == "so 3"
    assert MARKER.said("### Step 3.\n\n") == ""
    assert MARKER.said("</think>") == ""


@given(
    st.lists(st.sampled_from(["### Step", " 1.", "\n", "a", "```py\n### Step 3\n```", "</think>", "é"]), max_size=12)
)
def test_the_pieces_of_a_split_join_to_the_trace(parts):
    trace = "".join(parts)
    assert "".join(MARKER.split(trace)) == trace
