"""What every pipeline is given and what it gives back. A pipeline asks models; it knows no engine, writes no file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from cord_distill.decode.ensemble import Ensemble
from cord_distill.decode.model import Model
from cord_distill.grading.extract import answer_of, boxes, stated_answer
from cord_distill.types import THINK_CLOSE, Beam, Candidate, Problem, Rival, Step, Stop


@dataclass(frozen=True, slots=True)
class Outcome:
    """One problem, decoded. score: S of the trace, whatever it was selected by. generated: tokens sampled for all
    proposals and judgments. scored: tokens fed to the meta-prover and the reward model. answer_rule, rivals: as
    a Trajectory's.
    """

    steps: tuple[Step, ...]
    final_answer_text: str
    stop: Stop
    score: float | None
    answer_tokens: int
    generated: int
    scored: int
    candidates: tuple[tuple[Candidate, ...], ...]
    answer_rule: str | None = None
    rivals: tuple[Rival, ...] = ()

    @property
    def text(self) -> str:
        """The whole trace: its steps and the final answer behind them."""
        return "".join(step.text for step in self.steps) + self.final_answer_text


# Values of a record's `answer_rule`.
ANOTHER_SEED, OPENING, STATED = "another_seed", "answer_opening", "stated_in_thought"

Pipeline = Callable[[Problem, Ensemble], Awaitable[Outcome]]


def with_closed_thought(beam: Beam, model: Model) -> tuple[Step, ...]:
    """Returns the beam's steps with the thought closed: where the teacher did not write `</think>`, it is appended."""
    last = beam.steps[-1]
    if last.text.endswith(THINK_CLOSE):
        return beam.steps
    ids = (*last.ids, *model.encode(THINK_CLOSE))
    return (*beam.steps[:-1], replace(last, text=last.text + THINK_CLOSE, ids=ids))


async def with_final_answer(
    problem: Problem,
    ensemble: Ensemble,
    best: Beam,
    score: float | None,
    generated: int,
    scored: int,
    candidates: tuple[tuple[Candidate, ...], ...],
) -> Outcome:
    """Ends a step-wise search with the final answer behind its best beam, or with none behind one that was given up."""
    if best.stop is Stop.ABORT or not best.steps:
        return Outcome(best.steps, "", Stop.ABORT, score, 0, generated, scored, candidates)
    model = ensemble.teacher(best.steps[-1].teacher)
    steps = with_closed_thought(best, model)
    answer = await write_answer(problem, ensemble, model, steps, "answer")
    return Outcome(
        steps=steps,
        final_answer_text=answer.text,
        stop=best.stop or Stop.LENGTH,
        score=score,
        answer_tokens=answer.num_tokens,
        generated=generated + answer.generated,
        scored=scored,
        candidates=candidates,
        answer_rule=answer.rule,
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """The text behind the closed thought. generated: tokens sampled for it, those of empty tries included.

    rule: how it came about where the model did not write it at once, as a Trajectory's `answer_rule`.
    """

    text: str
    num_tokens: int
    generated: int
    rule: str | None


async def write_answer(
    problem: Problem, ensemble: Ensemble, model: Model, steps: tuple[Step, ...], *key: object
) -> Answer:
    """Lets `model` write the final answer behind the closed `steps`. key: names the trace, for the seed.

    A model that never learned `<think>` may end its turn at once. Then it is asked with another seed. An answer that is
    still missing is the one that the thought states, where the model had ended its turn there: it was done. Else it is
    asked for behind `decode.answer_opening`, where the recipe has one, before what the thought states is repeated.
    A box that is copied out of `decode.step_instructions` (`\\boxed{number}`) is no answer.
    """
    decode = ensemble.decode
    copied = {said.strip() for _, _, said in boxes(decode.step_instructions)}
    stated = stated_answer("".join(step.text for step in steps).removesuffix(THINK_CLOSE))
    stated = None if stated in copied else stated
    tries: list[tuple[str | None, str]] = [(None, ""), (ANOTHER_SEED, "")]
    if decode.answer_opening:
        tries.append((OPENING, decode.answer_opening))
    generated = 0
    answer = Answer("", 0, 0, None)
    for rule, opening in tries:
        seed = ensemble.seed_for(problem, *key, *([rule] if rule else []))
        written = await model.answer(
            problem.question, steps, opening, max_tokens=decode.budgets.answer_tokens, seed=seed
        )
        generated += written.generated
        if written.text.removeprefix(opening).strip():
            answer = Answer(written.text, len(written.ids), generated, rule)
            if not decode.answer_opening or answer_of(THINK_CLOSE + answer.text) not in (None, *copied):
                return answer
        if rule == ANOTHER_SEED and stated is not None and steps[-1].stop is Stop.EOS:
            break
    if stated is None or (answer.text and not decode.answer_opening):
        return replace(answer, generated=generated)
    text = f"\n\nThe final answer is \\boxed{{{stated}}}."
    return Answer(text, len(model.encode(text)), generated, STATED)
