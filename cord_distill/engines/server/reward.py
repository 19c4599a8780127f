"""A reward model behind the `/pooling` route of a vLLM server (`vllm serve MODEL --runner pooling`)."""

from __future__ import annotations

import copy
import functools
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.engines.base import EngineDead, EngineError
from cord_distill.engines.server.http import HttpClient
from cord_distill.engines.server.probe import PROBE_IDS, model_name, server_root
from cord_distill.recipe.decode import ProcessRewardConfig
from cord_distill.search.select import step_reward


class ServerRewardEngine:
    """One reward model at one or several URLs. home: keeps the requests of one problem on one of them.

    A server that pools every token is read at the asked positions. One that pools steps only (what vLLM does for
    Qwen2.5-Math-PRM unless told otherwise) gives a row per separator, and these must be as many as the steps.
    """

    kv_tokens: int | None = None
    keeps_time = True

    def __init__(
        self, client: HttpClient, served: str, section: ProcessRewardConfig, max_model_len: int | None
    ) -> None:
        self.client = client
        self.homes = client.homes
        self.served = served
        self.section = section
        self.max_model_len = max_model_len
        self.home = ""
        self._reward = functools.partial(step_reward, activation=section.activation, output=section.head_output)

    @classmethod
    async def start(cls, section: ProcessRewardConfig, key: str, *, timeout: float, wait: float) -> ServerRewardEngine:
        """Asks the first URL for its model and for one reward. Arguments as for ServerEngine.start.

        Raises CordError: not there, serving another model, or not as a reward model; each with what to do.
        """
        roots = [server_root(url) for url in section.urls]
        client = HttpClient(roots, api_key_env=section.api_key_env, timeout=timeout, wait=wait)
        fix = f"start it with: vllm serve {section.model} --runner pooling --pooler-config '{POOLING}'"
        try:
            served, length = await model_name(client, section, key, roots[0])
            engine = cls(client, served, section, length)
            await engine._rows(PROBE_IDS)
        except (EngineError, CordError) as error:
            await client.close()
            if isinstance(error, CordError):
                raise
            what = "Is it up? If not," if isinstance(error, EngineDead) else "It gives no rewards;"
            raise CordError(f"{key}.url: {error}. {what} {fix}") from error
        return engine

    def for_problem(self, problem_id: str) -> ServerRewardEngine:
        """The same engine, whose requests stay on one replica."""
        view = copy.copy(self)
        view.home = problem_id
        return view

    async def reward(self, ids: list[int], at: list[int]) -> list[float]:
        rows = await self._rows(ids)
        if len(rows) == len(ids):
            rows = [rows[i] for i in at]
        elif len(rows) != len(at):
            raise EngineError(
                f"{self.section.label}: {len(rows)} rewards for {len(at)} steps of {len(ids)} tokens; serve it with "
                f"--pooler-config '{POOLING}'"
            )
        return [self._reward(row) for row in rows]

    async def _rows(self, ids: list[int]) -> list[list[float]]:
        """The head's raw outputs, one row per pooled token."""
        body = {
            "model": self.served,
            "input": ids,
            "task": "token_classify",
            "use_activation": False,
            "encoding_format": "float",
        }
        page = await self.client.post("/pooling", body, self.home)
        try:
            rows: list[Any] = page["data"][0]["data"]
            return [[float(x) for x in row] if isinstance(row, list) else [float(row)] for row in rows]
        except (LookupError, TypeError, ValueError) as error:
            raise EngineError(f"/pooling gave what cannot be read: {str(page)[:200]}") from error

    async def close(self) -> None:
        await self.client.close()


POOLING = '{"tok_pooling_type": "ALL"}'
