"""What decoding will cost, from a run's finished problems: for `cord check`, and for `cord generate` as it goes on."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from cord_distill.common.progress import short_time
from cord_distill.common.quiet import has_gpu, slots
from cord_distill.decode.admission import width
from cord_distill.decode.engine_pool import PER_REQUEST, meta_prover_section
from cord_distill.decode.pipelines.cord import first_step_proposals
from cord_distill.decode.replay import Meter
from cord_distill.decode.simulate import Cost, Machine, Said, Seen, Setup, simulate
from cord_distill.recipe.models import ModelConfig
from cord_distill.recipe.recipe import Recipe
from cord_distill.types import Stop

# So many finished problems say what the others will cost.
ENOUGH = 8
# More of them say no more, and reading them takes longer.
MOST_SEEN = 200
# At least so many problems, and so many times those in flight, are played through; more cost in proportion.
PLAYED, WAVES = 64, 3
TRIED_LAG = 4.0
STEPWISE, WHOLE = ("cord",), ("curation", "single")


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a decoding will cost. cost: of all problems. seen: how many finished problems it was read off."""

    cost: Cost
    seen: int

    @property
    def requests(self) -> int:
        return sum(self.cost.requests.values())

    @property
    def generated(self) -> int:
        return sum(self.cost.generated.values())


def seen_of(rows: Iterable[Mapping[str, Any]]) -> list[Seen]:
    """What the first MOST_SEEN finished rows say; no further row is read, since a large run has gigabytes of them."""
    return list(islice(_each_seen(rows), MOST_SEEN))


def _each_seen(rows: Iterable[Mapping[str, Any]]) -> Iterator[Seen]:
    """Failed rows are left out. A row says how many tokens were generated in all, and each candidate's share goes by
    its text."""
    for row in rows:
        tokens, levels = row.get("num_tokens") or {}, row.get("candidates") or []
        if row.get("error") or not levels or "generated_total" not in tokens:
            continue
        answer, whole = tokens.get("answer", 0), row.get("pipeline") in WHOLE
        made = [[said for said in level if said["sample"] >= 0] for level in levels]  # a carried beam made nothing
        written = sum(len(said["text"]) for level in made for said in level) or 1
        answers = answer * len(made[0]) if whole else answer
        rate = max(0, tokens["generated_total"] - answers) / written
        steps = tuple(
            tuple(
                Said(
                    said["teacher"], max(1, round(rate * len(said["text"]))), said["score"], Stop(said["stop"]),
                    usable=said["score"] is not None,
                )
                for said in level
            )
            for level in made
            if level
        )  # fmt: skip
        if steps:
            yield Seen(steps, max(1, answer))


def setup_of(recipe: Recipe, *, on_gpu: bool | None = None, times: int = 1) -> Setup | None:
    """The recipe's settings as the simulation takes them; None where a plug-in or a selector of its own decides what is
    asked. times: replicas of every engine for each that the recipe asks for."""
    decode, teachers = recipe.decode, recipe.teachers
    prover = meta_prover_section(recipe)
    if not teachers or decode.pipeline not in (*STEPWISE, *WHOLE) or decode.selector != "predictive_perplexity":
        return None
    on_gpu = has_gpu() if on_gpu is None else on_gpu

    def machine(section: ModelConfig) -> Machine:
        one = slots(section.max_num_seqs, on_gpu or section.engine == "server")
        replicas = max(1, len(section.urls), section.replicas) * times
        return Machine(section.model_dump_json(exclude=PER_REQUEST), one, replicas)

    machines = {teacher.label: machine(teacher) for teacher in teachers}
    name = None if prover is None else prover.label
    if prover is not None and name not in machines:
        machines[prover.label] = machine(prover)
    most = max(machines[teacher.label].slots * machines[teacher.label].replicas for teacher in teachers)
    stepwise = decode.pipeline in STEPWISE
    return Setup(
        teachers=tuple(teacher.label for teacher in (teachers[:1] if decode.pipeline == "single" else teachers)),
        prover=name,
        machines=machines,
        in_flight=decode.problems_in_flight or math.ceil(2 * most / width(decode)),
        reasoning_tokens=decode.budgets.reasoning_tokens,
        max_step_tokens=decode.budgets.max_step_tokens,
        beam_size=decode.beam_size if stepwise else None,
        proposals=decode.proposals_per_teacher,
        first=first_step_proposals(decode, len(teachers)),
        max_steps=decode.budgets.max_steps,
        traces=decode.curation.traces_per_teacher if decode.pipeline == "curation" else 1,
    )


