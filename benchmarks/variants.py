"""One measured run of each variant: tokens generated, engine steps, CPU seconds."""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workload import Forced, ScoresByDefault, Size, TextModel, bound, ensemble, row_of

from cord_distill.decode.pipelines.cord import cord, first_step_proposals
from cord_distill.decode.replay import Meter
from cord_distill.engines.base import Sampling
from cord_distill.engines.vllm.engine import VllmEngine
from cord_distill.prompts.render import Renderer
from cord_distill.run_folder.journal import Journal
from cord_distill.search.beam import BeamSearch, Proposal
from cord_distill.types import Problem, Step


@dataclass(frozen=True)
class Measured:
    """tokens: generated for proposals. steps: of the teacher's engine. cpu, wall: seconds. computed: all tokens that
    went through the model, uncached prefill included. hits: share of the proposals' prompt tokens read from the cache.
    """

    tokens: int
    steps: int
    cpu: float
    wall: float
    computed: int = 0
    hits: float = 0.0

    @property
    def per_step(self) -> float:
        return self.tokens / self.steps

    @property
    def per_second(self) -> float:
        return self.tokens / self.cpu


class Bench:
    """The engines of one workload. `prover`: the second engine, for variant c2."""

    def __init__(
        self, engine: VllmEngine, prover: VllmEngine | None, renderer: Renderer, problems: list[Problem], size: Size
    ) -> None:
        self.engine, self.prover, self.renderer, self.problems, self.size = engine, prover, renderer, problems, size
        self.lengths: list[int] = []
        self.prompts: list[list[int]] = []

    async def run(self, variant: str) -> Measured:
        if variant in ("a", "a0", "a1"):
            return self.plain(short_prompts=variant == "a0", cold=variant == "a1")
        engine = (ScoresByDefault if variant == "d3" else Forced)(self.engine, self.renderer)
        prover: Any = None if variant == "b" else self.prover if variant == "c2" else engine
        if variant in ("d1", "d2", "d3"):
            return await self.measured(engine, prover, barrier=True, text=variant in ("d2", "d3"))
        return await self.measured(engine, prover)

    def plain(self, *, short_prompts: bool = False, cold: bool = False) -> Measured:
        """(a), from its first request to its last. cold: (a1), from an empty cache, as (b) begins."""
        if cold:
            self.reset()
        gc.collect()
        begun, wall, steps = time.process_time(), time.monotonic(), 0
        made: list[Any] = []
        for finished in self.plain_steps(short_prompts=short_prompts):
            steps += 1
            made.extend(finished)
        cpu, wall = time.process_time() - begun, time.monotonic() - wall
        tokens = sum(len(out.outputs[0].token_ids) for out in made)
        given, hits = sum(len(out.prompt_token_ids) for out in made), sum(out.num_cached_tokens for out in made)
        return Measured(tokens, steps, cpu, wall, tokens + given - hits, hits / given)

    def plain_steps(self, *, short_prompts: bool = False) -> Iterator[list[Any]]:
        """What `LLM.generate` does, step by step: all requests added, the engine stepped until they are done.

        The requests are those of the search that ran last, prompt by prompt and length by length, and the cache still
        holds the prompts: the ceiling. short_prompts: (a0), bare questions in their place, whose attention is cheaper.
        Yields the outputs that each step finished.
        """
        from vllm.inputs.engine import tokens_input

        forced = Forced(self.engine, self.renderer)
        base = ensemble(forced, None, self.renderer, self.size)
        sampling = Sampling(
            0, 0, temperature=1.0, top_p=1.0, stop=(*base.segmentation.stops, "</think>"),
            stop_ids=(self.renderer.end_of_turn_id,), banned_ids=base.teachers[0].banned_ids,
        )  # fmt: skip
        questions = [self.renderer.prompt_ids(p.question) for p in self.problems]
        prompts = questions if short_prompts else self.prompts
        llm = self.engine.runner.engine
        for i, length in enumerate(self.lengths):
            params = self.engine.sampling_params(replace(forced.sampling(sampling, length), seed=i))
            llm.add_request(str(i), tokens_input(prompts[i % len(prompts)]), params)
        while llm.has_unfinished_requests():
            yield [out for out in llm.step() if out.finished]

    def plain_until(self, ended: Callable[[], bool]) -> None:
        """(a) over and over, and nothing left of it."""
        while not ended():
            for _ in self.plain_steps():
                if ended():
                    break
        llm = self.engine.runner.engine
        llm.abort_request(list(llm.output_processor.request_states), internal=True)

    def reset(self) -> None:
        for engine in filter(None, (self.engine, self.prover)):
            engine.runner.engine.reset_prefix_cache()
        gc.collect()

    async def measured(
        self,
        engine: Forced,
        prover: Any,
        *,
        barrier: bool = False,
        text: bool = False,
        keep_cache: bool = False,
    ) -> Measured:
        """One search of all problems. The prefix cache is emptied before, unless `keep_cache`."""
        if not keep_cache:
            self.reset()
        kind = {"model": TextModel} if text else {}
        whole = ensemble(engine, prover, self.renderer, self.size, **kind)
        runner = self.engine.runner
        meters: dict[str, Meter] = {}
        with tempfile.TemporaryDirectory() as folder:
            begun, wall, steps, fed = time.process_time(), time.monotonic(), runner.steps, runner.computed_prompt_tokens
            journal = Journal(Path(folder) / "journal", fingerprint="", inputs={})
            each = [bound(whole, problem, journal, meters) for problem in self.problems]
            if barrier:
                await with_barrier(self.problems, each)
            else:
                outcomes = await asyncio.gather(*map(cord, self.problems, each))
                for problem, outcome in zip(self.problems, outcomes, strict=True):
                    journal.finish(problem, row_of(outcome))
            journal.close()
            cpu, wall, steps = time.process_time() - begun, time.monotonic() - wall, runner.steps - steps
            fed = runner.computed_prompt_tokens - fed
        self.lengths, self.prompts = engine.lengths, engine.prompts
        return Measured(engine.generated, steps, cpu, wall, engine.generated + fed, engine.cached / engine.given)


