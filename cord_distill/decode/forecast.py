"""What decoding will cost, from a run's finished problems: for `cord check`, and for `cord generate` as it goes on."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from cord_distill.common.progress import short_time
from cord_distill.common.quiet import has_gpu, slots
from cord_distill.decode.admission import width
from cord_distill.decode.engine_pool import PER_REQUEST, meta_prover_section
from cord_distill.decode.pipelines.cord import first_step_proposals
from cord_distill.decode.replay import Meter
from cord_distill.decode.simulate import Cost, Machine, PastProblem, PastProposal, Setup, simulate
from cord_distill.recipe.models import ModelConfig
from cord_distill.recipe.recipe import Recipe
from cord_distill.types import Stop

# So many finished problems say what the others will cost.
ENOUGH = 8
# More of them say no more, and reading them takes longer.
MOST_READ = 200
# At least so many problems, and so many times those in flight, are played through; more cost in proportion.
PLAYED, WAVES = 64, 3
TRIED_LAG = 4.0
STEPWISE, WHOLE = ("cord",), ("curation", "single")


def past_problems(rows: Iterable[Mapping[str, Any]]) -> list[PastProblem]:
    """What the first MOST_READ finished rows say; no further row is read, since a large run has gigabytes of them."""
    return list(islice(filter(None, map(_past_problem, rows)), MOST_READ))


def _past_problem(row: Mapping[str, Any]) -> PastProblem | None:
    """None for a failed row. A row says how many tokens were generated in all; each candidate's share goes by its
    text."""
    tokens, levels = row.get("num_tokens") or {}, row.get("candidates") or []
    if row.get("error") or not levels or "generated_total" not in tokens:
        return None
    answer, whole = tokens.get("answer", 0), row.get("pipeline") in WHOLE
    # A carried beam (sample -1) took no tokens.
    written = [[candidate for candidate in level if candidate["sample"] >= 0] for level in levels]
    length = sum(len(candidate["text"]) for level in written for candidate in level) or 1
    answers = answer * len(written[0]) if whole else answer
    tokens_per_letter = max(0, tokens["generated_total"] - answers) / length

    def proposal(candidate: Mapping[str, Any]) -> PastProposal:
        count = max(1, round(tokens_per_letter * len(candidate["text"])))
        return PastProposal(candidate["teacher"], count, candidate["score"], Stop(candidate["stop"]))

    steps = tuple(tuple(map(proposal, level)) for level in written if level)
    return PastProblem(steps, max(1, answer)) if steps else None


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


def forecast(
    recipe: Recipe, seen: list[PastProblem], problems: int, *, lag: float = 0.0, **machines: Any
) -> Cost | None:
    """What so many problems will cost, predicted from those that were `seen`. None where these are too few, or where
    nothing can be said of the recipe. machines: keywords of setup_of."""
    setup = setup_of(recipe, **machines)
    if setup is None or len(seen) < ENOUGH:
        return None
    return _played(setup, seen, problems, lag)


def _played(setup: Setup, seen: list[PastProblem], problems: int, lag: float) -> Cost:
    """The cost of so many problems. Of a large number only a part is simulated, and the rest costs in proportion."""
    played = min(problems, max(PLAYED, WAVES * setup.in_flight))
    cost, by = simulate(setup, seen, played, lag=lag), problems / played

    def more(counts: Mapping[str, int]) -> Counter[str]:
        return Counter({name: round(count * by) for name, count in counts.items()})

    return Cost(
        more(cost.requests), more(cost.generated), round(cost.scores * by), more(cost.steps), round(cost.ticks * by)
    )


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a decoding went. seconds_per_step: of an engine; lag: steps between an answer and the next request."""

    seconds_per_step: float
    lag: float = 0.0


def pace(recipe: Recipe, seen: list[PastProblem], stats: Mapping[str, Any]) -> Pace | None:
    """Reads the pace off a finished decoding under `recipe`; None where it says too little. stats: generate_stats.json,
    which counts the steps of engines that run in its process: those beyond what the requests need are the lag."""
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
        found = forecast(self.recipe, past_problems(self.rows), self.todo)
        if found is None:
            return None
        generated = found.generated.total()
        left = max(0, generated - made)
        rate = made / seconds if made and seconds > 0 else None
        return (
            f"from {ENOUGH} finished problems: about {found.requests.total():,} requests and {generated:,} generated "
            f"tokens for {self.todo} problems"
            + (f", {short_time(left / rate)} left at {rate:,.0f} tokens/s" if rate else "")
        )