def forecast(recipe: Recipe, seen: list[Seen], problems: int, *, lag: float = 0.0, **machines: Any) -> Forecast | None:
    """What `problems` will cost, by those that were `seen`; None where these are too few, or nothing can be said of the
    recipe. machines: as setup_of."""
    setup = setup_of(recipe, **machines)
    if setup is None or len(seen) < ENOUGH:
        return None
    return Forecast(_played(setup, seen, problems, lag), len(seen))


def _played(setup: Setup, seen: list[Seen], problems: int, lag: float) -> Cost:
    """What so many problems cost, of which only as many are played through as say it."""
    played = min(problems, max(PLAYED, WAVES * setup.in_flight))
    return in_proportion(simulate(setup, seen, played, lag=lag), problems)


def in_proportion(cost: Cost, problems: int) -> Cost:
    """The cost of so many problems, from that of fewer."""
    by = problems / cost.problems

    def more(counts: Mapping[str, int]) -> dict[str, int]:
        return {name: round(count * by) for name, count in counts.items()}

    requests, generated = Counter(more(cost.requests)), Counter(more(cost.generated))
    return Cost(problems, requests, generated, round(cost.scores * by), more(cost.steps), round(cost.ticks * by))


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a decoding went. seconds_per_step: of an engine; lag: steps between an answer and the next request."""

    seconds_per_step: float
    lag: float = 0.0


def pace(recipe: Recipe, seen: list[Seen], stats: Mapping[str, Any]) -> Pace | None:
    """Read off a decoding under `recipe`; None where it says too little. stats: generate_stats.json, which counts the
    steps of engines that run in its process: those beyond what the requests need are the lag."""
    setup, problems = setup_of(recipe), int(stats.get("decoded_now", 0))
    seconds = stats.get("seconds", 0.0) - stats.get("start_seconds", 0.0)
    if setup is None or problems < ENOUGH or seconds <= 0 or len(seen) < ENOUGH:
        return None
    here, lag = _played(setup, seen, problems, 0.0), 0.0
    counted = max((stats.get("engine_steps") or {}).values(), default=0)
    for _ in range(2 if counted else 0):  # nearly a straight line
        steps = max(here.steps.values())
        slope = (max(_played(setup, seen, problems, lag + TRIED_LAG).steps.values()) - steps) / TRIED_LAG
        if slope <= 0:
            break
        lag = max(0.0, lag + (counted - steps) / slope)
        here = _played(setup, seen, problems, lag)
    return Pace(seconds / here.ticks, lag) if here.ticks else None


class Correction:
    """Says once, when ENOUGH problems of a decoding are finished, what all of them will cost.

    todo: problems to decode. meters: of the models, which count on.
    """

    def __init__(self, recipe: Recipe, todo: int, meters: Mapping[str, Meter]) -> None:
        self.recipe, self.todo, self.meters = recipe, todo, meters
        self.rows: list[dict[str, Any]] = []
        self._begun, self._before = time.monotonic(), self._made()

    def _made(self) -> int:
        return sum(meter.generated_tokens for meter in self.meters.values())

    def after(self, row: dict[str, Any]) -> str | None:
        """The line, at the one row that makes it known; None before and after, and where little is left."""
        if len(self.rows) >= ENOUGH or row.get("error"):
            return None
        self.rows.append(row)
        if len(self.rows) < ENOUGH or self.todo < 2 * ENOUGH:
            return None
        made, seconds = self._made() - self._before, time.monotonic() - self._begun
        found = forecast(self.recipe, seen_of(self.rows), self.todo)
        if found is None:
            return None
        left = max(0, found.generated - made)
        rate = made / seconds if made and seconds > 0 else None
        return (
            f"from {ENOUGH} finished problems: about {found.requests:,} requests and {found.generated:,} generated "
            f"tokens for {self.todo} problems"
            + (f", {short_time(left / rate)} left at {rate:,.0f} tokens/s" if rate else "")
        )