async def with_barrier(problems: list[Problem], ensembles: list[Any]) -> None:
    """All proposals of a step of all problems, then all their scores, then the next step: a batch call at a time."""
    decode = ensembles[0].decode
    searches = [
        BeamSearch(
            beam_size=decode.beam_size,
            num_teachers=1,
            proposals_per_teacher=decode.proposals_per_teacher,
            first_step_proposals=first_step_proposals(ensembles[0].decode, len(ensembles[0].teachers)),
            max_steps=decode.budgets.max_steps,
        )
        for _ in problems
    ]
    while not all(search.done for search in searches):
        asks = [(i, ask) for i, search in enumerate(searches) for ask in search.expand()]

        async def write(i: int, ask: Any) -> Any:
            here = ensembles[i]
            return await here.teachers[0].propose(
                problems[i].question, ask.beam.steps, here.segmentation, max_tokens=decode.budgets.max_step_tokens,
                seed=here.seed_for(problems[i], ask.path, ask.step, ask.teacher, ask.sample),
            )  # fmt: skip

        written = await asyncio.gather(*(write(i, ask) for i, ask in asks))
        steps = [
            Step(ask.step, "teacher", w.text, w.ids, len(w.ids), None, w.stop)
            for (_, ask), w in zip(asks, written, strict=True)
        ]
        scores = await asyncio.gather(
            *(
                ensembles[i].score(problems[i], (*ask.beam.steps, step))
                for (i, ask), step in zip(asks, steps, strict=True)
            )
        )
        for (i, ask), step, (score, tokens, _) in zip(asks, steps, scores, strict=True):
            done = Step(step.n, step.teacher, step.text, step.ids, tokens, score, step.stop)
            searches[i].absorb(ask, Proposal(done))
