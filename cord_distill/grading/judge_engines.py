"""How the judge is asked: over HTTP (any OpenAI-compatible server), or by an engine in this process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.task_group import gather_or_cancel
from cord_distill.engines.base import EngineError, sampling_of
from cord_distill.engines.chat import Chat, EngineChat, ServedChat
from cord_distill.engines.start_engine import start_engine
from cord_distill.engines.version import engine_version
from cord_distill.grading.judge import READING, Ask, Keep, verdict_of
from cord_distill.model_files.locate import local_folder
from cord_distill.model_files.weights import weights_hash
from cord_distill.recipe.evaluate import JudgeConfig

KEYS = ("engine", "temperature", "top_p", "top_k", "min_p", "max_tokens", "system_prompt", "form")
# A reply without a verdict is asked for again, warmer: at temperature 0 it would be the same one.
TRIES = 3
AGAIN_TEMPERATURE = 0.6
# Seconds for one reply, and that a server may be away or busy.
TIMEOUT = 1800.0
WAIT = 120.0


def identity(judge: JudgeConfig, side_file: Path) -> dict[str, Any]:
    """What can change a verdict. A server tells no more of itself than the name of its model."""
    shared = {
        "model": judge.model,
        **{key: getattr(judge, key) for key in KEYS},
        "reading": READING,
    }
    shared |= judge.prompt_keys
    if judge.repetition_detection:
        shared["repetition_detection"] = judge.repetition_detection.model_dump()
    if judge.engine == "server":
        return {**shared, **judge.engine_args}
    folder = local_folder(judge.model, judge.revision)
    return {**shared, "engine_version": engine_version(judge.engine), "weights": weights_hash(folder, side_file)}


def asker(judge: JudgeConfig) -> Ask:
    """Asks the judge, wherever it runs; an engine in this process is started for the prompts and closed again."""

    async def ask(prompts: list[str], keep: Keep) -> None:
        chat = await _started(judge, prompts)
        sampling = sampling_of(judge, judge.max_tokens)

        async def one(prompt: str) -> None:
            for again in range(TRIES):
                warmer = max(sampling.temperature, AGAIN_TEMPERATURE) if again else sampling.temperature
                reply = await chat.reply(prompt, replace(sampling, seed=again, temperature=warmer))
                verdict = verdict_of(reply.text, judge.form, cut=reply.stop.cut_off)
                if verdict is not None:
                    break
            keep(prompt, reply.text, verdict)

        try:
            await gather_or_cancel([one(prompt) for prompt in prompts])
        except EngineError as error:
            raise CordError(f"evaluate.judge: {error}; verdicts so far are kept, run it again") from error
        finally:
            await chat.close()

    return ask


async def _started(judge: JudgeConfig, prompts: list[str]) -> Chat:
    if judge.engine == "server":
        return ServedChat(judge, timeout=TIMEOUT, wait=WAIT)
    from cord_distill.prompts.render import renderer_of

    path = str(local_folder(judge.model, judge.revision))
    renderer = renderer_of(judge, path)
    renderer.check_prompt(thinks=False)
    longest = max(len(renderer.prompt_ids(prompt)) for prompt in prompts) + judge.max_tokens
    engine = await start_engine(judge, judge.label, path, renderer, longest)
    return EngineChat(engine, renderer)
