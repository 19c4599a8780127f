"""Problems of the ledger world, and what is right or wrong about an answer or a step. Standard library only.

A problem is a row of boxes with one digit each. Box 0 is given; every other box says how to make its digit of the one
before, and only last digits are kept. Four kinds of operation: add, subtract, multiply, and flip (a number minus the
digit). The answer is what some of the boxes hold:

    question  Keep only last digits: 7 + 5 = 2, 2 - 5 = 7. Box 0 = 6. Box 1: Flip to 8 minus it. Box 2: Add 8.
              Box 3: Subtract 6. Box 4: Flip to 8 minus it. Box 5: Multiply by 3. Box 6: Multiply by 7.
              What is in boxes 2, 4, 6?
    step      ### Step 2. Add 8. It was 2, so box 2 = 0
    answer     2 = 0, 4 = 4, 6 = 4

In the world with tails (`build_models(tails=True)`) teachers go on when every box is made, and only say boxes again:

    check       ### Step 7. Check again: box 6 = 4
    correction  ### Step 8. Hold on: box 6 = 9. Wait, box 6 = 4
    summary     ### Step 9. In sum: box 2 = 0, box 4 = 4, box 6 = 4

In code an operation is two characters: `+8`, `-6`, `*3`, `~8`. Each can be undone, so that a wrong step never heals by
itself.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.types import THINK_CLOSE, Problem

OPERATIONS = {"+": (2, 3, 5, 8), "-": (1, 4, 6, 7), "*": (3, 7, 9), "~": (5, 8, 9)}
OPS = tuple(f"{sign}{k}" for sign, ks in OPERATIONS.items() for k in ks)
RULE = "Keep only last digits: 7 + 5 = 2, 2 - 5 = 7. Box"
PHRASES = {"+": "Add {k}", "-": "Subtract {k}", "*": "Multiply by {k}", "~": "Flip to {k} minus it"}
LENGTH, REPORT_EVERY = 6, 2  # operations of a problem; of how many boxes one is asked for
LONGEST = 9  # steps of a trace: their numbers are one digit
# Shares of the questions, in percent. `model` is what the tiny models are trained on.
SPLITS = {"model": range(0, 60), "train": range(60, 80), "test": range(80, 100)}

_SAID = {phrase.format(k=k): f"{sign}{k}" for sign, phrase in PHRASES.items() for k in range(10)}
_STEP = re.compile(
    rf"### Step (?P<n>\d+)\. (?P<op>{'|'.join(_SAID)})\. (?:It was|We have) (?P<operand>\d), (?:so|hence)"
    r" box (?P=n) = (?P<first>\d)(?P<again>(?:\. (?:Wait,|Check:) box (?P=n) = \d)*)\s*"
)
_AGAIN = re.compile(
    r"### Step (?P<n>\d)\. (?:Check again: box \d = \d|Hold on: box \d = \d\. Wait, box \d = \d"
    r"|In sum: box \d = \d(?:, box \d = \d)*)\s*"
)
_SAYS = re.compile(r"box (\d) = (\d)")
_BOX = re.compile(r"\\boxed\{([^{}]*)\}")


def apply(op: str, x: int) -> int:
    """The digit after one operation, e.g. apply("~8", 6) == 2."""
    k = int(op[1])
    return {"+": x + k, "-": x - k, "*": x * k, "~": k - x}[op[0]] % 10


def say(op: str) -> str:
    """The operation in words, e.g. say("~8") == "Flip to 8 minus it"."""
    return PHRASES[op[0]].format(k=op[1])


def step_text(n: int, op: str, operand: int, value: int) -> str:
    """One step as teacher A words it."""
    return f"### Step {n}. {say(op)}. It was {operand}, so box {n} = {value}"


def split_of(question: str) -> str:
    """The split that owns this question: a hash of its text, so that splits never overlap, whatever n and seed."""
    bucket = int.from_bytes(hashlib.sha256(question.encode()).digest()[:8], "big") % 100
    return next(name for name, buckets in SPLITS.items() if bucket in buckets)


def make_problem(id: str, start: int, ops: Sequence[str], report_every: int = REPORT_EVERY) -> Problem:
    """The problem with its true answer. `meta` holds start, ops and report_every: what graders need."""
    asked = [str(n) for n in range(report_every, len(ops) + 1, report_every)]
    boxes = "".join(f". Box {n}: {say(op)}" for n, op in enumerate(ops, 1))
    question = f"{RULE} 0 = {start}{boxes}. What is in box{'es' if len(asked) > 1 else ''} {', '.join(asked)}?"
    meta = {"start": start, "ops": list(ops), "report_every": report_every}
    values = true_values(start, ops)
    return Problem(id, question, report(values, report_every), meta)


def true_values(start: int, ops: Sequence[str]) -> list[int]:
    """The value after each operation."""
    values, x = [], start
    for op in ops:
        values.append(x := apply(op, x))
    return values


def report(values: Sequence[int], report_every: int) -> str:
    """The answer text: what every `report_every`-th box holds; it starts with a blank, like every number in a text."""
    return ",".join(f" {n} = {x}" for n, x in enumerate(values, 1) if n % report_every == 0)


def draw(rng: random.Random, split: str) -> Iterator[Problem]:
    """Endless problems of one split; the kind of operation is uniform. A question may come twice."""
    signs = tuple(OPERATIONS)
    while True:
        ops = [sign + str(rng.choice(OPERATIONS[sign])) for sign in rng.choices(signs, k=LENGTH)]
        problem = make_problem("", rng.randrange(10), ops)
        if split_of(problem.question) == split:
            yield problem


def problems(n: int, split: str = "train", seed: int = 0) -> list[Problem]:
    """`n` different problems of a split. More of them with the same seed start with the same ones.

    Raises CordError on an unknown split.
    """
    if split not in SPLITS:
        raise CordError(f"ledger: split {split!r} is none of {', '.join(SPLITS)}")
    mark = f"{split}-" if seed == 0 else f"{split}-s{seed}-"
    stream = draw(random.Random(f"ledger {split} {seed} {LENGTH}"), split)
    found: dict[str, Problem] = {}
    while len(found) < n:
        problem = next(stream)
        found.setdefault(problem.question, problem)
    return [Problem(f"ledger-{mark}{i:04d}", p.question, p.answer, p.meta) for i, p in enumerate(found.values())]


def grade(text: str, problem: Problem) -> tuple[str | None, bool]:
    """The boxed answer of a whole completion (the text after `<think>\\n`), and whether it is right.

    Only what stands after `</think>` counts; of several boxes, the last. No box, or no `</think>`: (None, False).
    """
    boxes = _BOX.findall(text.partition(THINK_CLOSE)[2])
    return (boxes[-1], boxes[-1].split() == problem.answer.split()) if boxes else (None, False)


def check_steps(problem: Problem, step_texts: Sequence[str]) -> dict[str, Any]:
    """Whether each step is right, given the step before it.

    A step is right when it has the next number, that number's operation, the value that the step before it reached as
    its operand, and the right result; of a corrected one ("box 1 = 4. Wait, box 1 = 2") the last counts. A slip is thus
    counted once, where it happens. After an unreadable step the true value is expected. Behind the last box a step is
    right when all it says of boxes is what the steps before have reached; it is needless then, for it changes nothing.

    Returns {"steps_right": one bool per given step, "all_right": bool, "needless": one bool per given step}; all_right
    needs every box to be there.
    """
    ops: list[str] = problem.meta["ops"]
    truth = true_values(problem.meta["start"], ops)
    right: list[bool] = []
    reached = {0: problem.meta["start"]}
    for n, text in enumerate(step_texts, 1):
        if n > len(ops):
            again = read_again(text)
            right.append(again is not None and again[0] == n and again[1].items() <= reached.items())
            continue
        step, before = read_step(text), reached[n - 1]
        right.append(step == (n, ops[n - 1], before, apply(ops[n - 1], before)))
        reached[n] = step[3] if step else truth[n - 1]
    needless = [good and n > len(ops) for n, good in enumerate(right, 1)]
    return {"steps_right": right, "all_right": all(right) and len(right) >= len(ops), "needless": needless}


def steps_are_right(problem: Problem, step_texts: Sequence[str]) -> bool:
    """Whether every step so far is right: a step filter for the search."""
    return all(check_steps(problem, step_texts)["steps_right"])


def check_text(problem: Problem, text: str) -> dict[str, Any]:
    """`check_steps` for a whole completion (the text after `<think>\\n`), split at markers; missing steps are wrong."""
    reasoning = text.partition(THINK_CLOSE)[0]
    preamble, *steps = re.split(r"(?=### Step )", reasoning)
    if preamble:  # it belongs to step 1, and makes it wrong
        steps[:1] = [preamble + "".join(steps[:1])]
    found = check_steps(problem, steps)
    missing = [False] * (len(problem.meta["ops"]) - len(steps))
    return {**found, **{key: found[key] + missing for key in ("steps_right", "needless")}}


def state_key(problem: Problem, step_texts: Sequence[str]) -> tuple[int, int] | None:
    """What two prefixes share when they have reached the same state: (steps so far, value); None if unreadable.

    A step that only says boxes again leaves the value as it was.
    """
    made = next((text for text in reversed(step_texts) if not read_again(text)), "")
    step = read_step(made)
    return (len(step_texts), step[3]) if step else None


def read_again(text: str) -> tuple[int, dict[int, int]] | None:
    """(number, what it says of each box at last) of a step that makes no box and only says some again, or None."""
    match = _AGAIN.fullmatch(text.partition(THINK_CLOSE)[0])
    return (int(match["n"]), {int(box): int(x) for box, x in _SAYS.findall(match[0])}) if match else None


def read_step(text: str) -> tuple[int, str, int, int] | None:
    """(number, operation, operand, last stated value) of one step's text, or None."""
    match = _STEP.fullmatch(text.partition(THINK_CLOSE)[0])
    if not match:
        return None
    value = (match["again"] or match["first"])[-1]
    return int(match["n"]), _SAID[match["op"]], int(match["operand"]), int(value)
