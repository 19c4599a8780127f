"""What `decode.selector` needs of a recipe, known before any model is started."""

from __future__ import annotations

from cord_distill.common.errors import CordError
from cord_distill.decode.own import selector_of
from cord_distill.recipe.decode import DecodeConfig
from cord_distill.recipe.models import ModelConfig
from cord_distill.recipe.recipe import Recipe

NOTHING_TO_SELECT = ("single", "integration")
JUDGE = "decode.binary_judgment.judge"
STUDENT = "decode.student_fit"
ASKS_THE_STUDENT = ("student_fit", "rank_surprisal")


def check_selector(recipe: Recipe) -> None:
    """Raises CordError: a combination that makes no sense, or a model that is missing."""
    decode = recipe.decode
    if recipe.problems and recipe.problems.answer is None and not _reads_no_answer(decode):
        chosen = "pipeline mcts" if decode.pipeline == "mcts" else f"selector {decode.selector}"
        raise CordError(
            f"problems.answer: null says that there are no known answers, and {chosen} reads them: name the column, or "
            "set decode.selector: consensus"
        )
    if decode.pipeline in NOTHING_TO_SELECT:
        if decode.selector != "predictive_perplexity":
            raise CordError(
                f"decode.selector: {decode.selector}: pipeline {decode.pipeline} has nothing to select; take the key "
                "away, or set decode.pipeline: cord or curation"
            )
        return
    if decode.pipeline == "cord" and not selector_of(decode).of_prefixes:
        raise CordError(
            f"decode.selector: {decode.selector} orders complete traces, not steps: set decode.pipeline: curation"
        )
    if decode.selector == "process_reward" and decode.process_reward is None:
        raise CordError(
            "decode.process_reward: selector process_reward asks a reward model, and the recipe names none; give its "
            "model, e.g. Qwen/Qwen2.5-Math-PRM-7B"
        )
    if decode.selector == "process_reward" and decode.process_reward is not None:
        label = decode.process_reward.label
        if label in [teacher.label for teacher in recipe.teachers]:
            raise CordError(f"decode.process_reward: a teacher is called {label!r} too; give the reward model a `name`")
    if decode.selector == "binary_judgment" and judge_section(recipe) is None and recipe.meta_prover is None:
        raise CordError(f"{JUDGE}: binary judgment needs one; give its model, or a meta_prover, which is the default")
    by_s = {"predictive_perplexity": "predictive perplexity", "gain": "the gain of S"}
    if decode.student_fit is None or not decode.student_fit.alone:
        by_s["student_fit"] = "S and the student's fit"
    if decode.selector in by_s and recipe.meta_prover is None:
        raise CordError(
            f"meta_prover: pipeline {decode.pipeline} needs one to score candidates by {by_s[decode.selector]}; give "
            "its model, or same_as: a teacher"
        )
    if decode.selector == "consensus" and len(recipe.teachers) < 2:
        raise CordError("decode.selector: consensus asks the other teachers about a step: give at least two teachers")
    if decode.selector in ASKS_THE_STUDENT and decode.student_fit is None:
        raise CordError(
            f"{STUDENT}: selector {decode.selector} asks the student, and the recipe names none here; give its model, "
            f"e.g. {STUDENT}={{model: Qwen/Qwen2.5-1.5B}}"
        )
    if decode.selector == "rank_surprisal" and decode.student_fit and decode.student_fit.engine == "server":
        raise CordError(f"{STUDENT}.engine: selector rank_surprisal asks for ranks, which a server does not give: vllm")
    if decode.survivors == "sampled" and decode.selector in ("process_reward", "gain", "rank_surprisal"):
        raise CordError(
            f"decode.survivors: sampled draws in proportion to the score, and {decode.selector} may be below 0: set "
            "decode.survivors: best, or another selector"
        )


def _reads_no_answer(decode: DecodeConfig) -> bool:
    if decode.pipeline in NOTHING_TO_SELECT:
        return True
    alone = decode.selector == "student_fit" and decode.student_fit is not None and decode.student_fit.alone
    by_others = decode.selector in ("consensus", "process_reward", "random", "longest", "rank_surprisal")
    return decode.pipeline != "mcts" and (alone or by_others or ":" in decode.selector)


def judge_section(recipe: Recipe) -> ModelConfig | None:
    """The judge's own section, or the teacher's that it shares; None: the meta-prover, or no judge is asked.

    Raises CordError when `same_as` names no teacher.
    """
    judge = recipe.decode.binary_judgment.judge
    if recipe.decode.selector != "binary_judgment":
        return None
    if judge is None or not judge.same_as:
        return judge
    labels = [teacher.label for teacher in recipe.teachers]
    if judge.same_as not in labels:
        raise CordError(f"{JUDGE}.same_as {judge.same_as!r} names no teacher; there are: {', '.join(labels)}")
    return recipe.teachers[labels.index(judge.same_as)]
