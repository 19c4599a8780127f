"""Step-wise beam search over several proposers (eq. 4), as plain synchronous code that knows no engine.

The caller asks `expand()` which proposals to get, gets them in any order, and gives each to `absorb()`. When all
proposals of a step are in, the best B of them live on, with no quota per parent or teacher; a finished beam keeps its
score and competes for the same slots at every later step. Greedy is beam_size 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from cord_distill.search.adaptive import AdaptiveBeam, Width
from cord_distill.search.deduplicate import REPEATED, StateKey, first_of_each
from cord_distill.search.particles import Choose
from cord_distill.search.select import order_key
from cord_distill.types import Beam, Candidate, Step, Stop

# `teacher` and `sample` of a finished beam that keeps its slot: it made no new proposal.
CARRIED = -1
Path = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """One proposal to get. path names the parent by the (teacher, sample) choices that led to it; it keys the seed."""

    step: int
    path: Path
    teacher: int
    sample: int
    beam: Beam


@dataclass(frozen=True, slots=True)
class Proposal:
    """What came back for an Ask. step: the proposed Step with its score. ends: Stop when the trace is over with it.

    usable False (nothing said, or `error`): recorded, never selected; ends is then LENGTH where the budget cut it.
    """

    step: Step
    ends: Stop | None = None
    usable: bool = True
    error: str | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    """A candidate of the current step. parent: its place among the beams of the step before."""

    beam: Beam
    parent: int
    teacher: int
    sample: int
    path: Path
    usable: bool = True
    error: str | None = None

    @property
    def order(self) -> tuple:
        score = (self.beam.score or 0.0) if self.usable else 0.0
        return order_key(score, self.parent, self.teacher, self.sample)


class BeamSearch:
    """State of one problem's search; `beams` are those of the last finished step, best first.

    num_teachers: K. first_step_proposals: per teacher at step 1. proposals_per_teacher: per teacher and parent later.
    width: how many of a step's candidates are kept, by their scores; None = beam_size. state_key: of candidates with
    equal keys only the best takes part. choose: which of a step's candidates are kept; None = the best.
    """

    def __init__(
        self,
        *,
        beam_size: int,
        num_teachers: int,
        proposals_per_teacher: int = 1,
        first_step_proposals: int = 1,
        max_steps: int | None = None,
        width: Width | None = None,
        state_key: StateKey | None = None,
        choose: Choose | None = None,
    ) -> None:
        self.num_teachers = num_teachers
        self.proposals_per_teacher = proposals_per_teacher
        self.first_step_proposals = first_step_proposals
        self.max_steps = max_steps
        self.width = width or AdaptiveBeam(beam_size, beam_size, 0.0)
        self.state_key = state_key
        self.choose = choose
        self.done = False
        self.beams: tuple[Beam, ...] = (Beam(),)
        self._paths: list[Path] = [()]
        self._steps: list[tuple[Candidate, ...]] = []
        self._asks: list[Ask] = []
        self._begin_step()

    def expand(self) -> list[Ask]:
        """The proposals that can be asked for now and were not handed out before."""
        asks = self._asks
        self._asks = []
        return asks

    def absorb(self, ask: Ask, proposal: Proposal) -> None:
        """Takes one answer, in any order. Raises KeyError for an ask that is not open."""
        parent = self._open.pop((ask.path, ask.teacher, ask.sample))
        beam = Beam((*self.beams[parent].steps, proposal.step), proposal.ends)
        usable = proposal.usable and proposal.step.score is not None
        path = (*ask.path, (ask.teacher, ask.sample))
        self._entries.append(_Entry(beam, parent, ask.teacher, ask.sample, path, usable, proposal.error))
        if not self._open:
            self._end_step()

    @property
    def num_live(self) -> int:
        """Beams that are being continued."""
        return 0 if self.done else sum(beam.live for beam in self.beams)

    @property
    def best(self) -> Beam:
        """The finished beam of the highest score. Only once `done`."""
        return self.beams[0]

    def candidates(self) -> tuple[tuple[Candidate, ...], ...]:
        """Per step, every candidate, best first; `parent`: its parent's place among the kept of the step before."""
        return tuple(self._steps)

    def _begin_step(self) -> None:
        """Asks every teacher to go on from every live beam; finished beams are candidates as they stand."""
        step = len(self._steps) + 1
        samples = self.first_step_proposals if step == 1 else self.proposals_per_teacher
        self._asks = [
            Ask(step, path, teacher, sample, beam)
            for beam, path in zip(self.beams, self._paths, strict=True)
            if beam.live
            for teacher in range(self.num_teachers)
            for sample in range(samples)
        ]
        places = {path: place for place, path in enumerate(self._paths)}
        self._open = {(ask.path, ask.teacher, ask.sample): places[ask.path] for ask in self._asks}
        self._entries = [
            _Entry(beam, place, CARRIED, CARRIED, self._paths[place])
            for place, beam in enumerate(self.beams)
            if not beam.live
        ]

    def _end_step(self) -> None:
        """Keeps the best candidates, records all of them, and begins the next step unless the search is over."""
        pool = sorted((entry for entry in self._entries if entry.usable), key=lambda e: e.order)
        rest = [entry for entry in self._entries if not entry.usable]
        if self.state_key:
            checked = list(zip(pool, first_of_each([e.beam for e in pool], self.state_key), strict=True))
            rest += [replace(entry, error=REPEATED) for entry, first in checked if not first]
            pool = [entry for entry, first in checked if first]
        scores = [entry.beam.score or 0.0 for entry in pool]
        count = self.width(scores)
        if self.choose and len(pool) > count:
            places = self.choose(scores, count, len(self._steps))
            # The kept come first: `parent` of the next step's candidates counts in them.
            pool = [pool[i] for i in places] + [entry for i, entry in enumerate(pool) if i not in places]
        kept = pool[:count]
        recorded = [*pool, *sorted(rest, key=lambda e: e.order)]
        self._steps.append(tuple(_record(entry, kept=place < len(kept)) for place, entry in enumerate(recorded)))
        if not kept:
            # Nobody said anything usable: what was there before is all there is. It ends by its length where the budget
            # left no room for more.
            spent = all(entry.beam.stop is Stop.LENGTH for entry in self._entries)
            self.beams = tuple(replace(beam, stop=Stop.LENGTH if spent else Stop.ABORT) for beam in self.beams)
            self.done = True
            return
        self.beams, self._paths = tuple(e.beam for e in kept), [e.path for e in kept]
        if len(self._steps) == self.max_steps:
            self.beams = tuple(replace(beam, stop=beam.stop or Stop.LENGTH) for beam in self.beams)
        self.done = not any(beam.live for beam in self.beams)
        if not self.done:
            self._begin_step()


def _record(entry: _Entry, kept: bool) -> Candidate:
    step = entry.beam.steps[-1]
    carried = entry.sample == CARRIED
    return Candidate(
        parent=entry.parent,
        teacher=step.teacher,
        sample=entry.sample,
        text="" if carried else step.text,
        score=step.score,
        kept=kept,
        stop=step.stop,
        error=entry.error,
    )
