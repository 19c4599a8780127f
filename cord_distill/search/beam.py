"""Step-wise beam search over several proposers (eq. 4), as plain synchronous code that knows no engine.

The caller asks `expand()` which proposals to get, gets them in any order, and gives each to `absorb()`. Greedy is
beam_size 1. The top B of all candidates of a step live on, with no quota per parent or teacher; a finished
candidate keeps its score and competes for the same slots at every later step.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field, replace

from cord_distill.search.adaptive import Width
from cord_distill.search.deduplicate import REPEATED, StateKey, first_of_each
from cord_distill.search.select import Key, is_certain, order_key
from cord_distill.types import Beam, Candidate, Step, Stop

CARRIED = -1


@dataclass(frozen=True, slots=True)
class Ask:
    """One proposal to get. path names the parent by the (teacher, sample) choices that led to it; it keys the seed."""

    step: int
    path: tuple[tuple[int, int], ...]
    teacher: int
    sample: int
    beam: Beam


@dataclass(frozen=True, slots=True)
class Proposal:
    """What came back for an Ask. step: the proposed Step with its score. ends: Stop when the trace is over with it.

    usable False (nothing said, or `error`): recorded, never selected.
    """

    step: Step
    ends: Stop | None = None
    usable: bool = True
    error: str | None = None


@dataclass(slots=True)
class _Entry:
    beam: Beam
    key: Key
    path: tuple[tuple[int, int], ...]
    ask: Ask | None
    error: str | None = None
    decided: bool = False


@dataclass(slots=True)
class _Level:
    """One step of the search: its parents so far, the candidates in hand (sorted by key), what is still to come."""

    number: int
    parents: list[_Entry] = field(default_factory=list)
    pool: list[_Entry] = field(default_factory=list)
    unusable: list[_Entry] = field(default_factory=list)
    waiting: int = 0
    parents_closed: bool = False
    survivors: list[_Entry] = field(default_factory=list)
    complete: bool = False


class BeamSearch:
    """State of one problem's search.

    num_teachers: K. first_step_proposals: per teacher at step 1. proposals_per_teacher: per teacher and parent later.
    width: how many of a step's candidates are kept, by their scores; None = beam_size. state_key: of candidates with
    equal keys only the best takes part.
    early_start: survivors that are certain start their next step before the stragglers are in; the result is the
    same (the order of candidates does not depend on arrival), only the waiting is less. With a width or a state_key
    nothing is certain before all are in, and it is off.
    """

    def __init__(
        self,
        *,
        beam_size: int,
        num_teachers: int,
        proposals_per_teacher: int = 1,
        first_step_proposals: int = 1,
        max_steps: int | None = None,
        early_start: bool = False,
        width: Width | None = None,
        state_key: StateKey | None = None,
    ) -> None:
        self.beam_size = beam_size
        self.num_teachers = num_teachers
        self.proposals_per_teacher = proposals_per_teacher
        self.first_step_proposals = first_step_proposals
        self.max_steps = max_steps
        self.width = width
        self.state_key = state_key
        self.early_start = early_start and width is None and state_key is None
        root = _Entry(Beam(), (), (), None, decided=True)
        first = _Level(1, parents_closed=True)
        self._levels = [first]
        self._asks: list[Ask] = []
        self._by_ask: dict[tuple, tuple[_Level, _Entry]] = {}
        self._add_parent(first, root)
        self.done = False
        self.beams: tuple[Beam, ...] = ()

    def expand(self) -> list[Ask]:
        """The proposals that can be asked for now and were not handed out before."""
        asks, self._asks = self._asks, []
        return asks

    def absorb(self, ask: Ask, proposal: Proposal) -> None:
        """Takes one answer, in any order. Raises KeyError for an ask that is not open."""
        level, parent = self._by_ask.pop((ask.step, ask.path, ask.teacher, ask.sample))
        level.waiting -= 1
        score = proposal.step.score
        beam = Beam((*parent.beam.steps, proposal.step), proposal.ends)
        path = (*ask.path, (ask.teacher, ask.sample))
        if proposal.usable and score is not None:
            entry = _Entry(beam, order_key(score, parent.key, ask.teacher, ask.sample), path, ask)
            bisect.insort(level.pool, entry, key=lambda e: e.key)
        else:
            key = (0.0, parent.key, ask.teacher, ask.sample)
            level.unusable.append(_Entry(beam, key, path, ask, proposal.error))
        self._settle(level)

    @property
    def num_live(self) -> int:
        """Beams that are being continued."""
        return 0 if self.done else sum(parent.beam.live for parent in self._levels[-1].parents)

    @property
    def best(self) -> Beam:
        """The finished beam of the highest score. Only once `done`."""
        return self.beams[0]

    def candidates(self) -> tuple[tuple[Candidate, ...], ...]:
        """Per step, every candidate, best first; `parent`: its parent's place among the kept of the step before."""
        return tuple(self._record(level) for level in self._levels if level.complete)

    def _settle(self, level: _Level) -> None:
        while True:
            self._decide(level)
            if not level.complete or self.done:
                # Later levels may gain certainty as their parents become decided.
                later = self._levels[level.number] if level.number < len(self._levels) else None
                if later is None or later is level:
                    return
                level = later
                continue
            if level.number == len(self._levels):
                return
            level = self._levels[level.number]

    def _decide(self, level: _Level) -> None:
        outstanding = self._outstanding(level)
        if outstanding and not self.early_start:
            return
        size = self.beam_size
        if not level.complete and self.state_key:
            self._drop_repeats(level, self.state_key)
        if self.width:
            size = self.width([-entry.key[0] for entry in level.pool])
        for rank, entry in enumerate(level.pool[:size], start=1):
            if not is_certain(rank, size, outstanding):
                break
            if not entry.decided:
                entry.decided = True
                self._survive(level, entry)
        if outstanding == 0 and not level.complete:
            self._complete(level)

    @staticmethod
    def _drop_repeats(level: _Level, state_key: StateKey) -> None:
        first = first_of_each([entry.beam for entry in level.pool], state_key)
        for entry, takes_part in zip(level.pool, first, strict=True):
            if not takes_part:
                entry.error = REPEATED
                level.unusable.append(entry)
        level.pool = [entry for entry in level.pool if entry.error is None]

    def _outstanding(self, level: _Level) -> int:
        """Candidates of this level that are not in hand: asked for, or of parents that are not decided yet."""
        if level.parents_closed:
            return level.waiting
        previous = self._levels[level.number - 2]
        open_slots = self.beam_size - len(previous.survivors)
        return level.waiting + open_slots * self.num_teachers * self.proposals_per_teacher

    def _survive(self, level: _Level, entry: _Entry) -> None:
        level.survivors.append(entry)
        if self.max_steps is not None and level.number >= self.max_steps:
            return
        if level.number == len(self._levels):
            self._levels.append(_Level(level.number + 1))
        self._add_parent(self._levels[level.number], entry)

    def _add_parent(self, level: _Level, parent: _Entry) -> None:
        level.parents.append(parent)
        if not parent.beam.live:
            carried = _Entry(parent.beam, (parent.key[0], parent.key, CARRIED, 0), parent.path, None)
            bisect.insort(level.pool, carried, key=lambda e: e.key)
            return
        samples = self.first_step_proposals if level.number == 1 else self.proposals_per_teacher
        for teacher in range(self.num_teachers):
            for sample in range(samples):
                ask = Ask(level.number, parent.path, teacher, sample, parent.beam)
                self._by_ask[(ask.step, ask.path, ask.teacher, ask.sample)] = (level, parent)
                self._asks.append(ask)
                level.waiting += 1

    def _complete(self, level: _Level) -> None:
        level.complete = True
        level.survivors.sort(key=lambda e: e.key)
        if level.number < len(self._levels):
            self._levels[level.number].parents_closed = True
            self._levels[level.number].parents.sort(key=lambda e: e.key)
        at_the_end = self.max_steps is not None and level.number >= self.max_steps
        live = [entry for entry in level.survivors if entry.beam.live]
        if level.survivors and live and not at_the_end:
            return
        self.done = True
        self._asks = []
        if level.survivors:
            beams = [e.beam if not e.beam.live else replace(e.beam, stop=Stop.LENGTH) for e in level.survivors]
        else:
            # Nobody said anything usable: what was there before is all there is.
            beams = [replace(parent.beam, stop=Stop.ABORT) for parent in level.parents]
        self.beams = tuple(beams)
        del self._levels[level.number :]

    def _record(self, level: _Level) -> tuple[Candidate, ...]:
        ranks = {id(parent): i for i, parent in enumerate(level.parents)}
        by_path = {parent.path: ranks[id(parent)] for parent in level.parents}
        kept = {id(entry) for entry in level.survivors}
        rows = []
        for entry in [*level.pool, *sorted(level.unusable, key=lambda e: e.key)]:
            step = entry.beam.steps[-1]
            ask = entry.ask
            rows.append(
                Candidate(
                    parent=by_path[ask.path if ask else entry.path],
                    teacher=step.teacher,
                    sample=ask.sample if ask else CARRIED,
                    text=step.text if ask else "",
                    score=step.score,
                    kept=id(entry) in kept,
                    stop=step.stop,
                    error=entry.error,
                )
            )
        return tuple(rows)
