"""Simulates a decoding without models, to say what other settings would cost ("what would B = 8 cost?") in requests,
tokens and engine steps. The search is the real one; the models' answers are drawn from finished problems.

Every engine steps at one pace: a step gives each of its running requests a token, and a score takes one step. `lag` is
how many steps pass between an answer and the request that follows it. Prompts are not counted, nor is waiting for room
in a KV cache.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from cord_distill.search.beam import Ask, BeamSearch, Proposal
from cord_distill.types import Step, Stop


@dataclass(frozen=True, slots=True)
class PastProposal:
    """A step that a teacher proposed, or a whole thought. score: None where it said nothing or was not rated: the
    search cannot use it."""

    teacher: str
    tokens: int
    score: float | None
    stop: Stop


@dataclass(frozen=True, slots=True)
class PastProblem:
    """A finished problem. steps: all proposals of each step; a whole trace is one step. answer: tokens of its final
    answer."""

    steps: tuple[tuple[PastProposal, ...], ...]
    answer: int


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a model runs. engine: its name, the same for all models that share it. slots: requests that one replica
    runs at once."""

    engine: str
    slots: int
    replicas: int = 1


@dataclass(frozen=True, slots=True)
class Setup:
    """The settings that decide what a decoding costs. prover: a name among `machines`, None = nothing is scored.
    beam_size: None = whole traces, of which each teacher writes `traces`. proposals, first: per teacher, at any step
    and at step 1."""

    teachers: tuple[str, ...]
    prover: str | None
    machines: dict[str, Machine]
    in_flight: int
    reasoning_tokens: int
    max_step_tokens: int
    beam_size: int | None = None
    proposals: int = 1
    first: int = 1
    max_steps: int | None = None
    traces: int = 0


@dataclass(slots=True)
class Cost:
    """What a decoding costs. requests, generated: by teacher. steps: of each engine's busiest replica. ticks: steps
    from the first request to the last answer."""

    requests: Counter[str] = field(default_factory=Counter)
    generated: Counter[str] = field(default_factory=Counter)
    scores: int = 0
    steps: dict[str, int] = field(default_factory=dict)
    ticks: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """One request. ticks: steps that it runs. what: why its search asked, for the search alone."""

    model: str
    ticks: int
    what: object
    score: bool = False


class StepwiseSearch:
    """One problem of `pipeline: cord`: the requests to begin with, and those that follow a finished one."""

    def __init__(self, setup: Setup, seen: PastProblem, rng: random.Random) -> None:
        self.setup, self.seen, self.rng = setup, seen, rng
        assert setup.beam_size is not None
        self.search = BeamSearch(
            beam_size=setup.beam_size,
            num_teachers=len(setup.teachers),
            proposals_per_teacher=setup.proposals,
            first_step_proposals=setup.first,
            max_steps=setup.max_steps,
        )

    def begin(self) -> list[Job]:
        return [self._proposal(ask) for ask in self.search.expand()]

    def go_on(self, done: Job) -> list[Job]:
        if not isinstance(done.what, tuple):
            return []
        ask, proposal = done.what
        if self.setup.prover and proposal.usable and not done.score:
            return [Job(self.setup.prover, 1, done.what, score=True)]
        self.search.absorb(ask, proposal)
        if not self.search.done:
            return self.begin()
        best = self.search.best
        return [Job(best.steps[-1].teacher, self.seen.answer, None)] if best.stop is not Stop.ABORT else []

    def _proposal(self, ask: Ask) -> Job:
        setup, teacher = self.setup, self.setup.teachers[ask.teacher]
        past = drawn(self.seen, ask.step, teacher, self.rng)
        spent = ask.beam.num_tokens
        tokens = max(1, min(past.tokens, setup.max_step_tokens, setup.reasoning_tokens - spent))
        ended = past.stop in (Stop.THINK_END, Stop.EOS, Stop.REPETITION) and tokens >= past.tokens
        ends = past.stop if ended else Stop.LENGTH if spent + tokens >= setup.reasoning_tokens else None
        step = Step(ask.step, teacher, "", (), tokens, past.score, ends or Stop.STEP)
        return Job(teacher, tokens, (ask, Proposal(step, ends, usable=past.score is not None)))


