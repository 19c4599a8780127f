"""A chat model = how it is asked, and how it samples. What pipelines ask when they want words and not a prefix."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cord_distill.engines.base import Sampling
from cord_distill.engines.chat import Chat, Reply


@dataclass(frozen=True)
class ChatModel:
    """identity: what makes its answers what they are, besides the prompt and the sampling."""

    name: str
    identity: str
    engine: Chat
    sampling: Sampling

    def for_problem(self, engine: Chat) -> ChatModel:
        """The same model behind `engine` (a replay of the problem's journal)."""
        return replace(self, engine=engine)

    async def ask(self, prompt: str, *, seed: int) -> Reply:
        return await self.engine.reply(prompt, replace(self.sampling, seed=seed))
