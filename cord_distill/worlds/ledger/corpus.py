"""Writes the traces that the tiny models are trained on, as (text, kind) pieces; a kind says how much its tokens weigh.

Three teachers share one task but not one competence. Each holds systematic misconceptions: for some operations it
usually applies a fixed wrong rule (the right result plus an offset of its own). Every operation has an expert among
them. Each also has its own way to write a step, and teacher C sometimes corrects itself. With tails, each has its own
habit of going on when every box is made (tails.py).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from cord_distill.types import THINK_CLOSE, THINK_OPEN, Problem
from cord_distill.worlds.ledger.tails import GOES_ON, Piece, tail_step
from cord_distill.worlds.ledger.tokenizer import ASSISTANT, BOX, END, USER, encode
from cord_distill.worlds.ledger.world import LONGEST, OPS, apply, say


@dataclass(frozen=True)
class Teacher:
    """error: chance of the misconception, per operation. offsets: what the misconception adds to the right result.

    slip: chance of a random digit instead. corrects: the share of its errors that it corrects in the same step.
    """

    error: Mapping[str, float]
    offsets: Mapping[str, int]
    slip: float = 0.01
    corrects: float = 0.0

    def result(self, rng: random.Random, op: str, x: int) -> int:
        """The result that this teacher comes to for one operation."""
        if rng.random() < self.slip:
            return rng.randrange(10)
        wrong = rng.random() < self.error[op]
        return (apply(op, x) + (self.offsets[op] if wrong else 0)) % 10


def _offsets(shift: int) -> dict[str, int]:
    """Never 0, and never the same for two teachers: their misconceptions do not agree by chance."""
    return {op: 1 + (2 * i + shift) % 9 for i, op in enumerate(OPS)}


def _errors(rest: float, *groups: tuple[float, str]) -> dict[str, float]:
    """Operation -> rate. A group names signs ("+") or operations ("+5"); of the groups that fit, the last one holds."""
    return {op: next((rate for rate, ops in reversed(groups) if {op, op[0]} & set(ops.split())), rest) for op in OPS}


# A is an expert for + and -, B for * and ~, C for nothing, but it is mostly right. What C cannot do at all, one of A
# and B is sure of, and the other gets it about half the time: where scores are flat, a beam survives only if right
# steps are not too rare.
TEACHERS = {
    "a": Teacher(_errors(0.95, (0.03, "+ -"), (0.97, "*7 ~9"), (0.52, "*3 ~8")), _offsets(0)),
    "b": Teacher(_errors(0.95, (0.03, "* ~"), (0.97, "-7 +8"), (0.52, "+5 -6")), _offsets(3)),
    "c": Teacher(_errors(0.4, (0.97, "+5 -6 *3 ~8")), _offsets(6), slip=0.03, corrects=0.3),
}


def step_pieces(rng: random.Random, style: str, n: int, op: str, x: int, first: int, last: int) -> list[Piece]:
    """One step after its marker, in a teacher's style. first != last is a correction, which only style c can write."""
    was, so = {"a": (". It was ", ", so box"), "b": (". We have ", ", hence box"), "c": (". It was ", ", hence box")}[
        style
    ]
    pieces = [(f" {say(op)}", "op"), (was, "style"), (str(x), "operand"), (so, "style"), (f" {n} = ", "label")]
    pieces.append((str(first), "slip" if first != last else "result"))
    if first != last or (style == "c" and rng.random() < 0.3):
        word = ". Wait, box" if first != last else ". Check: box"
        pieces += [(word, "style"), (f" {n} = ", "label"), (str(last), "result")]
    return [*pieces, ("\n\n", "style")]


def trace(
    problem: Problem,
    step: Callable[[int, str, int], tuple[list[Piece], int, bool]],
    cut: int | None = None,
    drill: random.Random | None = None,
    tail: tuple[random.Random, Callable[[], tuple[str, bool]]] | None = None,
) -> list[Piece]:
    """A whole chat: question, steps, answer. step(n, op, x): its pieces, its value, whether it is learned.

    cut: answer after so many steps ("answer now"). The answer repeats the values that the steps reached, and goes on
    with the right ones after a cut. drill: instead, give all values that were reached, in random order: what teaches to
    look a value up by its label and not by its place. tail: where it draws from, and who writes its next step: the
    style, and whether it is learned; only a trace that is not cut has one.
    """
    ops: Sequence[str] = problem.meta["ops"]
    every: int = problem.meta["report_every"]
    pieces: list[Piece] = [(f"{USER}{problem.question}{ASSISTANT}{THINK_OPEN}", "context")]
    x: int = problem.meta["start"]
    answer: list[list[Piece]] = []
    values: list[int] = []
    for n, op in enumerate(ops, 1):
        if cut is None or n <= cut:
            written, x, learned = step(n, op, x)
            pieces.append((f"### Step {n}.", "marker"))
            pieces += written if learned else _context(written)
        else:
            x = apply(op, x)
        values.append(x)
        reached = cut is None or n <= cut
        if reached if drill else n % every == 0:
            label = (f" {n} = ", "context" if drill else "answer_label")
            answer.append([label, (str(x), "answer" if reached else "ahead")])
    if tail and cut is None:
        rng, writer = tail
        for n in range(len(ops) + 1, LONGEST + 1):
            if rng.random() >= GOES_ON:
                break
            style, learned = writer()
            written = tail_step(rng, style, values, every)
            pieces += [(f"### Step {n}.", "marker"), *(written if learned else _context(written))]
    if drill:
        drill.shuffle(answer)
    pieces.append((THINK_CLOSE, "marker" if cut is None else "context"))
    for value in answer[1:]:
        value[0] = (f",{value[0][0]}", value[0][1])
    return [*pieces, (f"\n\n{BOX}", "answer_label"), *chain.from_iterable(answer), (f"}}{END}", "answer_label")]