class WholeTraces:
    """One problem of `pipeline: curation` or `single`, as StepwiseSearch."""

    def __init__(self, setup: Setup, seen: PastProblem, rng: random.Random) -> None:
        self.setup, self.seen, self.rng = setup, seen, rng

    def begin(self) -> list[Job]:
        asked = [name for name in self.setup.teachers for _ in range(self.setup.traces)]
        return [Job(name, self._length(name), "thought") for name in asked]

    def go_on(self, done: Job) -> list[Job]:
        if done.what == "thought":
            return [Job(done.model, self.seen.answer, "answer")]
        return [Job(self.setup.prover, 1, "score", score=True)] if done.what == "answer" and self.setup.prover else []

    def _length(self, teacher: str) -> int:
        return max(1, min(drawn(self.seen, 1, teacher, self.rng).tokens, self.setup.reasoning_tokens))


def drawn(seen: PastProblem, step: int, teacher: str, rng: random.Random) -> PastProposal:
    """A proposal of this teacher at this step, of another teacher where it made none; behind the last step, of the
    last."""
    proposals = seen.steps[min(step, len(seen.steps)) - 1]
    return rng.choice([one for one in proposals if one.teacher == teacher] or proposals)


class Replica:
    """One engine at work: at most `slots` requests run, the others wait in the order in which they came."""

    def __init__(self, slots: int) -> None:
        self.slots, self.running, self.busy, self._since = slots, 0, 0.0, 0.0
        self.waiting: deque[tuple[int, Job]] = deque()

    def take(self, now: float) -> None:
        if not self.running:
            self._since = now
        self.running += 1

    def leave(self, now: float) -> None:
        self.running -= 1
        if not self.running:
            self.busy += now - self._since


def simulate(setup: Setup, seen: Sequence[PastProblem], problems: int, *, lag: float = 0.0) -> Cost:
    """The cost of so many problems like those that were seen, under `setup`. The same arguments give the same cost."""
    rng = random.Random(0)
    cost, order = Cost(), itertools.count()
    engines = {one.engine: [Replica(one.slots) for _ in range(one.replicas)] for one in setup.machines.values()}
    searches: dict[int, StepwiseSearch | WholeTraces] = {}
    open_jobs: Counter[int] = Counter()
    events: list[tuple[float, int, int, Job, Replica, bool]] = []  # the last: it arrives, and is not over
    waiting = iter(range(problems))

    def place(problem: int, jobs: list[Job], now: float) -> None:
        for job in jobs:
            open_jobs[problem] += 1
            replicas = engines[setup.machines[job.model].engine]
            replica = replicas[problem % len(replicas)]
            if job.score:
                cost.scores += 1
            else:
                cost.requests[job.model] += 1
                cost.generated[job.model] += job.ticks
            heapq.heappush(events, (now, next(order), problem, job, replica, True))

    def arrive(problem: int, job: Job, replica: Replica, now: float) -> None:
        if replica.running < replica.slots:
            run(problem, job, replica, now)
        else:
            replica.waiting.append((problem, job))

    def run(problem: int, job: Job, replica: Replica, now: float) -> None:
        replica.take(now)
        heapq.heappush(events, (now + job.ticks, next(order), problem, job, replica, False))

    def begin_next(now: float) -> None:
        problem = next(waiting, None)
        if problem is not None:
            kind = StepwiseSearch if setup.beam_size is not None else WholeTraces
            searches[problem] = kind(setup, seen[problem % len(seen)], rng)
            place(problem, searches[problem].begin(), now)

    for _ in range(min(setup.in_flight, problems)):
        begin_next(0)
    while events:
        now, _, problem, job, replica, arrives = heapq.heappop(events)
        if arrives:
            arrive(problem, job, replica, now)
            continue
        cost.ticks = round(now)
        open_jobs[problem] -= 1
        replica.leave(now)
        place(problem, searches[problem].go_on(job), now + lag)
        if replica.waiting and replica.running < replica.slots:
            run(*replica.waiting.popleft(), replica, now)
        if not open_jobs[problem]:
            del open_jobs[problem], searches[problem]
            begin_next(now + lag)
    cost.steps = {name: round(max(replica.busy for replica in replicas)) for name, replicas in engines.items()}
    return cost
