"""`data.rows_per_problem`: the further traces of a problem that was decoded anyway, as trajectories of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from cord_distill.data.beam_tree import columns
from cord_distill.data.rows import any_number
from cord_distill.types import THINK_CLOSE, Candidate, Problem, Step, Stop, Trajectory

# As a grader of cord_distill.grading, which lies in a higher row: whoever builds the data set hands it in.
Grade = Callable[[str, Problem], tuple[str | None, bool | None]]
# Two traces are near-equal from this share of equal steps on (Jaccard over their sets of steps).
NEAR_EQUAL = 0.8
# S from which the winner's answer may stand behind another beam: the thought makes it more likely than not.
CERTAIN = 0.5


def more_traces(trajectory: Trajectory, grade: Grade | None, marker: re.Pattern[str]) -> Iterator[Trajectory]:
    """The traces of one problem besides its own, best first, near-equal ones too.

    Of CoRD the beams that were alive at the end: nobody asked them for an answer, so each takes the winner's, and only
    where that one is right and the beam's own S is above `CERTAIN`. Of Curation its other complete traces, graded.
    """
    if trajectory.error is not None or not trajectory.candidates:
        return
    if trajectory.pipeline == "curation":
        found = [_whole(trajectory, one, grade, marker) for one in trajectory.candidates[0] if not one.kept]
    elif trajectory.pipeline == "cord" and trajectory.correct:
        own = "".join(step.text for step in trajectory.steps)
        beams = [node for node in columns(trajectory)[-1] if node.candidate.kept]
        found = [_beam(trajectory, node.steps()) for node in beams if (node.candidate.score or 0.0) > CERTAIN]
        found = [one for one in found if one.reasoning != own]
    else:
        return
    for number, one in enumerate(found, start=2):
        yield replace(one, id=f"{trajectory.id}#{number}", candidates=(), checks={})


def _beam(trajectory: Trajectory, steps: tuple[Step, ...]) -> Trajectory:
    last = steps[-1]
    stop = last.stop if last.stop is not Stop.STEP else Stop.LENGTH
    text = last.text if last.text.endswith(THINK_CLOSE) else last.text + THINK_CLOSE
    made = (*steps[:-1], replace(last, text=text))
    return replace(trajectory, steps=made, score=last.score, stop=stop, num_tokens={})


def _whole(trajectory: Trajectory, one: Candidate, grade: Grade | None, marker: re.Pattern[str]) -> Trajectory:
    thought, close, answer = one.text.partition(THINK_CLOSE)
    prediction, correct = grade(one.text, trajectory.problem) if grade else (None, None)
    pieces = cut_at(thought + close, marker)
    scores = [None] * (len(pieces) - 1) + [one.score]
    steps = tuple(
        Step(n, one.teacher, text, (), 0, score, one.stop if n == len(pieces) else Stop.STEP)
        for n, (text, score) in enumerate(zip(pieces, scores, strict=True), start=1)
    )
    return replace(
        trajectory, steps=steps, final_answer_text=answer, prediction=prediction, correct=correct, score=one.score,
        stop=one.stop, num_tokens={},
    )  # fmt: skip


def cut_at(text: str, marker: re.Pattern[str]) -> list[str]:
    """`text` cut before every line that begins with a step marker; all of it where there is none."""
    starts = [0, *(match.start() for match in marker.finditer(text) if match.start())]
    return [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]


def near_equal(a: Trajectory, b: Trajectory, marker: re.Pattern[str]) -> bool:
    """Whether two traces share nearly all their steps, whatever their numbers and blanks."""
    ours, theirs = _plain_steps(a, marker), _plain_steps(b, marker)
    return len(ours & theirs) >= NEAR_EQUAL * len(ours | theirs)


def _plain_steps(trajectory: Trajectory, marker: re.Pattern[str]) -> frozenset[str]:
    thought = trajectory.reasoning.removesuffix(THINK_CLOSE)
    pieces = [
        part for piece in cut_at(thought, marker) for part in re.split(r"\n\s*\n", marker.sub("", piece, count=1))
    ]
    return frozenset(" ".join(piece.split()).casefold() for piece in pieces if piece.strip())


def marker_lines(step_marker: str) -> re.Pattern[str]:
    """Matches the marker (`### Step {t}.`) wherever a line begins with it."""
    return re.compile(r"(?m)^[ \t]*" + any_number(step_marker))
