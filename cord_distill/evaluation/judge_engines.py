"""How the judge is asked: over HTTP (any OpenAI-compatible server), or by an engine in this process."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from cord_distill.engines.base import Sampling
from cord_distill.errors import CordError
from cord_distill.evaluation.answering import start_engine
from cord_distill.evaluation.engine_version import engine_version
from cord_distill.evaluation.judge import Ask, Keep
from cord_distill.evaluation.targets import Target, local_folder
from cord_distill.evaluation.weights import weights_hash
from cord_distill.recipe import Judge

TRIES = 5
PAUSE = 2.0
SECONDS = 1800.0


def identity(judge: Judge, side_file: Path) -> dict[str, Any]:
    """What can change a verdict. A server tells no more of itself than the name of its model."""
    shared = {
        "model": judge.model,
        **{key: getattr(judge, key) for key in ("engine", "temperature", "top_p", "max_tokens", "system_prompt")},
    }
    if judge.engine == "server":
        return shared
    folder = local_folder(judge.model, judge.revision)
    return {**shared, "engine_version": engine_version(judge.engine), "weights": weights_hash(folder, side_file)}


def asker(judge: Judge) -> Ask:
    """By the judge's `engine`: a URL for `server`, else an engine started for these prompts and closed again."""

    async def over_http(prompts: list[str], keep: Keep) -> None:
        await _ask_server(judge, prompts, keep)

    async def in_process(prompts: list[str], keep: Keep) -> None:
        await _ask_engine(judge, prompts, keep)

    return over_http if judge.engine == "server" else in_process


async def _ask_engine(judge: Judge, prompts: list[str], keep: Keep) -> None:
    from cord_distill.prompts.render import load_renderer

    path = str(local_folder(judge.model, judge.revision))
    renderer = load_renderer(
        path,
        system_prompt=judge.system_prompt,
        chat_template=judge.chat_template,
        trust_remote_code=judge.trust_remote_code,
        name=judge.label,
    )
    ids = [renderer.prompt_ids(prompt) for prompt in prompts]
    target = Target(judge.label, path, judge, "", 1)
    engine = await start_engine(target, path, renderer, max(map(len, ids)) + judge.max_tokens)
    sampling = Sampling(judge.max_tokens, 0, judge.temperature, judge.top_p, stop_ids=(renderer.end_of_turn_id,))

    async def one(prompt: str, prompt_ids: list[int]) -> None:
        keep(prompt, (await engine.generate(prompt_ids, sampling)).text)

    try:
        await asyncio.gather(*(one(*pair) for pair in zip(prompts, ids, strict=True)))
    finally:
        await engine.close()


async def _ask_server(judge: Judge, prompts: list[str], keep: Keep) -> None:
    import aiohttp

    urls = [judge.url] if isinstance(judge.url, str) else list(judge.url or [])
    key = os.environ.get(judge.api_key_env)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    gate = asyncio.Semaphore(judge.concurrency)

    async def one(number: int, prompt: str, session: aiohttp.ClientSession) -> None:
        url = urls[number % len(urls)].rstrip("/").removesuffix("/chat/completions") + "/chat/completions"
        async with gate:
            keep(prompt, await _reply(session, url, _body(judge, prompt)))

    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=SECONDS)) as session:
        asked = [asyncio.create_task(one(number, prompt, session)) for number, prompt in enumerate(prompts)]
        try:
            await asyncio.gather(*asked)
        finally:
            for task in asked:
                task.cancel()


def _body(judge: Judge, prompt: str) -> dict[str, Any]:
    system = [{"role": "system", "content": judge.system_prompt}] if judge.system_prompt else []
    return {
        "model": judge.model,
        "messages": [*system, {"role": "user", "content": prompt}],
        "temperature": judge.temperature,
        "top_p": judge.top_p,
        "max_tokens": judge.max_tokens,
        "seed": 0,
    }


async def _reply(session: Any, url: str, body: dict[str, Any]) -> str:
    """The text of the reply. A busy or restarting server is asked again; what else it refuses is an error."""
    import aiohttp

    reason = ""
    for attempt in range(TRIES):
        try:
            async with session.post(url, json=body) as response:
                if response.status == 200:
                    message = (await response.json())["choices"][0]["message"]
                    return str(message.get("content") or "")
                reason = f"HTTP {response.status}: {(await response.text())[:200]}"
                if response.status < 500 and response.status not in (408, 429):
                    break
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = f"{type(error).__name__}: {error}"
        except (ValueError, KeyError, IndexError, TypeError) as error:
            reason = f"no chat completion came back ({type(error).__name__})"
            break
        await asyncio.sleep(PAUSE * 2**attempt)
    raise CordError(f"evaluate.judge.url: {url} did not answer ({reason}); verdicts so far are kept, run it again")
