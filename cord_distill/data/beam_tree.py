"""The beam tree of one CoRD trajectory as nodes: which prefix each proposal continues, and what became of it.

Read by all that uses more than the winner: further rows, preference pairs, step values.
"""

from __future__ import annotations

from dataclasses import dataclass

from cord_distill.types import Candidate, Step, Trajectory


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One candidate. parent: the kept candidate that it continues, None at the first step. step: its column, from 1."""

    candidate: Candidate
    parent: Node | None
    step: int

    @property
    def carried(self) -> bool:
        """Whether it is a finished beam that keeps its slot and proposes nothing new."""
        return self.candidate.sample < 0

    @property
    def rated(self) -> bool:
        return not self.carried and self.candidate.error is None and self.candidate.score is not None

    @property
    def chain(self) -> tuple[Candidate, ...]:
        """The proposals from the first step to this one."""
        found: list[Candidate] = []
        node: Node | None = self
        while node is not None:
            if not node.carried:
                found.append(node.candidate)
            node = node.parent
        return tuple(reversed(found))

    def steps(self) -> tuple[Step, ...]:
        """The chain as Steps. Ids and token counts of pruned proposals are not on disk: none, and 0."""
        return tuple(Step(n, c.teacher, c.text, (), 0, c.score, c.stop) for n, c in enumerate(self.chain, start=1))


def columns(trajectory: Trajectory) -> list[list[Node]]:
    """Per step all candidates, best first, as the search recorded them. On disk `parent` counts the kept of the step
    before. A candidate without such a parent is left out."""
    made: list[list[Node]] = []
    kept: list[Node] = []
    for number, column in enumerate(trajectory.candidates, start=1):
        nodes = []
        for candidate in column:
            if number == 1:
                nodes.append(Node(candidate, None, number))
            elif 0 <= candidate.parent < len(kept):
                nodes.append(Node(candidate, kept[candidate.parent], number))
        made.append(nodes)
        kept = [node for node in nodes if node.candidate.kept]
    return made
