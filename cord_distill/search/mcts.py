"""Monte Carlo tree search over steps, as plain synchronous code that knows no engine: UCB1 selection, full rollouts.

A node is a prefix, a choice at it a (teacher, sample), a reward the score of a finished trace. Each rollout starts at
the root. Where every choice has been tried, it follows the best upper confidence bound; elsewhere it draws an untried
one, and goes on so to the end of the trace: the first draw is the expansion, the others are the rollout. All of it
stays in the tree, since a choice at a prefix has one answer (its seed is its name) and asking twice would find nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial

from cord_distill.search.beam import Ask, Proposal
from cord_distill.search.seeds import keyed_seed
from cord_distill.search.select import TIE_DIGITS, order_key
from cord_distill.types import Beam, Candidate, Stop

Choice = tuple[int, int]


@dataclass(slots=True, eq=False)
class Node:
    """A prefix in the tree. visits: rollouts through it; total: the sum of their rewards. closed: a rollout through it
    can find nothing new."""

    path: tuple[Choice, ...]
    beam: Beam
    parent: Node | None = None
    proposal: Proposal | None = None
    visits: int = 0
    total: float = 0.0
    closed: bool = False
    children: dict[Choice, Node] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """Mean reward of the rollouts through it."""
        return self.total / self.visits if self.visits else 0.0


def upper_confidence_bound(node: Node, parent_visits: int, exploration: float) -> float:
    """UCB1 (Auer et al. 2002; UCT, Kocsis and Szepesvári 2006): mean reward + c * sqrt(ln N / n)."""
    return node.value + exploration * math.sqrt(math.log(parent_visits) / node.visits)


class TreeSearch:
    """State of one problem's search: `expand()` what to get, `absorb()` what came, until `done`.

    num_teachers: K. rollouts: traces to finish at most, those that end in silence included (reward 0). exploration: c
    of UCB1. proposals_per_teacher: samples per teacher and prefix. seed: decides the order in which choices are drawn.

    One rollout follows the other, as each choice needs the rewards before it: at most one proposal is open at a time.
    The search ends early when there is nothing left to find.
    """

    def __init__(
        self, *, num_teachers: int, rollouts: int, exploration: float, proposals_per_teacher: int = 1, seed: int = 0
    ) -> None:
        self.rollouts = rollouts
        self.exploration = exploration
        self.seed = seed
        self.root = Node((), Beam())
        self.finished: list[Node] = []
        self.done = False
        self._choices = [(t, s) for t in range(num_teachers) for s in range(proposals_per_teacher)]
        self._here = self.root
        self._open: Ask | None = None
        self._asks: list[Ask] = []
        self._descend()

    def expand(self) -> list[Ask]:
        """The proposal to get next, if it was not handed out before."""
        asks, self._asks = self._asks, []
        return asks

    def absorb(self, ask: Ask, proposal: Proposal) -> None:
        """Takes the answer. A proposal that ends the trace carries its reward, in [0, 1], as the step's score.

        Raises KeyError for an ask that is not open, ValueError for a finished trace without a score.
        """
        if ask != self._open:
            raise KeyError((ask.path, ask.teacher, ask.sample))
        finished = proposal.usable and proposal.ends is not None
        if finished and proposal.step.score is None:
            raise ValueError("a finished trace without a score: nothing to learn from")
        self._open = None
        choice = (ask.teacher, ask.sample)
        beam = Beam((*ask.beam.steps, proposal.step), proposal.ends)
        child = Node((*ask.path, choice), beam, self._here, proposal, closed=not proposal.usable)
        self._here.children[choice] = child
        if proposal.usable:
            self._here = child
        if finished:
            self.finished.append(child)
            self._end_rollout(proposal.step.score or 0.0)
        self._descend()

    @property
    def best(self) -> Beam:
        """The finished trace of the highest score, of equal ones the first found; an ABORT where none was finished."""
        if not self.finished:
            return Beam((), Stop.ABORT)
        return min(self.finished, key=lambda node: -round(node.beam.score or 0.0, TIE_DIGITS)).beam

    def candidates(self) -> tuple[tuple[Candidate, ...], ...]:
        """Per depth every proposal, best first. score: mean reward of the rollouts through it. kept: all usable ones.

        `parent`: the parent's place among the kept of the depth before.
        """
        rows = []
        level = [self.root]
        while found := [(place, node) for place, parent in enumerate(level) for node in parent.children.values()]:
            found.sort(key=lambda pair: (not _usable(pair[1]), order_key(pair[1].value, (pair[0],), *pair[1].path[-1])))
            rows.append(tuple(_record(place, node) for place, node in found))
            level = [node for _, node in found if _usable(node)]
        return tuple(rows)

    def _descend(self) -> None:
        """From the prefix of the current rollout to the next proposal to ask for, or to the end of the search."""
        while not self.done:
            here = self._here
            untried = [choice for choice in self._choices if choice not in here.children]
            if untried:
                teacher, sample = min(untried, key=lambda choice: keyed_seed(self.seed, here.path, choice))
                self._open = Ask(len(here.path) + 1, here.path, teacher, sample, here.beam)
                self._asks.append(self._open)
                return
            inner = [child for child in here.children.values() if not child.closed]
            bound = partial(upper_confidence_bound, parent_visits=here.visits, exploration=self.exploration)
            if inner:
                self._here = min(inner, key=lambda child: order_key(bound(child), (), *child.path[-1]))
            else:
                self._end_rollout(0.0)

    def _end_rollout(self, reward: float) -> None:
        node: Node | None = self._here
        while node is not None:
            node.visits += 1
            node.total += reward
            node.closed = not node.beam.live or (
                len(node.children) == len(self._choices) and all(child.closed for child in node.children.values())
            )
            node = node.parent
        self._here = self.root
        self.done = self.root.closed or self.root.visits >= self.rollouts


def _usable(node: Node) -> bool:
    return node.proposal is None or node.proposal.usable


def _record(place: int, node: Node) -> Candidate:
    assert node.proposal is not None
    step, usable = node.proposal.step, node.proposal.usable
    return Candidate(
        parent=place,
        teacher=step.teacher,
        sample=node.path[-1][1],
        text=step.text,
        score=node.value if usable else None,
        kept=usable,
        stop=step.stop,
        error=node.proposal.error,
    )
