"""Trains each tiny model: the base from scratch, every other one from the base."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cord_distill.types import Problem
from cord_distill.worlds.ledger.corpus import Piece, clean, encoded, guessed, judged, taught
from cord_distill.worlds.ledger.net import SHAPES, SHAPES_WITH_TAILS, initial, logits, rewards, with_head
from cord_distill.worlds.ledger.optimizer import Optimizer, schedule
from cord_distill.worlds.ledger.plan import BASE, REWARD, SIZES, Plan
from cord_distill.worlds.ledger.world import draw

# Loss weights. The few tokens that hold a computation or a look-up weigh more. What is a coin toss weighs less:
# wording, and the values in an early answer that no step has reached yet ("ahead").
_EVEN = dict.fromkeys(("marker", "op", "operand", "label", "result", "answer", "answer_label"), 1.0)
_EVEN |= {"style": 0.3, "ahead": 0.2}
_HARD = _EVEN | {"marker": 0.3, "style": 0.3, "label": 0.3, "result": 4.0, "answer": 4.0, "answer_label": 0.3}
_TEACHER = _HARD | {"style": 1.0}
# Of a reward model: positive where the reward should be high, negative where low. What is read is the step's end; its
# tokens before that (see `judged`) show which one is at fault, without which training finds no way in.
_SIGNS = {"right": 3.0, "wrong": -3.0, "right so far": 1.0, "wrong so far": -1.0}
_ANSWER_ONLY = {"answer": 3.0, "ahead": 0.5, "answer_label": 0.2}

Make = Callable[[random.Random, Problem], list[Piece]]


@dataclass(frozen=True)
class Phase:
    """streams: independent parts of every batch, whose gradients are averaged; two processes can then take one each,
    and one process that takes both gets the same weights to the last bit. rewards: what is trained is not the next
    token but the reward, by the weights' signs."""

    make: Make
    weights: Mapping[str, float]
    lr_muon: float = 0.01
    lr_adam: float = 1.5e-3
    streams: int = 1
    rewards: bool = False


def phases(name: str, tails: bool) -> list[Phase]:
    """The training of one model: `.base`, `teacher_a`, `teacher_b`, `teacher_c`, `prover`, `student`, `reward`."""
    if name == BASE:
        return [
            Phase(lambda r, p: clean(r, p, 0.3, True, tails), _EVEN, 0.03, 4e-3, streams=2),
            Phase(lambda r, p: clean(r, p, 0.5, tails=tails), _HARD, 0.02, 3e-3, streams=2),
        ]
    if name == "prover":
        return [Phase(lambda r, p: clean(r, p, 0.85, tails=tails), _ANSWER_ONLY, 0.02, 3e-3)]
    if name == "student":
        return [Phase(lambda r, p: guessed(r, p, 0.9), _EVEN | {"style": 1.0}, 0.009, 1.4e-3)]
    if name == REWARD:
        return [Phase(judged, _SIGNS, 0.02, 5e-3, rewards=True)]
    return [Phase(lambda r, p: taught(r, p, name.removeprefix("teacher_"), tails), _TEACHER)]


def train(
    name: str,
    start: Tensor | None,
    plan: Plan,
    report: Callable[[int], None],
    peer: Connection | None = None,
    rank: int = 0,
) -> Tensor:
    """The flat weights of one model after its training, from `start` (None: a fresh initialisation).

    report(n) is called with the examples done since the last call. peer: the other of two processes that train this
    model together; rank: which of the two this is. One thread; the same plan gives the same bytes on one machine.
    """
    shapes = SHAPES_WITH_TAILS if plan.tails else SHAPES
    first = initial(plan.seed, shapes) if start is None else start.clone()
    stages = phases(name, plan.tails)
    if stages[0].rewards:
        texts_BT, _ = next(_batches(f"{plan.seed} {name}", 0, stages[0], 32))
        first = with_head(first, texts_BT, plan.seed)
    flat = first.requires_grad_()
    for index, (phase, steps, (_, batch)) in enumerate(zip(stages, plan.steps(name), SIZES[name], strict=True)):
        mine = [rank] if peer else list(range(phase.streams))
        key = f"{plan.seed} {name} {index}"
        batches = [_batches(key, part, phase, batch // phase.streams) for part in mine]
        optimizer = Optimizer(flat, phase.lr_muon, phase.lr_adam)
        of_batch = _reward_gradient if phase.rewards else _gradient
        for step in range(steps):
            gradient = of_batch(flat, *next(batches[0]))
            for other in batches[1:]:
                gradient = gradient + of_batch(flat, *next(other))
            if peer:
                gradient = _summed(gradient, peer, rank)
            optimizer.step(gradient / phase.streams, schedule(step, steps))
            report(0 if rank else batch)
    return flat.detach()


def _batches(key: str, part: int, phase: Phase, size: int) -> Iterator[tuple[Tensor, ...]]:
    """Endless (ids_BT, weights_BT), B = size. Traces of like length share a batch: sorted within pools of eight, whose
    order is shuffled alike for all parts, so that two processes wait little for each other."""
    pool = 8
    rng, order = random.Random(f"{key} {part}"), random.Random(key)
    problems = draw(rng, "model")
    while True:
        rows = [encoded(phase.make(rng, next(problems)), phase.weights) for _ in range(pool * size)]
        rows.sort(key=lambda row: len(row[0]))
        for i in order.sample(range(pool), pool):
            yield _padded(rows[i * size : (i + 1) * size])


def _padded(rows: Sequence[tuple[list[Any], ...]]) -> tuple[Tensor, ...]:
    width = max(len(row[0]) for row in rows)
    columns = zip(*rows, strict=True)
    return tuple(torch.tensor([values + [0] * (width - len(values)) for values in column]) for column in columns)


def _gradient(flat: Tensor, ids_BT: Tensor, weights_BT: Tensor) -> Tensor:
    """Of the weighted mean cross-entropy."""
    losses = F.cross_entropy(logits(flat, ids_BT[:, :-1]).flatten(0, 1), ids_BT[:, 1:].flatten(), reduction="none")
    weights = weights_BT[:, 1:].flatten()
    (gradient,) = torch.autograd.grad((losses * weights).sum() / weights.sum(), flat)
    return gradient


def _reward_gradient(flat: Tensor, ids_BT: Tensor, signs_BT: Tensor) -> Tensor:
    """Of the weighted mean binary cross-entropy of the rewards."""
    losses = F.binary_cross_entropy_with_logits(rewards(flat, ids_BT), (signs_BT > 0).float(), reduction="none")
    (gradient,) = torch.autograd.grad((losses * signs_BT.abs()).sum() / signs_BT.abs().sum(), flat)
    return gradient


def _summed(gradient: Tensor, peer: Connection, rank: int) -> Tensor:
    """Part 0 + part 1, the same bits in both processes. A peer that died raises EOFError or OSError at once."""
    other = torch.empty_like(gradient)
    if rank == 0:
        peer.recv_bytes_into(memoryview(other.numpy()).cast("B"))
        other = gradient + other
        peer.send_bytes(memoryview(other.numpy()).cast("B"))
    else:
        peer.send_bytes(memoryview(gradient.numpy()).cast("B"))
        peer.recv_bytes_into(memoryview(other.numpy()).cast("B"))
    return other
