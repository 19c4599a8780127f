"""Models that are asked in words and answer in words: over HTTP, in this process, or by a plug-in function.

They can judge or integrate. They can neither continue a given prefix nor score one, so they are no teachers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from cord_distill.common.plugins import plugin_call
from cord_distill.common.terminal import warn
from cord_distill.engines.answers import count_in
from cord_distill.engines.base import Engine, EngineError, Sampling
from cord_distill.engines.server.http import HttpClient
from cord_distill.prompts.foreign import spaced
from cord_distill.prompts.render import Renderer
from cord_distill.prompts.thought import Thought
from cord_distill.recipe.models import ChatModelConfig
from cord_distill.types import Stop

TOP_K_OFF = -1


@dataclass(frozen=True, slots=True)
class Reply:
    """A chat model's answer. stop: EOS, or LENGTH when it was cut. prompt_tokens, num_tokens: 0 where nobody counts."""

    text: str
    stop: Stop
    num_tokens: int = 0
    prompt_tokens: int = 0


class Chat(Protocol):
    async def reply(self, prompt: str, sampling: Sampling) -> Reply:
        """One answer to a user's turn. Raises EngineError: refused, failed or timed out; EngineDead: gone."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class ChatModel:
    """How a chat model is asked, and how it samples: what pipelines ask when they want words and not a prefix.

    identity: what makes its answers what they are, besides the prompt and the sampling.
    """

    name: str
    identity: str
    engine: Chat
    sampling: Sampling

    def for_problem(self, engine: Chat) -> ChatModel:
        """The same model behind `engine` (a replay of the problem's journal)."""
        return replace(self, engine=engine)

    async def ask(self, prompt: str, *, seed: int) -> Reply:
        return await self.engine.reply(prompt, replace(self.sampling, seed=seed))


class ServedChat:
    """The chat completions of an OpenAI-compatible server, or of several replicas of it, as a recipe's section names
    it: its `url` ends in `/v1`, as OpenAI's clients take it, and `/chat/completions` may be written behind it.

    timeout, wait: seconds, see HttpClient. extra: further keys of the request's body. spelled: prompts that spelled a
    control token, which the server would have read as its own (foreign.py).
    """

    keeps_time = True

    def __init__(self, section: ChatModelConfig, *, timeout: float, wait: float) -> None:
        urls = [url.rstrip("/").removesuffix("/chat/completions") for url in section.urls]
        self.client = HttpClient(
            urls, api_key_env=section.api_key_env, timeout=timeout, wait=wait, limit=section.concurrency
        )
        self.section = section
        self.model = section.served_model_name or section.model
        self.thought = Thought(section.think_open, section.think_close)
        kwargs = section.chat_template_kwargs
        self.extra = {**({"chat_template_kwargs": kwargs} if kwargs else {}), **section.engine_args}
        self.urls = ", ".join(urls)
        self.spelled = 0

    async def reply(self, prompt: str, sampling: Sampling) -> Reply:
        section = self.section
        system = [{"role": "system", "content": section.system_prompt}] if section.system_prompt else []
        sent = spaced(prompt)
        self.spelled += sent != prompt
        body = {
            "model": self.model,
            "messages": [*system, {"role": "user", "content": sent + section.prompt_suffix}],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "seed": sampling.seed,
            # No keys of OpenAI's own API, which refuses what it does not know: sent only where the recipe sets them.
            **({"top_k": sampling.top_k} if sampling.top_k != TOP_K_OFF else {}),
            **({"min_p": sampling.min_p} if sampling.min_p else {}),
            **({"repetition_detection": sampling.repetition.model_dump()} if sampling.repetition else {}),
            **self.extra,
        }
        answer = await self.client.post("/chat/completions", body)
        try:
            choice = answer["choices"][0]
            text = _content(choice["message"].get("content"))
            cut = choice.get("finish_reason") in ("length", "repetition")
            usage = answer.get("usage")
            counts = count_in(usage, "completion_tokens"), count_in(usage, "prompt_tokens")
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            raise EngineError(f"{self.urls}: no chat completion came back ({type(error).__name__}: {error})") from None
        return Reply(self.thought.read(text), Stop.LENGTH if cut else Stop.EOS, *counts)

    async def close(self) -> None:
        if self.spelled:
            warn(
                f"{self.urls}: {self.spelled} of the prompts spelled control "
                "tokens, such as <|im_end|>; a space was put into each, or the server would read it as its own"
            )
        await self.client.close()


def _content(content: Any) -> str:
    """The text of a message: a string, nothing, or a list of text parts. Raises TypeError on anything else."""
    if isinstance(content, list):
        content = "".join(part["text"] for part in content if part.get("type", "text") == "text")
    if content is not None and not isinstance(content, str):
        raise TypeError(f"the content is a {type(content).__name__}")
    return content or ""


class EngineChat:
    """An engine, asked through its model's chat template."""

    keeps_time = True

    def __init__(self, engine: Engine, renderer: Renderer) -> None:
        self.engine = engine
        self.renderer = renderer

    async def reply(self, prompt: str, sampling: Sampling) -> Reply:
        ids = self.renderer.prompt_ids(prompt)
        out = await self.engine.generate(ids, replace(sampling, stop_ids=(self.renderer.end_of_turn_id,)))
        return Reply(self.renderer.thought.read(out.text), out.stop, len(out.ids), len(ids))

    def for_problem(self, problem_id: str) -> EngineChat:
        """The same, whose requests stay on one replica where the engine has several."""
        engine: Any = self.engine
        return EngineChat(engine.for_problem(problem_id) if hasattr(engine, "for_problem") else engine, self.renderer)

    async def close(self) -> None:
        await self.engine.close()


class ScriptedChat:
    """script: a function `reply(prompt, sampling) -> text` whose answer depends on its arguments alone."""

    def __init__(self, script: Callable[[str, Sampling], str]) -> None:
        self.script = script

    async def reply(self, prompt: str, sampling: Sampling) -> Reply:
        with plugin_call("the script", EngineError, raises=EngineError):
            return Reply(self.script(prompt, sampling), Stop.EOS)

    async def close(self) -> None:
        pass
