"""Integration, a baseline of the paper: an outside model merges the teachers' complete traces into one (sect. 4.1)."""

from __future__ import annotations

from dataclasses import replace

from cord_distill.common.task_group import gather_or_cancel
from cord_distill.decode.ensemble import Ensemble
from cord_distill.decode.model import Model
from cord_distill.decode.pipelines.base import Outcome
from cord_distill.decode.pipelines.curation import complete_trace
from cord_distill.decode.pipelines.integrator import integration_prompt, read_reply
from cord_distill.engines.base import EngineError
from cord_distill.engines.chat import Reply
from cord_distill.search.segment import StepMarker
from cord_distill.types import THINK_CLOSE, Candidate, Problem, Step, Stop


async def integration(problem: Problem, ensemble: Ensemble) -> Outcome:
    """Merges the traces of one problem. Candidates: the teachers' traces, then the integrator's replies, unusable ones
    with their reason.

    Raises EngineError when no reply could be used. With more `tries` the replies so far are read again, not paid again.
    """
    settings, integrator = ensemble.decode.integration, ensemble.integrator
    assert settings is not None and integrator is not None  # check_decode
    who = [(t, s) for t in range(len(ensemble.teachers)) for s in range(settings.traces_per_teacher)]
    traces = await gather_or_cancel([complete_trace(problem, ensemble, *one) for one in who])
    usable = [any(ensemble.segmentation.said(step.text) for step in trace.steps) for trace in traces]
    generated, scored = sum(trace.generated for trace in traces), sum(trace.scored for trace in traces)
    first = tuple(
        Candidate(
            parent=0,
            teacher=ensemble.teachers[teacher].name,
            sample=sample,
            text=trace.text,
            score=trace.score,
            kept=good,
            stop=trace.stop,
            error=None if good else "empty trace",
        )
        for (teacher, sample), trace, good in zip(who, traces, usable, strict=True)
    )
    if not any(usable):
        return Outcome((), "", Stop.ABORT, None, 0, generated, scored, (first,))
    marker = StepMarker(ensemble.decode.step_marker)
    texts = [trace.text for trace, good in zip(traces, usable, strict=True) if good]
    prompt = integration_prompt(problem.question, texts, marker, settings.prompt)
    replies: list[Candidate] = []
    for attempt in range(settings.tries):
        reply = await integrator.ask(prompt, seed=ensemble.seed_for(problem, "integration", attempt))
        generated += reply.num_tokens
        replies.append(Candidate(0, integrator.name, attempt, reply.text, None, False, reply.stop))
        try:
            steps, answer = merged_steps(reply, ensemble, marker)
        except ValueError as error:
            replies[-1] = replace(replies[-1], error=str(error))
            continue
        score, _, fed = await ensemble.score(problem, steps)
        replies[-1] = replace(replies[-1], score=score, kept=True)
        return Outcome(
            steps=(*steps[:-1], replace(steps[-1], score=score)),
            final_answer_text=answer,
            stop=Stop.THINK_END,
            score=score,
            answer_tokens=len(_counter(ensemble).encode(answer)),
            generated=generated,
            scored=scored + fed,
            candidates=(first, tuple(replies)),
        )
    raise EngineError(
        f"{integrator.name}: none of {settings.tries} replies could be used, the last one: {replies[-1].error} "
        "(decode.integration.tries)"
    )


def merged_steps(reply: Reply, ensemble: Ensemble, marker: StepMarker) -> tuple[tuple[Step, ...], str]:
    """Returns (the steps with `</think>`, the final answer's text). Raises ValueError for a reply that cannot be
    used."""
    assert ensemble.integrator is not None
    if reply.stop.cut_off:
        raise ValueError("the reply is cut at decode.integration.max_tokens")
    merged = read_reply(reply.text, marker)
    counter, last = _counter(ensemble), len(merged.steps)
    steps = []
    for n, (category, text) in enumerate(merged.steps, 1):
        text = text + THINK_CLOSE if n == last else text
        stop = Stop.THINK_END if n == last else Stop.STEP
        steps.append(Step(n, ensemble.integrator.name, text, (), len(counter.encode(text)), None, stop, category))
    budget = ensemble.decode.budgets.reasoning_tokens
    spent = sum(step.num_tokens for step in steps)
    if spent > budget:
        raise ValueError(f"a trace of {spent} tokens, more than decode.budgets.reasoning_tokens ({budget})")
    return tuple(steps), f"\n\n{merged.final_answer}"


def _counter(ensemble: Ensemble) -> Model:
    return ensemble.meta_prover or ensemble.teachers[0]
