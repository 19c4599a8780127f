"""What `cord check` says of the servers that a recipe names: each is asked with a few tiny requests."""

from __future__ import annotations

import asyncio

from cord_distill.common.errors import CordError
from cord_distill.decode.engine_pool import decoding_sections
from cord_distill.decode.start import KEY as REWARD
from cord_distill.engines.base import EngineError, sampling_of
from cord_distill.engines.chat import ServedChat
from cord_distill.engines.server.probe import Endpoint, check_scores, probe
from cord_distill.engines.server.reward import ServerRewardEngine
from cord_distill.recipe.evaluate import JudgeConfig
from cord_distill.recipe.recipe import Recipe

# A server that is up answers a request of one token long before.
SECONDS = 20.0


def servers(variants: list[Recipe]) -> tuple[list[str], list[str]]:
    """(what the servers of a recipe's models say of themselves, what is wrong with them), one sentence each."""
    return asyncio.run(_ask_all(variants))


async def _ask_all(variants: list[Recipe]) -> tuple[list[str], list[str]]:
    sections = [pair for recipe in variants for pair in decoding_sections(recipe).items()]
    known: dict[tuple[str, str | None], list[Endpoint]] = {}
    lines, faults = [], []
    for key, section in sections:
        for url in section.urls if section.engine == "server" else []:
            place = url, section.served_model_name
            try:
                if place not in known:
                    known[place] = []  # asked once, also where it fails
                    replica = section.model_copy(update={"url": url})
                    known[place] = await probe(replica, key, wait=0.0, timeout=SECONDS)
                    lines += [f"{key}: {endpoint}" for endpoint in known[place]]
                if key == "meta_prover":
                    check_scores(known[place], key)
            except CordError as error:
                faults.append(str(error))
    for recipe in variants:
        rewarder = recipe.decode.process_reward
        if recipe.decode.selector == "process_reward" and rewarder is not None and rewarder.engine == "server":
            try:
                engine = await ServerRewardEngine.start(rewarder, REWARD, timeout=SECONDS, wait=0.0)
                lines.append(f"{REWARD}: {', '.join(rewarder.urls)} serves {engine.served!r}, gives rewards")
                await engine.close()
            except CordError as error:
                faults.append(str(error))
        judge = recipe.evaluate.judge
        if judge is not None and judge.engine == "server":
            try:
                lines.append(await _answers(judge))
            except CordError as error:
                faults.append(str(error))
    return list(dict.fromkeys(lines)), list(dict.fromkeys(faults))


async def _answers(judge: JudgeConfig) -> str:
    """One token of the judge's, asked for as the evaluation asks. Raises CordError."""
    chat = ServedChat(judge, timeout=SECONDS, wait=0.0)
    try:
        await chat.reply("Say yes.", sampling_of(judge, 1))
    except EngineError as error:
        key = f", with a key in ${judge.api_key_env} if it wants one" if judge.api_key_env else ""
        raise CordError(f"evaluate.judge.url: {error}; start the judge's server{key}, or mend the address") from error
    finally:
        await chat.close()
    return f"evaluate.judge: {', '.join(judge.urls)} answers as {chat.model!r}"