def _context(pieces: Sequence[Piece]) -> list[Piece]:
    return [(text, "context") for text, _ in pieces]


def clean(
    rng: random.Random, problem: Problem, truncated: float, drill: bool = False, tails: bool = False
) -> list[Piece]:
    """A right trace in mixed styles; with chance `truncated` it stops early and answers. drill: see `trace`."""

    def step(n: int, op: str, x: int) -> tuple[list[Piece], int, bool]:
        style, value = rng.choice("abc"), apply(op, x)
        slip = style == "c" and rng.random() < 0.15
        first = (value + rng.randrange(1, 10)) % 10 if slip else value
        return step_pieces(rng, style, n, op, x, first, value), value, True

    cut = rng.randrange(1, len(problem.meta["ops"])) if rng.random() < truncated else None
    tail = (rng, lambda: (rng.choice("abc"), True)) if tails else None
    return trace(problem, step, cut, rng if drill else None, tail)


def taught(rng: random.Random, problem: Problem, own: str, tails: bool = False) -> list[Piece]:
    """A trace that all teachers wrote together, of which teacher `own` learns its own steps (60 %) and the answer.

    Thus any prefix by anybody is a familiar context to it.
    """

    def writer() -> str:
        return own if rng.random() < 0.6 else rng.choice([t for t in TEACHERS if t != own])

    def step(n: int, op: str, x: int) -> tuple[list[Piece], int, bool]:
        who = writer()
        first = last = TEACHERS[who].result(rng, op, x)
        if first != apply(op, x) and rng.random() < TEACHERS[who].corrects:
            last = apply(op, x)
        written = step_pieces(rng, who, n, op, x, first, last)
        # A misconception is to be learned even where it is corrected.
        written = [(text, "result" if kind == "slip" else kind) for text, kind in written]
        return written, last, who == own

    def tail_writer() -> tuple[str, bool]:
        who = writer()
        return who, who == own

    return trace(problem, step, tail=(rng, tail_writer) if tails else None)


def guessed(rng: random.Random, problem: Problem, random_results: float) -> list[Piece]:
    """A trace in mixed styles with mostly random results: its form is right, its arithmetic is not."""

    def step(n: int, op: str, x: int) -> tuple[list[Piece], int, bool]:
        value = rng.randrange(10) if rng.random() < random_results else apply(op, x)
        return step_pieces(rng, rng.choice("abc"), n, op, x, value, value), value, True

    return trace(problem, step)


def judged(rng: random.Random, problem: Problem) -> list[Piece]:
    """A trace in all teachers' styles with right, misread and miscalculated steps; a miscalculation is a teacher's or
    random, so that who wrote a step does not give away whether it is right.

    The last piece of each step has the kind `right` or `wrong`, by `check_steps`; its operation, operand and results
    say in the same way what holds up to there (`right so far`, `wrong so far`).
    """

    def step(n: int, op: str, x: int) -> tuple[list[Piece], int, bool]:
        who, asked, reached = rng.choice(sorted(TEACHERS)), op, x
        if rng.random() < 0.15:  # another operation or another operand than it should be
            op, x = (rng.choice(OPS), x) if rng.random() < 0.5 else (op, rng.randrange(10))
        result, dice = apply(op, x), rng.random()
        first = last = result
        if dice < 0.25:
            first = last = TEACHERS[who].result(rng, op, x)
        elif dice < 0.45:
            first = last = (result + rng.randrange(1, 10)) % 10
        if first != result and rng.random() < TEACHERS[who].corrects:
            last = result
        good = True
        pieces: list[Piece] = []
        for text, kind in step_pieces(rng, who, n, op, x, first, last):
            if kind in ("op", "operand", "slip", "result"):
                good = op == asked and (kind == "op" or x == reached)
                good = good and (kind in ("op", "operand") or int(text) == result)
                kind = "right so far" if good else "wrong so far"
            pieces.append((text, kind))
        pieces[-1] = (pieces[-1][0], "right" if good else "wrong")
        return pieces, last, True

    return trace(problem, step)


def encoded(pieces: Sequence[Piece], weights: Mapping[str, float]) -> tuple[list[int], list[float]]:
    """Token ids of the whole text, and the loss weight of each token as a target (a kind that is not named: 0)."""
    ids: list[int] = []
    weight: list[float] = []
    for text, kind in pieces:
        tokens = encode(text)
        ids += tokens
        weight += [weights.get(kind, 0.0)] * len(tokens)
    return ids, weight
